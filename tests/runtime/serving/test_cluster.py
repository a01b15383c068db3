"""A Redis Cluster in which nodes die, move and hand slots over: only what is really away is refused, and nothing piles up."""

import asyncio
import json
import signal
import subprocess
from datetime import UTC, datetime
from types import SimpleNamespace

import hiredis
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from redis.crc import key_slot

from bench.ports import free_port
from feature_runtime.online_store.load_records import LoadRecord
from feature_runtime.serving.cluster import ClusterStore, _Gathered
from feature_runtime.serving.freshness import look
from feature_runtime.serving.key_bytes import EntityKeys
from feature_runtime.serving.metrics import ServingState
from feature_runtime.serving.redis_reader import StoreAway
from tests.runtime.serving.conftest import PROJECT, Shop, feature_store
from tests.runtime.serving.redis_processes import AWAY, TIMEOUTS, Server, ending, start
from tests.runtime.serving.test_redis import NOW, customer, make_view
from tests.waiting import wait_until

PEOPLE = 60
OPTIONS = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "1000"]
NODES = 3
SLOTS = 16384


class Cluster:
    """Three masters with a third of the slots each."""

    def __init__(self, directory, servers):
        self.directory, self.servers = directory, servers
        self.bus = {}
        self.masters = [self.start() for _ in range(NODES)]
        for number, node in enumerate(self.masters):
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", *self.slots(number))
        for node in self.masters[1:]:
            self.meet(node)
        for node in self.masters:
            wait_until(lambda node=node: self.is_whole(node), "the cluster is whole", AWAY)

    def start(self):
        bus = free_port()
        server = start(self.servers, self.directory, *OPTIONS, "--cluster-port", str(bus))
        self.bus[server.port] = bus
        return server

    def meet(self, node):
        self.masters[0].client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, self.bus[node.port])

    def is_whole(self, node):
        """Whether it knows of every slot, and every node."""
        known = node.client.execute_command("CLUSTER INFO")
        return (
            known["cluster_state"] == "ok"
            and known["cluster_slots_ok"] == str(SLOTS)
            and int(known["cluster_known_nodes"]) == len(self.bus)
        )

    @staticmethod
    def slots(number):
        return number * SLOTS // NODES, (number + 1) * SLOTS // NODES - 1

    def id_of(self, node):
        return node.client.execute_command("CLUSTER", "MYID").decode()

    def add_replica(self, of):
        node = self.start()
        self.meet(node)
        wait_until(lambda: node.client.execute_command("CLUSTER", "REPLICATE", self.id_of(of)), "it knows its master", AWAY)
        wait_until(lambda: node.client.info("replication")["master_link_status"] == "up", "it follows", AWAY)
        wait_until(lambda: of.client.info("replication")["connected_slaves"] == 1, "the master knows", AWAY)
        return node

    def restart(self, node, port):
        """The same node at another port."""
        where = self.directory / str(node.port)
        options = [str(part) for part in node.process.args[1:]]
        options[options.index("--port") + 1] = str(port)
        process = subprocess.Popen([node.process.args[0], *options], cwd=where, stdout=subprocess.DEVNULL)
        self.servers.append(Server(port, process))
        return self.servers[-1]


@pytest.fixture
def cluster(tmp_path):
    with ending() as servers:
        yield Cluster(tmp_path, servers)


@pytest.fixture
def running(cluster, serving, tmp_path):
    """A server that reads sixty people, each with an age of twenty more than the number."""
    at = ",".join([*(f"127.0.0.1:{node.port}" for node in cluster.masters), TIMEOUTS])
    shop = Shop(*[feature_store(tmp_path, at, redis_type="redis_cluster")] * 2)
    shop.apply(customer, make_view())
    rows = [({"customer_id": Value(int64_val=number)}, {"age": Value(int64_val=number + 20)}, NOW) for number in range(PEOPLE)]
    shop.write(make_view(), rows)
    started = serving(shop, shop.contract())
    yield started
    started.stop()


def key_of(number):
    return EntityKeys([("customer_id", "Int64")], PROJECT).of([[number]])[0]


def node_of(number):
    """Which of the three masters has a person."""
    return next(node for node in range(NODES) if key_slot(key_of(number)) <= Cluster.slots(node)[1])


def question(*numbers):
    return {"features": ["customers:age"], "entities": {"customer_id": list(numbers)}}


def sweep(running):
    """The status for each person alone; whoever is answered is answered rightly."""
    client, found = running.client(), []
    for number in range(PEOPLE):
        answer = client.ask(question(number))
        assert answer.status in (200, 503), answer.body
        if answer.status == 200:
            assert answer.columns["age"]["values"] == [number + 20]
        found.append(answer.status)
    return found


