"""The live registry as the old side of a comparison, read with rights that cannot change it.

Feast itself writes when it meets a project for the first time, so tables and projects are looked for before it opens the
registry.
"""

from pathlib import Path
from typing import Any

from feast.infra.registry.sql import SqlRegistryConfig, metadata
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Connection

from feature_runtime.definitions.feature_repo import load_config
from feature_runtime.gate.comparison import Snapshot
from feature_runtime.gate.recorded import registered_snapshot
from feature_runtime.refusal import Refusal
from feature_runtime.registry.access import open_store
from feature_runtime.retrying import with_retries

NAMED = (
    ("feature_views", "feature_view_name"),
    ("stream_feature_views", "feature_view_name"),
    ("on_demand_feature_views", "feature_view_name"),
    ("feature_services", "feature_service_name"),
)
"""Where the registry keeps the names by which a renamed project is known again."""


def snapshot_of_registry(repo: Path, *, wait_seconds: float) -> Snapshot:
    """What the registry of the repo's configuration holds of its project; empty before the first deployment.

    Needs the variables of the section `registry` alone, and a database user who may only read.

    Raises:
        Refusal: it does not answer in time, refuses the user, or has tables of another version of Feast.
    """
    config = load_config(repo, only="registry")
    if isinstance(config.registry, SqlRegistryConfig):
        projects = with_retries("reading the registry", lambda: _projects(config.registry), seconds=wait_seconds)
        if config.project not in projects:
            return Snapshot(other_projects=projects)
    elif not (repo / str(getattr(config.registry, "path", ""))).is_file():
        return Snapshot()
    return registered_snapshot(open_store(repo, wait_seconds=wait_seconds, only="registry"))


def _projects(registry: SqlRegistryConfig) -> dict[str, frozenset[str]]:
    """Every project of the database, with the names of its views and services."""
    engine = create_engine(registry.path, **registry.sqlalchemy_config_kwargs)
    try:
        with engine.connect() as connection:
            there = set(inspect(connection).get_table_names())
            if missing := sorted({table.name for table in metadata.sorted_tables} - there):
                if not there & {table.name for table in metadata.sorted_tables}:
                    return {}
                raise Refusal(
                    f"the registry lacks the tables {', '.join(missing)}: another version of Feast made it. "
                    "Create them with the owner's rights (`feast registry create-schema`), then compare again."
                )
            return _names(connection)
    finally:
        engine.dispose()


def _names(connection: Connection) -> dict[str, frozenset[str]]:
    names: dict[str, set[Any]] = {project: set() for (project,) in connection.execute(text("SELECT project_id FROM projects"))}
    for table, column in NAMED:
        for project, name in connection.execute(text(f"SELECT project_id, {column} FROM {table}")):  # noqa: S608  names of ours
            names.setdefault(project, set()).add(name)
    return {project: frozenset(found) for project, found in names.items()}
