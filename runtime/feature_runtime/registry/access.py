"""The registry as it is: opened, described as a contract, and what its roles may do."""

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from feast import FeatureStore
from feast.infra.registry.sql import FeastRegistrySchemaError, SqlRegistry
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from feature_runtime.contract import Contract
from feature_runtime.definitions.describing import describe
from feature_runtime.definitions.feature_repo import load_config
from feature_runtime.definitions.unenforced import registered_permissions
from feature_runtime.refusal import Refusal
from feature_runtime.registry import rebuilding  # noqa: F401  every registry is read so
from feature_runtime.retrying import first_line, is_transient, with_retries

KEEPALIVE = {"idle": 30, "interval": 10, "count": 3}
"""Seconds and tries until a connection that says nothing, such as a lock's, is known to be dead, on either side."""

USER_TIMEOUT_MILLISECONDS = 60_000


def open_store(repo: Path, *, wait_seconds: float = 90, only: str = "") -> FeatureStore:
    """The feature store of the repo's configuration, with a registry that answers.

    With `only="registry"` no other store can be used (see `load_config`).

    Raises:
        Refusal: it does not answer in time, refuses the user, or was never applied to.
    """
    config = load_config(repo, only=only)

    def open_it() -> FeatureStore:
        store = FeatureStore(repo_path=str(repo), config=config)
        store.list_projects()
        return store

    try:
        return with_retries("opening the registry", open_it, seconds=wait_seconds, transient=_passes_when_opening)
    except FeastRegistrySchemaError as error:
        raise Refusal(f"the registry is empty ({error}). Run `apply` first.") from None


def registered_contract(store: FeatureStore, definitions_sha256: str, *, refresh: bool = True) -> Contract:
    """What the registry says now, or said when it was read last, in the words of the lock file."""
    if refresh:
        store.refresh_registry()
    cached = {"allow_cache": not refresh}
    return describe(
        project=store.project,
        definitions=definitions_sha256,
        entities=store.list_entities(**cached),
        sources=store.list_data_sources(**cached),
        views=[*store.list_batch_feature_views(**cached), *store.list_stream_feature_views(**cached)],
        on_demand_views=store.list_on_demand_feature_views(**cached),
        services=store.registry.list_feature_services(store.project, **cached),
        permissions=registered_permissions(store, **cached),
    )


def sha256_of_registered(registered: Contract) -> str:
    """Digest of all that a registry says of what is served, whatever the text of the definitions that it was written from.

    Without the sources: they are described by their place in the environment's bucket, which servers are not told.
    """
    said = {key: value for key, value in registered.items() if key not in ("definitions_sha256", "sources")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def postgres_engine(store: FeatureStore) -> Engine | None:
    """The engine of a PostgreSQL registry; None for the registries of a laptop."""
    if isinstance(store.registry, SqlRegistry) and store.registry.write_engine.dialect.name == "postgresql":
        return store.registry.write_engine
    return None


class Lock:
    """A lock of the registry that this run holds, for as long as the session lives that took it."""

    def __init__(self, purpose: str, connection: Connection | None = None) -> None:
        self._purpose = purpose
        self._connection = connection
        self._session = self._pid()

    def check(self) -> None:
        """Make sure that the lock is still held: asks its own session.

        Raises:
            Refusal: the session has ended, so that another run may hold the lock by now.
        """
        try:
            gone = "" if self._pid() == self._session else "another session answers"
        except DBAPIError as error:
            gone = first_line(error)
        if gone:
            raise Refusal(
                f"the lock of this {self._purpose} run is lost: the session of the registry's database that held it has ended ({gone}). "
                "Another run may have begun, so this one stops. Run it again; a connection pooler in between must keep sessions."
            )

    def _pid(self) -> int:
        if self._connection is None:
            return 0
        return int(self._connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


@contextmanager
def exclusive(store: FeatureStore, purpose: str, *, of: str = "", wait_seconds: float) -> Iterator[Lock]:
    """Hold the registry's lock for `purpose`, so that no two runs do the same at once (to the same view, with `of`).

    The database frees it when the holder's connection ends, however that happens. Without PostgreSQL there is none.
    """
    engine = postgres_engine(store)
    if engine is None:
        yield Lock(purpose)
        return
    parameters: dict[str, Any] = {"name": ":".join(filter(None, ("feast-eks", purpose, store.project, of)))}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        _keep_alive(connection)
        # Not back into the pool afterwards: it would keep the lock.
        connection.detach()

        def take() -> None:
            statement = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
            if not connection.execute(statement, parameters).scalar():
                raise _Held("another run holds the lock")

        with_retries(
            f"waiting for another {purpose} run{f' of {of}' if of else ''} to end",
            take,
            seconds=wait_seconds,
            transient=lambda error: isinstance(error, _Held),
            pause=1,
        )
        yield Lock(purpose, connection)


def loading(store: FeatureStore, view: str, *, wait_seconds: float) -> AbstractContextManager[Lock]:
    """The lock under which one view is loaded, or removed with its values; other views are loaded meanwhile."""
    return exclusive(store, "materialize", of=view, wait_seconds=wait_seconds)


def _keep_alive(connection: Connection) -> None:
    """Let both ends of a connection ask whether the other is there, so that nothing in between forgets it or hides its end."""
    for name, value in KEEPALIVE.items():
        connection.execute(text(f"SET tcp_keepalives_{name} = {value}"))
    driver: Any = connection.connection.driver_connection
    with socket.socket(fileno=os.dup(driver.fileno())) as own:
        if own.family == socket.AF_UNIX:
            return
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        options = {"TCP_KEEPIDLE": KEEPALIVE["idle"], "TCP_KEEPINTVL": KEEPALIVE["interval"], "TCP_KEEPCNT": KEEPALIVE["count"]}
        options["TCP_USER_TIMEOUT"] = USER_TIMEOUT_MILLISECONDS
        for option, value in options.items():
            # Not every system that people develop on has all of them.
            if hasattr(socket, option):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _passes_when_opening(error: BaseException) -> bool:
    """Two who open an empty registry at once both make its tables; the second finds them made when it tries again."""
    made = isinstance(error, IntegrityError | ProgrammingError) and ("already exists" in str(error) or "duplicate key" in str(error))
    return made or is_transient(error)


class _Held(Exception):
    """Somebody else has the lock."""
