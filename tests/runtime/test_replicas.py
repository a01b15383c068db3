"""Read replicas of the registry, on a real standby: what is applied can be read there, and servers need nothing else."""

import contextlib
import os
import socket
import time

import psycopg
import pytest
from sqlalchemy import create_engine

from feature_runtime.refusal import Refusal
from feature_runtime.registry.replicas import wait_for_replicas
from tests.waiting import wait_for

REPLICA = "127.0.0.2"
"""The standby answers on the primary's port at this address, as every replica behind one name does."""

NOBODY = "127.0.0.3"


@pytest.fixture(scope="module")
def replica(postgres, store_directory, secrets):
    data = store_directory / "postgres" / "replica"
    password = secrets["REGISTRY_ADMIN_PASSWORD"]
    primary = f"postgresql://postgres:{password}@127.0.0.1:{postgres.port}/postgres"
    postgres.tool("pg_basebackup", "-d", primary, "-D", str(data), "-R", "-X", "stream", "-c", "fast")
    data.chmod(0o700)
    options = f"-p {postgres.port} -c listen_addresses={REPLICA} -c unix_socket_directories= -c fsync=off"
    postgres.tool("pg_ctl", "-D", str(data), "-w", "-t", "60", "-o", options, "-l", str(data / "log"), "start")
    yield lambda: psycopg.connect(host=REPLICA, port=postgres.port, user="postgres", password=password, dbname="postgres", autocommit=True)
    with contextlib.suppress(AssertionError):
        postgres.tool("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")


@pytest.fixture
def paused(replica):
    """A replica that gets the log and does not replay it."""
    with replica() as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        yield connection
        connection.execute("SELECT pg_wal_replay_resume()")


def test_apply_says_which_replicas_have_caught_up(applied, replica):
    assert applied.apply(REGISTRY_REPLICAS=REPLICA).ok()["replicas"] == [REPLICA]


def test_apply_ends_only_after_the_replica_has_what_it_wrote(applied, paused):
    running = applied.start(["apply"], applied.environment("apply") | {"REGISTRY_REPLICAS": REPLICA})
    time.sleep(5)
    assert os.waitpid(running.pid, os.WNOHANG) == (0, 0), "it ended while servers would still have read the old definitions"
    paused.execute("SELECT pg_wal_replay_resume()")
    running.wait(60).ok()


def test_a_replica_that_stays_behind_is_refused_with_where_to_look(applied, paused):
    outcome = applied.apply("--wait-seconds", "2", REGISTRY_REPLICAS=REPLICA)
    assert f"{REPLICA} ({REPLICA}) has not caught up" in outcome.error
    assert "pg_stat_wal_receiver" in outcome.error


def test_no_replica_that_answers_is_refused(applied):
    assert "no feature server would start" in applied.apply("--wait-seconds", "2", REGISTRY_REPLICAS=NOBODY).error


def test_a_name_without_an_address_is_refused(applied):
    assert "have no address" in applied.apply("--wait-seconds", "1", REGISTRY_REPLICAS="replicas.invalid").error


@pytest.fixture
def engine(postgres, secrets):
    password = secrets["REGISTRY_ADMIN_PASSWORD"]
    return create_engine(f"postgresql+psycopg://postgres:{password}@127.0.0.1:{postgres.port}/postgres")


def answers(*addresses):
    return lambda *_arguments, **_options: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]


def test_every_replica_behind_a_name_is_waited_for_and_one_that_is_away_is_left_out(engine, replica, monkeypatch, capsys):
    monkeypatch.setattr(socket, "getaddrinfo", answers(REPLICA, NOBODY))
    assert wait_for_replicas(engine, "feast-postgresql-read-hl", wait_seconds=20) == [REPLICA]
    assert NOBODY in capsys.readouterr().err


def test_one_of_two_that_is_behind_is_refused(engine, paused, monkeypatch):
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS written (at timestamptz)")
    monkeypatch.setattr(socket, "getaddrinfo", answers("127.0.0.1", REPLICA))
    with pytest.raises(Refusal, match="has not caught up"):
        wait_for_replicas(engine, "feast-postgresql-read-hl", wait_seconds=1)


def test_a_server_reads_from_the_replica_while_the_primary_is_away(applied, replica):
    applied.apply(REGISTRY_REPLICAS=REPLICA).ok()
    applied.materialize("--backfill").ok()
    config = applied.repo / "feature_store.yaml"
    config.write_text(config.read_text().replace("@127.0.0.1:", f"@{REPLICA}:"))
    applied.postgres.stop()
    try:
        assert applied.online(101)["salary_band"] == [2]
    finally:
        applied.postgres.start()
        wait_for(lambda: applied.postgres.admin().close(), psycopg.OperationalError)
