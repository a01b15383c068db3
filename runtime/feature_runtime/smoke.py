"""Prove on every replica that the vectors are right: names, types, no value missing, and equal to the offline store.

Every replica is asked by its own address for every feature service. A vector must be a row of the source, and the
newest one, except that a row younger than `--fresh-hours` may still wait for its nightly load. Replicas that start, or
still read an older registry, get time; then the error says for each replica what differs.
"""

import argparse
import json
import math
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feast import FeatureView

from feature_runtime import contract
from feature_runtime.definitions import Definitions, load_definitions
from feature_runtime.refusal import Refusal
from feature_runtime.settings import SmokeSettings, feature_repo_directory
from feature_runtime.source import Row, ViewSource

REQUEST_SECONDS = 5
SAMPLE = 3
PAUSE_SECONDS = 2

Key = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How patient to be."""
    parser.add_argument("--wait-seconds", type=float, default=120, help="until every replica must be right (120)")
    parser.add_argument("--fresh-hours", type=float, default=26, help="how long a new row may wait for its load (26)")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What one service must answer for one entity: for every feature, the rows that may be served, the newest first."""

    key: Key
    rows: dict[str, list[Row]]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One service, its features in contract order ([view, name, dtype]), and what it must answer."""

    service: str
    features: list[list[str]]
    expected: list[Expected]

    @property
    def body(self) -> bytes:
        """The request: all entities at once."""
        names = self.expected[0].key
        entities = {name: [entity.key[name] for entity in self.expected] for name in names}
        return json.dumps({"feature_service": self.service, "entities": entities}).encode()


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask until everything is right or the time is over; the result has the vectors in contract order."""
    settings = SmokeSettings.from_environment()
    repo = feature_repo_directory()
    lock = contract.read(repo)
    definitions = load_definitions(repo)
    now = datetime.now(UTC)
    fresh = timedelta(hours=arguments.fresh_hours)
    questions = [
        _question(name, service["features"], definitions, repo, settings.entities, now, fresh)
        for name, service in sorted(lock["services"].items())
    ]
    deadline = time.monotonic() + arguments.wait_seconds
    while True:
        answers, problems = _ask_all(settings, questions)
        if not problems:
            return _result(lock, questions, answers)
        left = deadline - time.monotonic()
        if left <= 0:
            listed = "; ".join(f"{where}: {what}" for where, found in problems.items() for what in found)
            raise Refusal(f"the smoke test failed after {arguments.wait_seconds:.0f} s. {listed}", replicas=problems)
        first = next(iter(problems.items()))
        print(f"smoke: {first[0]}: {first[1][0]}; {left:.0f} s left", file=sys.stderr, flush=True)
        time.sleep(min(PAUSE_SECONDS, max(left, 0.1)))


def _question(
    service: str,
    features: list[list[str]],
    definitions: Definitions,
    repo: Path,
    named: dict[str, list[Any]],
    now: datetime,
    fresh: timedelta,
) -> Question:
    views = {view.name: view for view in definitions.views if view.name in {name for name, _, _ in features}}
    sources = {name: ViewSource(view, repo) for name, view in views.items() if ViewSource.readable(view)}
    keys = _keys(service, list(views.values()), sources, named, now)
    served: list[dict[str, list[Row]]] = [{} for _ in keys]
    for name, source in sources.items():
        own = {column.name for column in views[name].entity_columns}
        history = source.newest_rows([{join: key[join] for join in own} for key in keys], now)
        for position, rows in enumerate(history):
            served[position][name] = _servable(service, views[name], keys[position], rows, now, fresh)
    expected = [Expected(key=key, rows=rows) for key, rows in zip(keys, served, strict=True)]
    return Question(service=service, features=features, expected=expected)