ALL_WELL = [200] * PEOPLE


def without(dead):
    return [503 if node_of(number) == dead else 200 for number in range(PEOPLE)]


def test_a_dead_master_costs_its_own_slots_and_nothing_else(running, cluster):
    assert sweep(running) == ALL_WELL
    others = [cluster.masters[0], cluster.masters[2]]
    before = [node.client.info("clients")["connected_clients"] for node in others]
    for way in (signal.SIGSTOP, signal.SIGKILL):
        cluster.masters[1].process.send_signal(way)
        wait_until(lambda: sweep(running) == without(1), "the others answer")
        for _ in range(5):
            assert sweep(running) == without(1), "and go on to"
            assert running.get("/ready").status == 200
        if way == signal.SIGSTOP:
            assert running.ask(question(*range(PEOPLE))).status == 503, "who asks for all, asks for some that are away"
            cluster.masters[1].thaw()
            wait_until(lambda: sweep(running) == ALL_WELL, "it is back, and read")
    after = [node.client.info("clients")["connected_clients"] for node in others]
    assert all(now <= then + 2 for then, now in zip(before, after, strict=True)), "no connection is left behind"


def test_a_replica_that_is_elected_is_read(running, cluster):
    replica = cluster.add_replica(cluster.masters[1])
    cluster.masters[1].freeze()
    wait_until(lambda: replica.client.info("replication")["role"] == "master", "it is elected", AWAY)
    wait_until(lambda: sweep(running) == ALL_WELL, "it is read")


def test_a_node_that_comes_back_elsewhere_is_found(running, cluster):
    node = cluster.masters[1]
    node.kill()
    wait_until(lambda: 503 in sweep(running), "it is missed")
    moved = cluster.restart(node, free_port())
    wait_until(moved.client.ping, "it answers", AWAY)
    # Its memory went with it: that it is asked is what counts.
    number = next(number for number in range(PEOPLE) if node_of(number) == 1)
    wait_until(lambda: running.ask(question(number)).status == 200, "it is asked")
    assert running.ask(question(number)).columns["age"]["statuses"] == ["NOT_FOUND"]


def test_slots_that_move_are_followed_key_by_key(running, cluster):
    number = next(number for number in range(PEOPLE) if node_of(number) == 0)
    everybody = question(*range(PEOPLE))
    slot, source, target = key_slot(key_of(number)), cluster.masters[0], cluster.masters[2]
    target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id_of(source))
    source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.id_of(target))
    assert running.ask(everybody).columns["age"]["values"] == list(range(20, 20 + PEOPLE)), "nothing has moved yet"
    source.client.execute_command("MIGRATE", "127.0.0.1", target.port, key_of(number), 0, 5000)
    assert running.ask(everybody).columns["age"]["values"] == list(range(20, 20 + PEOPLE)), "the key is there, the slot is still here"
    for node in (target, source, cluster.masters[1]):
        node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))
    assert running.ask(everybody).columns["age"]["values"] == list(range(20, 20 + PEOPLE)), "key and slot are there"
    assert sweep(running) == ALL_WELL


MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_move_that_leads_nowhere_is_told_to_who_asked():
    store, found = ClusterStore(SimpleNamespace(seeds=[("127.0.0.1", 1)])), []
    gathered = _Gathered([b""], 1, None)
    gathered.replies, gathered.moved = [hiredis.ReplyError("MOVED 12")], [(0, SimpleNamespace(address=("127.0.0.1", 1)))]
    asyncio.run(store._follow(gathered, lambda replies, _: found.append(replies)))
    assert [type(one) for one in found] == [StoreAway]


def test_the_age_of_one_view_is_known_while_the_node_of_another_s_record_is_away():
    class Store:
        async def command(self, _, key):
            if b"away" in key:
                raise StoreAway("its node is away")
            return json.dumps(LoadRecord(schema_sha256="", end=MOMENT, newest_event_time=MOMENT).fields()).encode()

    plan = SimpleNamespace(project=PROJECT, views=["away", "here"], services=[])
    server = SimpleNamespace(plan=plan, store=Store(), metrics=SimpleNamespace(state=ServingState(loaded_until={"away": 1.0, "here": 1.0})))
    with pytest.raises(StoreAway):
        asyncio.run(look(server))
    assert server.metrics.state.loaded_until == {"away": 1.0, "here": MOMENT.timestamp()}
