"""The master is found whichever Sentinel is dead, and however: by the feature server, and by Feast's client in loads."""

import asyncio
import contextlib
import socket
import subprocess
import threading
import time

import pytest
import redis
from feast.infra.online_stores.redis import RedisOnlineStoreConfig

from bench.ports import free_port
from feature_runtime.online_store import PipelinedRedisOnlineStore, wire
from feature_runtime.online_store.addresses import Nodes, Single
from feature_runtime.online_store.sentinels import Opinion, Sentinels
from feature_runtime.online_store.wire import Names, StoreAway
from tests.runtime.serving.conftest import Shop, feature_store
from tests.runtime.serving.redis_processes import AWAY, TIMEOUTS, dropping, ending, replicated, silent, start
from tests.runtime.serving.test_redis import QUESTION, customer, make_view, until, write
from tests.waiting import wait_until


class FakeSentinel:
    """Says what it is told to say: (epoch, port, flags), or nothing."""

    def __init__(self, epoch=1, port=0, flags="master", host="127.0.0.1", name="feast"):
        self.says = {"epoch": epoch, "port": port, "flags": flags, "host": host, "name": name}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._listener.accept()[0],), daemon=True).start()

    def _answer(self, connection):
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(4096):
                connection.sendall(self._masters() if b"SENTINEL" in data else b"+PONG\r\n")

    def _masters(self):
        said = self.says
        state = {"name": said["name"], "ip": said["host"], "port": said["port"], "flags": said["flags"]}
        state |= {"config-epoch": said["epoch"], "num-other-sentinels": 2}
        words = [str(word).encode() for pair in state.items() for word in pair]
        return b"*1\r\n*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def config_of(*ports, options=TIMEOUTS, first="127.0.0.1"):
    hosts = [f"{first if number == 0 else '127.0.0.1'}:{port}" for number, port in enumerate(ports)]
    return RedisOnlineStoreConfig(connection_string=",".join([*hosts, options]), redis_type="redis_sentinel", sentinel_master="feast")


def master(config):
    """The port of the master, found as the feature server finds it."""

    async def find():
        found = await Sentinels(config, Names()).connect()
        found.fail("found")
        return found.address[1]

    return asyncio.run(find())


def opinions(config, count=1):
    async def ask():
        sentinels = Sentinels(config, Names())
        return [await sentinels.master() for _ in range(count)]

    return asyncio.run(ask())


@pytest.fixture
def servers():
    with ending() as started:
        yield started


