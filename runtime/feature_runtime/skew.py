"""Compare what is served with the history, and record the difference.

For every feature service a sample of entities is asked for over HTTP, as a model asks, and every value is held against
the offline store's, joined point-in-time as training joins it. The share of values that differ goes into the online
store, from which the feature servers export it.

Neither the result nor the record holds values of features: they describe people.
"""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from feature_runtime import contract
from feature_runtime.definitions.feature_repo import Definitions, load_config, load_definitions
from feature_runtime.offline_store.joined_view import JoinedView, joined_views
from feature_runtime.offline_store.sampling import sample
from feature_runtime.offline_store.vector import Vector, vector_of, vector_of_features
from feature_runtime.online_store.skew_records import Records
from feature_runtime.progress import say
from feature_runtime.proving.agreement import NEVER_LOADED, Comparison, Tally
from feature_runtime.refusal import Refusal
from feature_runtime.settings import SmokeSettings, feature_repo_directory

LISTED = "--features"
"""What a list of features is called in the result, where services have their names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much to compare, and what to tolerate."""
    parser.add_argument(
        "--features", nargs="+", metavar="VIEW:FEATURE", default=[], help="these features instead of every service; nothing is recorded"
    )
    parser.add_argument("--full-feature-names", action="store_true", help="with --features: ask for them as VIEW__FEATURE")
    parser.add_argument("--sample", type=int, default=1000, metavar="N", help="entities per feature service (1000)")
    parser.add_argument("--tolerated-ratio", type=float, default=0.0, metavar="R", help="share of values that may differ (0)")
    parser.add_argument("--memory-mib", type=int, default=256, metavar="MIB", help="for joins; more than that spills (256)")
    parser.add_argument("--wait-seconds", type=float, default=120, help="for a server or a store that is away (120)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare every service; the result says for each how much differs, and where."""
    now = datetime.now(UTC)
    repo = feature_repo_directory()
    locked = contract.read(repo)
    definitions = load_definitions(repo)
    settings = SmokeSettings.from_environment()
    records = Records(load_config(repo), seconds=arguments.wait_seconds)
    tallies: dict[str, Tally] = {}
    for vector in _vectors(arguments, locked, definitions):
        name = vector.service or LISTED
        views = joined_views(vector.parts, repo)
        ends = _ends(views, records)
        entities = sample(views, ends, count=arguments.sample, seed=f"{now:%Y-%m-%d} {name}", memory_mib=arguments.memory_mib)
        _require(entities, vector)
        comparison = Comparison(vector=vector, views=views, ends=ends, memory_mib=arguments.memory_mib)
        tally = tallies[name] = comparison.of(entities, settings, wait_seconds=arguments.wait_seconds)
        for view in views:
            view.history.left_out.warn("skew", view.name)
        say(f"skew: {name}: {tally.differing.total()} of {tally.compared} values differ")
        if vector.service:
            records.write_skew(name, at=now, ratio=tally.ratio, compared=tally.compared, differing=tally.differing.total())
    return _judged(tallies, now, arguments.tolerated_ratio)


def _vectors(arguments: argparse.Namespace, locked: contract.Contract, definitions: Definitions) -> Iterator[Vector]:
    if arguments.features:
        yield vector_of_features(arguments.features, definitions, full_names=arguments.full_feature_names)
        return
    left_out = contract.training_only(locked)
    for name, reason in left_out.items():
        say(f"skew: {name} is left out: {reason}")
    yield from (vector_of(name, locked, definitions) for name in sorted(locked["services"].keys() - left_out.keys()))


def _ends(views: list[JoinedView], records: Records) -> dict[str, datetime]:
    """Up to when each view was loaded."""
    ends = {view.name: records.end_of_load(view.view.name) for view in views}
    if never := sorted({view.view.name for view in views if ends[view.name] is None and not view.is_pushed}):
        raise Refusal(f"nothing was ever loaded of {', '.join(never)}, so there is nothing to compare. Run `materialize`.")
    return {name: end or NEVER_LOADED for name, end in ends.items()}


def _require(entities: list[dict[str, Any]], vector: Vector) -> None:
    if not entities:
        raise Refusal(
            f"{vector.title}: the sources have no row up to the last load that its ttl still lets count, so there "
            "is nothing to compare. Do the sources still get new data?"
        )


def _judged(tallies: dict[str, Tally], now: datetime, tolerated_ratio: float) -> dict[str, Any]:
    result: dict[str, Any] = {"at": now.isoformat(), "services": {name: tally.result for name, tally in tallies.items()}}
    bad = [
        f"{name}: {tally.differing.total()} of {tally.compared} values differ, most of them of {', '.join(tally.worst)}"
        for name, tally in tallies.items()
        if tally.ratio > tolerated_ratio
    ]
    if bad:
        raise Refusal(
            f"what is served is not what the history says. {'; '.join(bad)}. `examples` names entities; `materialize` loads them again.",
            **result,
        )
    return result
