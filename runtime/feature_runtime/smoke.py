"""Prove on every replica that the vectors are right: contract, order, types, no value missing, equal to the offline store.

Every replica is asked by its own address: first which contract it serves, and up to when each view was loaded, then for
vectors of every feature service. A vector must be in the contract's order, and equal to what the history says, joined
as of the last load, as the skew probe compares it. Replicas that start, or still serve an older contract, get time; then
the error says for each replica what differs.
"""

import argparse
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_runtime import contract
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.offline_store.source import ViewSource
from feature_runtime.offline_store.vector import Vector, vector_of
from feature_runtime.progress import say
from feature_runtime.proving.expectation import Question, question
from feature_runtime.proving.http_client import Replica, addresses, reason
from feature_runtime.refusal import Refusal
from feature_runtime.settings import SmokeSettings, feature_repo_directory

PAUSE_SECONDS = 2
SHOWN_DIGITS = 12

Answers = dict[str, list[dict[str, Any]]]
"""Feature service to its vectors."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How patient to be."""
    parser.add_argument("--wait-seconds", type=float, default=120, help="until every replica must be right (120)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask until everything is right or the time is over; the result has the vectors in contract order."""
    settings = SmokeSettings.from_environment()
    repo = feature_repo_directory()
    locked = contract.read(repo)
    definitions = load_definitions(repo)
    left_out = contract.training_only(locked)
    for name, why in left_out.items():
        say(f"smoke: {name} is left out: {why}")
    vectors = [vector_of(name, locked, definitions) for name in sorted(locked["services"]) if name not in left_out]
    ask = _Asking(settings=settings, repo=repo, vectors=vectors)
    deadline = time.monotonic() + arguments.wait_seconds
    while True:
        answers, problems = ask.all()
        if not problems:
            return _result(vectors, answers, left_out)
        left = deadline - time.monotonic()
        if left <= 0:
            listed = "; ".join(f"{where}: {what}" for where, found in problems.items() for what in found)
            raise Refusal(f"the smoke test failed after {arguments.wait_seconds:.0f} s. {listed}", replicas=problems)
        first = next(iter(problems.items()))
        say(f"smoke: {first[0]}: {first[1][0]}; {left:.0f} s left")
        time.sleep(min(PAUSE_SECONDS, max(left, 0.1)))


class _Asking:
    """Asks every replica, as often as it takes; the history is read again only when something was loaded in between."""

    def __init__(self, *, settings: SmokeSettings, repo: Path, vectors: list[Vector]) -> None:
        self._settings = settings
        self._repo = repo
        self._vectors = vectors
        self._ends: dict[str, datetime] = {}
        self._questions: dict[str, Question] = {}

    def all(self) -> tuple[dict[str, Answers], dict[str, list[str]]]:
        """Every replica's vectors, and for each replica (or the whole) what is wrong.

        Raises:
            Refusal: there is nothing to ask for.
        """
        settings = self._settings
        found, problems = addresses(settings.replicas, settings.port)
        if len(found) < settings.expected_replicas:
            where = ", ".join(found) or "none"
            problems[", ".join(settings.replicas)] = [f"{len(found)} of {settings.expected_replicas} replicas are there ({where})"]
        contracts: dict[str, dict[str, Any]] = {}
        for address in found:
            try:
                contracts[address] = Replica(address=address, port=settings.port).contract()
            except (OSError, ValueError) as error:
                problems[address] = [f"GET /contract: {reason(error)}"]
        self._loaded(contracts.values())
        answers: dict[str, Answers] = {}
        for address, served in contracts.items():
            answers[address], wrong = self._one(Replica(address=address, port=settings.port), served["services"])
            if wrong:
                problems[address] = wrong
        return answers, problems

    def _loaded(self, contracts: Iterable[dict[str, Any]]) -> None:
        """Up to when each view is loaded: all read one record, some of them a little later."""
        ends: dict[str, datetime] = {}
        for served in contracts:
            for view, text in served.get("loaded_until", {}).items():
                end = datetime.fromisoformat(text)
                ends[view] = max(end, ends.get(view, end))
        if ends != self._ends:
            self._ends, self._questions = ends, {}

    def _one(self, replica: Replica, served: dict[str, Any]) -> tuple[Answers, list[str]]:
        answers: Answers = {}
        wrong: list[str] = []
        for vector in self._vectors:
            service = vector.service
            if other := _other_contract(vector, served.get(service)):
                wrong.append(other)
                continue
            # What is pushed may never have been in the source while its ttl lasts.
            views = {part.view.name for part in vector.parts if ViewSource.readable(part.view) and part.view.stream_source is None}
            if never := sorted(views - self._ends.keys()):
                wrong.append(f"{service}: no replica says that {', '.join(never)} was ever loaded. Run `materialize`")
                continue
            if service not in self._questions:
                self._questions[service] = question(vector, self._ends, self._repo, self._settings.entities)
            asked = self._questions[service]
            try:
                before = datetime.now(UTC)
                answers[service], found = asked.check(replica.vectors(asked.body, vector.sha256), before)
                wrong += found
            except (OSError, ValueError) as error:
                wrong.append(f"{service}: {reason(error)}")
        return answers, wrong


def _other_contract(vector: Vector, served: dict[str, Any] | None) -> str | None:
    """What is wrong with the contract that a replica says it serves a service by."""
    name, wanted = vector.service, vector.sha256
    if served is None:
        return f"{name}: it does not serve this feature service, so it runs with other definitions"
    if served.get("sha256") != wanted:
        said = str(served.get("sha256"))[:SHOWN_DIGITS]
        return f"{name}: it serves the contract {said}…, the lock says {wanted[:SHOWN_DIGITS]}…: it runs with other definitions"
    listed = [list(feature) for feature in served.get("features", [])]
    locked = [[view, feature, str(vector.dtypes[view, feature])] for view, feature in vector.features]
    if listed != locked:
        return f"{name}: it says that the features are {listed}, the lock says {locked}"
    return None


def _result(vectors: list[Vector], answers: dict[str, Answers], left_out: dict[str, str]) -> dict[str, Any]:
    first = answers[min(answers)]
    return {
        "replicas": sorted(answers),
        **({"left_out": left_out} if left_out else {}),
        "services": {
            vector.service: {
                "features": [[name, str(vector.dtypes[feature])] for name, feature in zip(vector.names, vector.features, strict=True)],
                "sha256": vector.sha256,
                "vectors": first[vector.service],
            }
            for vector in vectors
        },
    }