def _keys(
    service: str,
    views: Sequence[FeatureView],
    sources: dict[str, ViewSource],
    named: dict[str, list[Any]],
    now: datetime,
) -> list[Key]:
    """The entities to ask for: the named ones; a join key that nobody named gets values from a source."""
    needed = {column.name for view in views for column in view.entity_columns}
    columns: dict[str, list[Any]] = {name: list(values) for name, values in named.items() if name in needed}
    # The view with the most keys first: its keys belong together.
    for view in sorted(views, key=lambda view: -len(view.entity_columns)):
        own = {column.name for column in view.entity_columns}
        if own & columns.keys() or view.name not in sources:
            continue
        for key in sources[view.name].sample_keys(now, SAMPLE):
            for name, value in key.items():
                columns.setdefault(name, []).append(value)
    if missing := sorted(needed - columns.keys()):
        raise Refusal(
            f"feature service {service!r}: no value to ask for is known for {', '.join(missing)}: the source is empty, "
            "or SMOKE_ENTITIES names only a part of a view's keys. Load data, or name them all."
        )
    count = min(len(values) for values in columns.values())
    return [{name: columns[name][position] for name in sorted(needed)} for position in range(count)]


def _servable(service: str, view: FeatureView, key: Key, rows: list[Row], now: datetime, fresh: timedelta) -> list[Row]:
    """The rows that may be served now: the newest, and the one before as long as newer ones may wait for their load."""
    if not rows:
        raise Refusal(
            f"feature service {service!r}: the source of {view.name!r} has no row of {_shown(key)}. "
            "Name entities in SMOKE_ENTITIES that the data has."
        )
    if view.ttl and now - rows[0].event_timestamp > view.ttl:
        age = (now - rows[0].event_timestamp) / timedelta(days=1)
        raise Refusal(
            f"feature service {service!r}: the newest row of {_shown(key)} in the source of {view.name!r} is "
            f"{age:.1f} days old, older than the view's ttl ({view.ttl}), so nothing is served for it. "
            "Bring newer data, or name other entities in SMOKE_ENTITIES."
        )
    servable = []
    for row in rows:
        if servable and row.event_timestamp == servable[-1].event_timestamp:
            continue
        servable.append(row)
        if row.event_timestamp <= now - fresh:
            break
    return servable


def _ask_all(
    settings: SmokeSettings, questions: list[Question]
) -> tuple[dict[str, dict[str, list[dict[str, Any]]]], dict[str, list[str]]]:
    """Every replica's answers, and for each replica (or the whole) what is wrong."""
    addresses, problems = _addresses(settings)
    if len(addresses) < settings.expected_replicas:
        where = ", ".join(addresses) or "none"
        problems[", ".join(settings.replicas)] = [
            f"{len(addresses)} of {settings.expected_replicas} replicas are there ({where})"
        ]
    answers: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for address in addresses:
        found: list[str] = []
        answers[address] = {}
        for question in questions:
            try:
                answer = _post(address, settings.port, question.body)
            except (OSError, ValueError) as error:
                found.append(f"{question.service}: {_reason(error)}")
                break
            vectors, wrong = check(question, answer)
            answers[address][question.service] = vectors
            found.extend(wrong)
        if found:
            problems[address] = found
    return answers, problems


