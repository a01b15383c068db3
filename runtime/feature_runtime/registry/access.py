"""The registry as it is: opened, described as a contract, and what its roles may do."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feast import FeatureStore
from feast.infra.registry.sql import FeastRegistrySchemaError, SqlRegistry
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError, ProgrammingError

from feature_runtime.contract import Contract
from feature_runtime.definitions.describing import describe
from feature_runtime.definitions.feature_repo import load_config
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import is_transient, with_retries

# What recording a materialization changes: the view's intervals, and the time of the last change.
MATERIALIZE_UPDATES = ("feature_views", "feast_metadata")


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
        permissions=store.list_permissions(**cached),
    )


def sha256_of_registered(registered: Contract) -> str:
    """Digest of all that a registry says, whatever the text of the definitions that it was written from."""
    said = {key: value for key, value in registered.items() if key != "definitions_sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def postgres_engine(store: FeatureStore) -> Engine | None:
    """The engine of a PostgreSQL registry; None for the registries of a laptop."""
    if isinstance(store.registry, SqlRegistry) and store.registry.write_engine.dialect.name == "postgresql":
        return store.registry.write_engine
    return None


def require_role(store: FeatureStore, role: str) -> None:
    """Refuse a PostgreSQL registry without the role, before anything is changed."""
    engine = postgres_engine(store)
    if engine is None:
        return
    with engine.connect() as connection:
        if not connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first():
            raise Refusal(f"the database role {role!r} does not exist. `prepare-registry` makes it; it must run first.")


def grant_materialize(store: FeatureStore, role: str) -> list[str]:
    """Let materialization record what it loaded, and nothing else; returns the tables that it may update."""
    engine = postgres_engine(store)
    if engine is None:
        return []
    quoted = engine.dialect.identifier_preparer.quote(role)
    with engine.begin() as connection:
        # One transaction: a run that reads in between sees either the old rights or the new ones.
        connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {quoted}"))
        for table in MATERIALIZE_UPDATES:
            connection.execute(text(f"GRANT UPDATE ON {table} TO {quoted}"))
    return list(MATERIALIZE_UPDATES)


@contextmanager
def exclusive(store: FeatureStore, purpose: str, *, wait_seconds: float) -> Iterator[None]:
    """Hold the registry's lock for `purpose`, so that no two runs do the same at once.

    The database frees it when the holder's connection ends, however that happens. Without PostgreSQL there is none.
    """
    engine = postgres_engine(store)
    if engine is None:
        yield
        return
    parameters: dict[str, Any] = {"name": f"feast-eks:{purpose}:{store.project}"}
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:

        def take() -> None:
            statement = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
            if not connection.execute(statement, parameters).scalar():
                raise _Held("another run holds the lock")

        with_retries(
            f"waiting for another {purpose} run to end",
            take,
            seconds=wait_seconds,
            transient=lambda error: isinstance(error, _Held),
            pause=1,
        )
        yield


def _passes_when_opening(error: BaseException) -> bool:
    """Two who open an empty registry at once both make its tables; the second finds them made when it tries again."""
    made = isinstance(error, IntegrityError | ProgrammingError) and ("already exists" in str(error) or "duplicate key" in str(error))
    return made or is_transient(error)


class _Held(Exception):
    """Somebody else has the lock."""
