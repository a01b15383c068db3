"""The registry's read replicas: nobody is told that the definitions are applied before they can be read there.

Feature servers read definitions from a replica, and start right after `apply`. Replication takes milliseconds, but
nothing bounds it; so `apply` waits until every replica that answers has replayed what it wrote.
"""

import socket
import time

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import first_line

CONNECT_SECONDS = 5
PAUSE_SECONDS = 0.2
# Of Amazon Aurora: its readers share the writer's storage, and have no log to replay.
NOT_SUPPORTED = "0A000"


def wait_for_replicas(primary: Engine, name: str, *, wait_seconds: float) -> list[str]:
    """Wait until the replicas that `name` stands for have all that the primary has; returns their addresses.

    One that does not answer is left out: no server reads from it either.

    Raises:
        Refusal: one is still behind at the end, or none answers.
    """
    deadline = time.monotonic() + wait_seconds
    with primary.connect() as connection:
        position = str(connection.execute(text("SELECT pg_current_wal_lsn()")).scalar_one())
    caught_up, silent = [], []
    for address in _addresses(name, deadline):
        replica = create_engine(
            # The name is what a certificate is for; the address is where this one replica answers.
            primary.url.set(host=name),
            poolclass=NullPool,
            connect_args={"hostaddr": address, "connect_timeout": CONNECT_SECONDS},
        )
        try:
            _wait(replica, f"{name} ({address})", position, deadline)
        except OperationalError as error:
            silent.append(f"{address}: {first_line(error)}")
        else:
            caught_up.append(address)
    if not caught_up:
        raise Refusal(f"no read replica of the registry answers at {name}, so no feature server would start. {'; '.join(silent)}")
    if silent:
        say(f"apply: read replicas that do not answer are left out: {'; '.join(silent)}")
    return caught_up


def _addresses(name: str, deadline: float) -> list[str]:
    while True:
        try:
            return sorted({str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
        except OSError as error:
            if time.monotonic() > deadline:
                raise Refusal(f"the registry's read replicas have no address: {name}: {error}. Is one of them ready?") from None
            time.sleep(PAUSE_SECONDS)


def _wait(replica: Engine, what: str, position: str, deadline: float) -> None:
    while reason := _behind(replica, position):
        if time.monotonic() > deadline:
            raise Refusal(
                f"the registry's read replica {what} has not caught up: {reason}. Does it still replicate? `pg_stat_wal_receiver` tells."
            )
        time.sleep(PAUSE_SECONDS)


def _behind(replica: Engine, position: str) -> str:
    """What the server still lacks of the primary's log up to there; one that is no standby lacks nothing."""
    question = "SELECT NOT pg_is_in_recovery() OR coalesce(pg_last_wal_replay_lsn() >= CAST(:position AS pg_lsn), false)"
    try:
        with replica.connect() as connection:
            return "" if connection.execute(text(question), {"position": position}).scalar_one() else "changes that the primary made"
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == NOT_SUPPORTED:
            return ""
        # It answers, but does not even have the database or the role yet.
        if "FATAL:" in str(error.orig):
            return first_line(error)
        raise
