"""Make the registry say what the feature repo says, and prove it.

In this order, so that nothing is changed before everything is checked: the contract is not stale; the definitions
import; every source has the columns that its views ask for; the gate finds nothing breaking in the registry as it is;
Feast's own apply; the registry, read back, equals the contract; its read replicas have caught up. Safe to run again at
any point, and never two at once.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from feast import FeatureStore
from feast.repo_operations import apply_total_with_repo_instance
from sqlalchemy.exc import IntegrityError

from feature_runtime import contract
from feature_runtime.check import add_margin, new_snapshot
from feature_runtime.definitions.describing import contract_of_definitions
from feature_runtime.definitions.feature_repo import Definitions, load_definitions
from feature_runtime.gate.comparison import Comparison
from feature_runtime.gate.judgement import BROKEN, Verdict, judge
from feature_runtime.gate.recorded import keep_record, record, registered_snapshot
from feature_runtime.gate.rule import BREAKING
from feature_runtime.gate.waivers import read_waivers
from feature_runtime.offline_store.source import check_sources
from feature_runtime.online_store.load_records import LoadRecords
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.registry.access import exclusive, loading, open_store, postgres_engine, registered_contract
from feature_runtime.registry.replicas import wait_for_replicas
from feature_runtime.registry.rewriting import rewrite_what_feast_kept
from feature_runtime.retrying import is_transient, with_retries
from feature_runtime.settings import feature_repo_directory, registry_replicas


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long a restarting registry is waited for, and what the gate counts with."""
    parser.add_argument("--wait-seconds", type=float, default=90, help="for a registry that is away (90)")
    add_margin(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Apply; the result says what the registry now serves."""
    started = time.monotonic()
    repo = feature_repo_directory()
    lock, definitions = _checked(repo)
    say("apply: the contract is up to date; reading the schemas of the sources")
    check_sources(definitions.views, repo)
    store = open_store(repo, wait_seconds=arguments.wait_seconds)
    with exclusive(store, "apply", wait_seconds=arguments.wait_seconds):
        changed = _change(store, repo, lock, definitions, arguments)
    engine, replicas = postgres_engine(store), registry_replicas()
    caught_up = wait_for_replicas(engine, replicas, wait_seconds=arguments.wait_seconds) if engine and replicas else []
    return {
        "project": definitions.project,
        "definitions_sha256": lock["definitions_sha256"],
        **changed,
        "replicas": caught_up,
        "seconds": round(time.monotonic() - started, 1),
    }


def _checked(repo: Path) -> tuple[contract.Contract, Definitions]:
    """The contract and the definitions that it was written from."""
    definitions = load_definitions(repo)
    lock = contract.read_unchecked(repo)
    found = contract_of_definitions(repo, definitions)
    if changes := contract.differences(lock, found):
        raise Refusal(f"{contract.LOCK_FILE} is stale: {'; '.join(changes)}. {contract.REMEDY}", differences=changes)
    return lock, definitions


def _change(
    store: FeatureStore, repo: Path, lock: contract.Contract, definitions: Definitions, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Everything that must not happen twice at once: from the comparison with the registry to the proof that it changed."""
    wait: float = arguments.wait_seconds
    old = registered_snapshot(store, lock["definitions_sha256"])
    new = new_snapshot(repo, definitions)
    verdict = judge(Comparison(old=old, new=new, margin_seconds=arguments.margin_seconds), read_waivers(repo))
    _refuse_breaking(verdict)

    before = contract.as_registered(old.contract)
    gone = sorted(before["views"].keys() - lock["views"].keys())
    records = LoadRecords(store)
    if gone:
        say(f"apply: removing the feature views {', '.join(gone)}, and their values from the online store")
        # Feast forgets a view first and deletes its values after: a store that is away then keeps them for ever.
        with_retries("reaching the online store", records.check_reachable, seconds=wait)

    with ExitStack() as held:
        for view in gone:
            # A load under way would write the view's values and record back after they were removed.
            held.enter_context(loading(store, view, wait_seconds=wait))
        say("apply: applying")
        keep_record(store, definitions.contents.projects[0])
        with_retries(
            "applying the definitions",
            lambda: _apply(store, definitions),
            seconds=wait,
            # Whoever applies without our lock may take the same version number; the next one is free.
            transient=lambda error: is_transient(error) or isinstance(error, IntegrityError),
        )
        for view in gone:
            records.forget(view)
    registered = contract.as_registered(lock)
    after = with_retries(
        "reading the registry back",
        lambda: registered_contract(store, lock["definitions_sha256"]),
        seconds=wait,
    )
    if wrong := contract.differences(registered, after):
        raise Refusal(
            f"the registry does not say what {contract.LOCK_FILE} says: {'; '.join(wrong)}. "
            "Another process may have applied other definitions to the same project; run this again.",
            differences=wrong,
        )
    with_retries(
        "recording what was applied",
        lambda: record(store, definitions.contents.projects[0], lock, new.stores, verdict, registered=after),
        seconds=wait,
    )
    return {
        "views": sorted(after["views"]),
        "services": {name: service["sha256"] for name, service in sorted(after["services"].items())},
        "changes": contract.differences(before, after),
        "gate": verdict.summary,
    }


def _refuse_breaking(verdict: Verdict) -> None:
    if breaking := verdict.standing(BREAKING):
        said = "; ".join(f"{finding.rule} {finding.object}: {finding.reason}" for finding in breaking)
        raise Refusal(
            f"the definitions would break who reads features: {said}. {breaking[0].remedy}",
            exit_code=BROKEN,
            findings=[finding.to_json() for finding in verdict.findings],
        )


def _apply(store: FeatureStore, definitions: Definitions) -> None:
    for view in definitions.on_demand_views:
        # Feast would run the function again, and refuse 32 bits for 64; that it gives what the view declares has been checked.
        view.infer_features = _as_declared
    # Validation of sources would ask AWS for the bucket's region, whatever the endpoint; they have been checked.
    apply_total_with_repo_instance(store, definitions.project, store.registry, definitions.contents, skip_source_validation=True)
    rewrite_what_feast_kept(store, definitions)


def _as_declared() -> None:
    """Infer nothing."""
