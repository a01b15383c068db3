"""Make the registry say what the feature repo says, and prove it.

In this order, so that nothing is changed before everything is checked: the contract is not stale; the definitions
import; every source has the columns that its views ask for; Feast's own apply; the rights of materialization; the
registry, read back, equals the contract; its read replicas have caught up. Safe to run again at any point.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from feast import FeatureService, FeatureStore
from feast.repo_operations import apply_total_with_repo_instance
from sqlalchemy.exc import IntegrityError

from feature_runtime import contract
from feature_runtime.definitions import Definitions, load_definitions
from feature_runtime.loaded import LoadRecords
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.registry import grant_materialize, open_store, postgres_engine, registered_contract, require_role
from feature_runtime.replicas import wait_for_replicas
from feature_runtime.retrying import is_transient, with_retries
from feature_runtime.settings import feature_repo_directory, materialize_role, registry_replicas
from feature_runtime.source import check_sources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long a restarting registry is waited for."""
    parser.add_argument("--wait-seconds", type=float, default=90, help="for a registry that is away (90)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Apply; the result says what the registry now serves."""
    started = time.monotonic()
    repo = feature_repo_directory()
    lock, definitions = _checked(repo)
    say("apply: the contract is up to date; reading the schemas of the sources")
    check_sources(definitions.views, repo)

    store = open_store(repo, wait_seconds=arguments.wait_seconds)
    require_role(store, materialize_role())
    before = registered_contract(store, lock["definitions_sha256"])
    gone = sorted(before["views"].keys() - lock["views"].keys())
    records = LoadRecords(store)
    if gone:
        say(f"apply: removing the feature views {', '.join(gone)}, and their values from the online store")
        # Feast forgets a view first and deletes its values after: a store that is away then keeps them for ever.
        with_retries("reaching the online store", records.check_reachable, seconds=arguments.wait_seconds)

    say("apply: applying")
    with_retries(
        "applying the definitions",
        lambda: _apply(store, definitions, lock, before),
        seconds=arguments.wait_seconds,
        # Two applies at once take the same version number; the second finds the next one free.
        transient=lambda error: is_transient(error) or isinstance(error, IntegrityError),
    )
    for view in gone:
        records.forget(view)
    updates = with_retries("granting rights", lambda: grant_materialize(store, materialize_role()), seconds=arguments.wait_seconds)
    after = with_retries(
        "reading the registry back",
        lambda: registered_contract(store, lock["definitions_sha256"]),
        seconds=arguments.wait_seconds,
    )
    if wrong := contract.differences(lock, after):
        raise Refusal(
            f"the registry does not say what {contract.LOCK_FILE} says: {'; '.join(wrong)}. "
            "Another process may have applied other definitions to the same project; run this again.",
            differences=wrong,
        )
    engine, replicas = postgres_engine(store), registry_replicas()
    caught_up = wait_for_replicas(engine, replicas, wait_seconds=arguments.wait_seconds) if engine and replicas else []
    return {
        "project": definitions.project,
        "definitions_sha256": lock["definitions_sha256"],
        "views": sorted(after["views"]),
        "services": {name: service["sha256"] for name, service in sorted(after["services"].items())},
        "changes": contract.differences(before, after),
        "materialize_may_update": updates,
        "replicas": caught_up,
        "seconds": round(time.monotonic() - started, 1),
    }


def _checked(repo: Path) -> tuple[contract.Contract, Definitions]:
    """The contract and the definitions that it was written from."""
    definitions = load_definitions(repo)
    lock = contract.read_unchecked(repo)
    found = contract.of_definitions(repo, definitions)
    if changes := contract.differences(lock, found):
        raise Refusal(f"{contract.LOCK_FILE} is stale: {'; '.join(changes)}. {contract.REMEDY}", differences=changes)
    return lock, definitions


def _apply(store: FeatureStore, definitions: Definitions, lock: contract.Contract, before: contract.Contract) -> None:
    # Validation of sources would ask AWS for the bucket's region, whatever the endpoint; they have been checked.
    apply_total_with_repo_instance(store, definitions.project, store.registry, definitions.contents, skip_source_validation=True)
    for service in definitions.services:
        registered = before["services"].get(service.name)
        if registered and registered != lock["services"][service.name]:
            _replace_if_unchanged(store, service, lock["services"][service.name]["features"])


def _replace_if_unchanged(store: FeatureStore, service: FeatureService, features: list[list[str]]) -> None:
    """Feast compares a service's views without regard to their order, and so keeps the old order of a model's input."""
    registered = store.registry.get_feature_service(service.name, store.project)
    found = [
        [projection.name_to_use(), feature.name, str(feature.dtype)]
        for projection in registered.feature_view_projections
        for feature in projection.features
    ]
    if found != features:
        store.registry.delete_feature_service(service.name, store.project)
        store.registry.apply_feature_service(service, store.project)