@pytest.fixture
def fakes():
    """Makes Sentinels that say what a test wants."""
    made = []

    def make(*arguments, **options):
        made.append(FakeSentinel(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["refusing", "silent", "dropping", "unresolvable", "looked up for ever"])
def dead(request, monkeypatch):
    """Host and port of a Sentinel that is away, in one of the ways there are."""
    resolve = socket.getaddrinfo

    def look_up(host, *arguments, **options):
        if host == "no-such-node.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == "hanging-node.invalid":
            time.sleep(20)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(wire.socket, "getaddrinfo", look_up)
    with contextlib.ExitStack() as stack:
        if request.param == "refusing":
            yield "127.0.0.1", free_port()
        elif request.param == "silent":
            yield "127.0.0.1", stack.enter_context(silent())
        elif request.param == "dropping":
            yield "127.0.0.1", stack.enter_context(dropping())
        else:
            yield {"unresolvable": "no-such-node.invalid", "looked up for ever": "hanging-node.invalid"}[request.param], 26379


def test_a_dead_first_sentinel_delays_nobody(servers, fakes, dead, tmp_path):
    server = start(servers, tmp_path)
    alive = [fakes(port=server.port).port for _ in range(2)]
    host, port = dead
    config = config_of(port, *alive, first=host)
    started = time.monotonic()
    assert master(config) == server.port
    assert time.monotonic() - started < 5, "the server, at its start and after each lost connection"
    started = time.monotonic()
    assert PipelinedRedisOnlineStore()._get_client(config).ping()
    assert time.monotonic() - started < 5, "loads, checks and probes, by Feast's client"


def test_one_sentinel_of_three_is_enough_to_read(servers, fakes, tmp_path):
    server = start(servers, tmp_path)
    with silent() as first, dropping() as second:
        assert master(config_of(first, second, fakes(port=server.port).port)) == server.port


def test_of_sentinels_that_disagree_the_latest_election_counts(fakes):
    ports = [fakes(3, 1111).port, fakes(5, 2222).port, fakes(3, 1111).port]
    assert opinions(config_of(*ports)) == [Opinion(5, "127.0.0.1", 2222)]


def test_of_sentinels_that_disagree_about_one_election_the_majority_counts(fakes):
    ports = [fakes(3, 1111).port, fakes(3, 2222).port, fakes(3, 2222).port]
    assert opinions(config_of(*ports)) == [Opinion(3, "127.0.0.1", 2222)]


def test_a_master_that_is_held_for_down_is_not_taken(fakes):
    ports = [fakes(flags="master,s_down").port, fakes(flags="master,s_down,o_down").port, fakes(name="other").port]
    with pytest.raises(StoreAway, match=r"holds 127.0.0.1:0 for down.*knows none"):
        opinions(config_of(*ports))
    assert opinions(config_of(*ports, fakes(3, 1111).port)) == [Opinion(3, "127.0.0.1", 1111)]


def test_few_sentinels_that_missed_an_election_are_not_believed(servers, fakes, tmp_path):
    server = start(servers, tmp_path)
    knowing, ignorant = fakes(5, server.port), fakes(3, 1111)
    config = config_of(knowing.port, ignorant.port, free_port())

    async def ask():
        sentinels = Sentinels(config, Names())
        (await sentinels.connect()).fail("found")
        knowing.says["name"] = "other"
        with pytest.raises(StoreAway, match="missed the latest election"):
            await sentinels.master()
        knowing.says |= {"name": "feast", "epoch": 2}
        return await sentinels.master()

    assert asyncio.run(ask()).epoch == 3, "a majority is believed: they may all have been made anew"


def test_a_replica_that_is_named_as_the_master_is_not_read(servers, fakes, tmp_path):
    old = start(servers, tmp_path)
    replica = start(servers, tmp_path, "--replicaof", "127.0.0.1", str(old.port))
    config = config_of(fakes(port=replica.port).port)
    with pytest.raises(StoreAway, match="replica"):
        master(config)
    with pytest.raises(redis.sentinel.MasterNotFoundError, match="replica"):
        PipelinedRedisOnlineStore()._get_client(config).ping()


def test_a_user_with_few_rights_finds_the_master(servers, fakes, tmp_path):
    server = start(servers, tmp_path)
    server.client.execute_command("ACL", "SETUSER", "reader", "on", ">secret", "~*", "resetchannels", "-@all", "+hmget")
    sentinel = fakes(port=server.port).port
    assert master(config_of(sentinel, options=f"{TIMEOUTS},username=reader,password=secret")) == server.port
    with pytest.raises(StoreAway, match="WRONGPASS"):
        master(config_of(sentinel, options=f"{TIMEOUTS},username=reader,password=other"))


def test_sentinels_with_a_password_are_asked(tmp_path):
    with replicated(tmp_path, nodes=1, sentinel_options="requirepass hidden") as nodes:
        port = nodes.sentinels[0].port
        config = config_of(port, options=f'{TIMEOUTS},sentinel_kwargs={{"password":"hidden"}}')
        wait_until(lambda: master(config) == nodes.redis[0].port, "the Sentinel knows its master", StoreAway)
        with pytest.raises(StoreAway, match="NOAUTH"):
            master(config_of(port))


@pytest.mark.parametrize("kind", ["redis", "redis_sentinel", "redis_cluster"])
def test_connections_are_encrypted_and_nobody_else_is_trusted(kind, servers, fakes, tmp_path):
    for name in ("own", "strange"):
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
        subprocess.run([*command, "-keyout", f"{name}.key", "-out", f"{name}.pem"], cwd=tmp_path, check=True, capture_output=True)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--requirepass", "secret"]
    options += [
        "--tls-ca-cert-file",
        f"{tmp_path}/own.pem",
        "--tls-cert-file",
        f"{tmp_path}/own.pem",
        "--tls-key-file",
        f"{tmp_path}/own.key",
    ]
    start(servers, tmp_path, *options, password="secret")
    where = fakes(port=port, host="localhost").port if kind == "redis_sentinel" else port

    def connect(authority):
        told = f"localhost:{where},ssl=true,ssl_ca_certs={tmp_path}/{authority}.pem,password=secret"
        config = RedisOnlineStoreConfig(connection_string=told, redis_type=kind, sentinel_master="feast")

        async def ask():
            names = Names()
            if kind == "redis_cluster":
                opened = await Nodes(config, names).connect(("localhost", port))
            else:
                opened = await (Single if kind == "redis" else Sentinels)(config, names).connect()
            assert await opened.ask(b"PING") == b"PONG"
            opened.fail("asked")

        asyncio.run(ask())

    connect("own")
    with pytest.raises(OSError, match="certificate verify failed"):
        connect("strange")


def test_what_cannot_be_a_name_is_told_at_once():
    with pytest.raises(UnicodeError):
        asyncio.run(asyncio.wait_for(Names().addresses("redis..svc", 6379), 20))


def test_a_name_that_is_looked_up_for_ever_has_the_address_it_had(monkeypatch):
    resolve, hanging, asked = socket.getaddrinfo, threading.Event(), []

    def look_up(*arguments, **options):
        asked.append(arguments)
        if hanging.is_set():
            time.sleep(20)
        return resolve("127.0.0.1", *arguments[1:], **options)

    monkeypatch.setattr(wire.socket, "getaddrinfo", look_up)

    async def ask():
        names = Names()
        before = await names.addresses("node", 1)
        hanging.set()
        assert [await asyncio.wait_for(names.addresses("node", 1), 5) for _ in range(3)] == [before] * 3

    asyncio.run(ask())
    assert len(asked) == 2, "one lookup at a time, however often the name is asked for"


def sentinel_shop(tmp_path, server, *ports):
    """A shop that is written at a Redis, and read by way of Sentinels."""
    shop = Shop(feature_store(tmp_path, f"127.0.0.1:{server.port}"), None)
    shop.apply(customer, make_view())
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    shop.reader = feature_store(tmp_path, f"{hosts},{TIMEOUTS}", redis_type="redis_sentinel", sentinel_master="feast")
    return shop


def test_when_the_node_of_the_master_and_of_the_first_sentinel_dies_features_are_served_again_within_seconds(serving, tmp_path):
    with replicated(tmp_path) as nodes:
        shop = sentinel_shop(tmp_path, nodes.redis[0], *(sentinel.port for sentinel in nodes.sentinels))
        write(shop)
        for replica in nodes.redis[1:]:
            wait_until(replica.client.dbsize, "the replica has the row")
        running = serving(shop, shop.contract())
        assert running.ask(QUESTION).columns["age"]["values"] == [42]
        nodes.redis[0].freeze()
        nodes.sentinels[0].freeze()
        until(running, 503)
        wait_until(lambda: nodes.master(1) != nodes.redis[0].port, "another master is elected", AWAY)
        elected = time.monotonic()
        assert until(running, 200).columns["age"]["values"] == [42], "from the replica that is master now"
        assert time.monotonic() - elected < 15, "it is found in one or two tries"
        started = time.monotonic()
        late = serving(shop, shop.contract())
        assert late.ask(QUESTION).status == 200
        assert time.monotonic() - started < 15, "a server that starts now does not wait for the dead Sentinel either"
        late.stop()
        running.stop()


def test_a_master_that_was_cut_off_is_left_although_it_answers(servers, fakes, serving, tmp_path):
    old, new = start(servers, tmp_path), start(servers, tmp_path)
    sentinels = [fakes(1, old.port) for _ in range(3)]
    shop = sentinel_shop(tmp_path, old, *(sentinel.port for sentinel in sentinels))
    write(shop, 42)
    new.client.replicaof("127.0.0.1", old.port)
    wait_until(new.client.dbsize, "the other one has the row")
    new.client.replicaof("NO", "ONE")
    running = serving(shop, shop.contract())
    assert running.ask(QUESTION).columns["age"]["values"] == [42]
    new.client.flushall()
    for sentinel in sentinels[:2]:
        sentinel.says |= {"epoch": 2, "port": new.port}
    wait_until(
        lambda: running.ask(QUESTION).columns["age"]["statuses"] == ["NOT_FOUND"], "the elected one is read", KeyError, AssertionError
    )
    running.stop()