def _addresses(settings: SmokeSettings) -> tuple[list[str], dict[str, list[str]]]:
    addresses: set[str] = set()
    problems: dict[str, list[str]] = {}
    for name in settings.replicas:
        try:
            found = socket.getaddrinfo(name, settings.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            problems[name] = [f"the name does not resolve ({error.strerror}): no replica is ready"]
            continue
        addresses |= {str(entry[4][0]) for entry in found}
    return sorted(addresses), problems


def _post(address: str, port: int, body: bytes) -> dict[str, Any]:
    host = f"[{address}]" if ":" in address else address
    request = urllib.request.Request(
        f"http://{host}:{port}/get-online-features", data=body, headers={"Content-Type": "application/json"}
    )
    # Straight to the pod, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=REQUEST_SECONDS) as response:
        return json.load(response)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
    if isinstance(error, urllib.error.URLError):
        return f"no answer: {error.reason}"
    return f"no answer: {type(error).__name__}: {error}"


def check(question: Question, answer: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The vectors of an answer in contract order, and everything that is wrong with them.

    The position in the answer means nothing (Feast's order differs between processes): features are found by name.
    """
    names = answer.get("metadata", {}).get("feature_names")
    results = answer.get("results")
    if not isinstance(names, list) or not isinstance(results, list) or len(names) != len(results):
        return [], [f"{question.service}: the answer has not the form of Feast's API"]
    columns = dict(zip(names, results, strict=True))
    wanted = {name for _, name, _ in question.features}
    keys = set(question.expected[0].key)
    wrong = [f"{question.service}: the feature {name} is missing" for name in sorted(wanted - columns.keys())]
    wrong += [f"{question.service}: {name} is not in the contract" for name in sorted(columns.keys() - wanted - keys)]
    vectors = []
    for position, expected in enumerate(question.expected):
        vector: dict[str, Any] = {"entity": expected.key, "online": [], "offline": [], "event_timestamp": None}
        for view, name, dtype in question.features:
            if name not in columns:
                continue
            column = columns[name]
            value = column["values"][position] if position < len(column.get("values", [])) else None
            where = f"{question.service} {_shown(expected.key)}: {name}"
            row = _row_served(expected.rows.get(view), column, position)
            offline = row.values[name] if row else None
            if view in expected.rows and row is None:
                newest = expected.rows[view][0].event_timestamp
                served = _time(column, position)
                wrong.append(
                    f"{where} is of {served.isoformat() if served else 'no time'} ({value}), "
                    f"the newest row of the source of {newest.isoformat()} ({expected.rows[view][0].values[name]})"
                )
            elif value is None:
                if row is None or not _is_missing(offline):
                    wrong.append(f"{where} is missing, the source says {offline}")
            elif not _has_type(value, dtype):
                wrong.append(f"{where} is {value!r}, not a {dtype}")
            elif row is not None and not _equal(value, offline, dtype):
                wrong.append(f"{where} is {value}, the source says {offline}")
            vector["online"].append(value)
            vector["offline"].append(_plain(offline, dtype))
            if row is not None:
                vector["event_timestamp"] = row.event_timestamp.isoformat()
        vectors.append(vector)
    return vectors, wrong


def _row_served(rows: list[Row] | None, column: dict[str, Any], position: int) -> Row | None:
    served = _time(column, position)
    return next((row for row in rows or [] if row.event_timestamp == served), None)


def _time(column: dict[str, Any], position: int) -> datetime | None:
    times = column.get("event_timestamps", [])
    if position >= len(times) or not times[position]:
        return None
    moment = datetime.fromisoformat(times[position])
    return moment if moment > datetime(1970, 1, 2, tzinfo=UTC) else None


def _has_type(value: Any, dtype: str) -> bool:
    if dtype.startswith(("Array(", "Set(")):
        inner = dtype[dtype.index("(") + 1 : -1]
        return isinstance(value, list) and all(_has_type(item, inner) for item in value)
    match dtype:
        case "Int32" | "Int64":
            return type(value) is int
        case "Float32" | "Float64":
            return type(value) in (int, float)
        case "Bool":
            return type(value) is bool
        case "String":
            return type(value) is str
        case _:
            return True


def _equal(value: Any, offline: Any, dtype: str) -> bool:
    if isinstance(value, list) and isinstance(offline, list):
        inner = dtype[dtype.index("(") + 1 : -1]
        return len(value) == len(offline) and all(_equal(*pair, inner) for pair in zip(value, offline, strict=True))
    match dtype:
        case "Float32":
            return _float32(value) == _float32(offline)
        case "Int32" | "Int64" | "Float64" | "Bool" | "String":
            return bool(value == offline)
        case _:
            # Other types come back in a form of Feast's own; that they came back is what is checked.
            return True


def _float32(value: Any) -> float:
    return struct.unpack("f", struct.pack("f", float(value)))[0]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any, dtype: str) -> Any:
    if _is_missing(value):
        return None
    if dtype == "Float32":
        # As the server prints it: the shortest number that is this float.
        return float(f"{_float32(value):.9g}")
    return value if isinstance(value, bool | int | float | str | list) else str(value)


def _shown(key: Key) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(key.items()))


def _result(
    lock: contract.Contract, questions: list[Question], answers: dict[str, dict[str, list[dict[str, Any]]]]
) -> dict[str, Any]:
    first = answers[sorted(answers)[0]]
    return {
        "replicas": sorted(answers),
        "services": {
            question.service: {
                "features": [[name, dtype] for _, name, dtype in question.features],
                "sha256": lock["services"][question.service]["sha256"],
                "vectors": first[question.service],
            }
            for question in questions
        },
    }
