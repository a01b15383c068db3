"""What Redis may answer, and where it may be: every error reply is raised, Sentinel and Cluster are found."""

import contextlib
import shutil
import socket
import subprocess
import threading
from datetime import UTC, datetime

import pyarrow as pa
import pytest
import redis
from feast.types import Float32, String

from bench.ports import free_port
from feature_runtime.online_store import Keep, PipelinedRedisOnlineStore
from feature_runtime.retrying import is_transient
from tests.waiting import wait_for

NOW = datetime(2026, 5, 4, tzinfo=UTC)


@pytest.fixture
def view(make_view):
    return make_view({"size": Float32, "name": String})


def batch(count=50):
    return pa.record_batch(
        {
            "thing": pa.array(range(count), pa.int64()),
            "at": pa.array([NOW] * count, pa.timestamp("us", "UTC")),
            "size": pa.array(range(count), pa.float32()),
            "name": pa.array([f"name {n}" for n in range(count)]),
        }
    )


@pytest.fixture
def server(tmp_path):
    """Starts a Redis of one's own with options, and ends it."""
    with contextlib.ExitStack() as ending:

        def start(*options):
            port = free_port()
            directory = tmp_path / str(port)
            directory.mkdir()
            command = [shutil.which("redis-server"), *options, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
            ending.callback(process.wait, 10)
            ending.callback(process.terminate)
            wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), OSError)
            return port

        yield start


def write(config, view, rows=None, keep=Keep.NOTHING):
    return PipelinedRedisOnlineStore().write_arrow(config, view, rows or batch(), keep=keep)


def at(two, address, **options):
    config = two.config(ours=True, **options)
    config.online_store.connection_string = address
    return config


def test_a_full_redis_is_an_error_that_says_so(two, view, server):
    port = server("--maxmemory", "1mb")
    with pytest.raises(redis.exceptions.OutOfMemoryError, match="maxmemory") as raised:
        write(at(two, f"127.0.0.1:{port}"), view, batch(20_000))
    assert not is_transient(raised.value)


def test_a_user_without_the_rights_is_an_error_that_names_them(two, view, acl_secrets):
    config = at(two, f"127.0.0.1:{two.port},username=feast-feature-server,password={acl_secrets['feast-feature-server']}")
    with pytest.raises(redis.exceptions.NoPermissionError, match=r"\+hset"):
        write(config, view)


def test_a_key_that_holds_no_hash_is_an_error_that_says_so(two, view):
    write(two.config(ours=True), view)
    key = next(two.ours_redis.scan_iter())
    two.ours_redis.set(key, "not a hash")
    with pytest.raises(redis.exceptions.ResponseError, match="no hash"):
        write(two.config(ours=True), view)


def test_a_replica_is_a_passing_error_and_the_connection_is_not_used_again(two, view, server):
    master = free_port()
    replica = server("--replicaof", "127.0.0.1", str(master))
    store, config = PipelinedRedisOnlineStore(), at(two, f"127.0.0.1:{replica}")
    with pytest.raises(redis.exceptions.ConnectionError, match="READONLY") as raised:
        store.write_arrow(config, view, batch(), keep=Keep.NOTHING)
    assert is_transient(raised.value)
    redis.Redis(port=replica).replicaof("NO", "ONE")
    assert store.write_arrow(config, view, batch(), keep=Keep.NEWER) == 50


def test_a_redis_that_hangs_or_hangs_up_is_a_passing_error_within_its_time(two, view):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer():
            for patience in (3, None):
                with contextlib.suppress(OSError), listener.accept()[0] as connection:
                    while b"HSET" not in (received := connection.recv(1 << 20)) and received:
                        connection.sendall(b"+OK\r\n" * received.count(b"*"))
                    if patience:
                        connection.settimeout(patience)
                        while connection.recv(1 << 20):
                            pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        config = at(two, f"127.0.0.1:{port},socket_timeout=0.5,retry=null")
        for kind in (redis.exceptions.TimeoutError, redis.exceptions.ConnectionError):
            with pytest.raises(kind) as raised:
                write(config, view)
            assert is_transient(raised.value)
        thread.join(5)


def test_sentinel_leads_to_the_master(two, view, server, tmp_path):
    master, port = server(), free_port()
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor store 127.0.0.1 {master} 1\n")
    process = subprocess.Popen([shutil.which("redis-server"), str(configuration), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        sentinel = redis.Redis(port=port)
        wait_for(lambda: sentinel.execute_command("SENTINEL", "MASTER", "store"), redis.exceptions.RedisError)
        assert write(at(two, f"127.0.0.1:{port}", redis_type="redis_sentinel", sentinel_master="store"), view) == 50
    finally:
        process.terminate()
        process.wait(10)
    assert redis.Redis(port=master).dbsize() == 50


def test_a_cluster_gets_the_same_bytes(two, view, server):
    port = server("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    client = redis.Redis(port=port)
    client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_for(lambda: client.set("{probe}", 1), redis.exceptions.ResponseError)
    client.delete("{probe}")
    config = at(two, f"127.0.0.1:{port}", redis_type="redis_cluster", key_ttl_seconds=500)
    assert write(config, view) == 50
    assert write(config, view, keep=Keep.NEWER_OR_EQUAL) == 0
    write(two.config(ours=True, key_ttl_seconds=500), view)
    assert two.dump(client) == two.dump(two.ours_redis)
