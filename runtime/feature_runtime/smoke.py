"""Prove on every replica that the vectors are right: contract, order, types, no value missing, equal to the offline store.

Every replica is asked by its own address: first which contract it serves, then for vectors of every feature service. A
vector must be in the contract's order, and made of rows of the sources: of the newest one, except that a row younger
than `--fresh-hours` may still wait for its nightly load. What is computed on demand must be what the definitions
compute from these rows. Replicas that start, or still serve an older contract, get time; then the error says for each
replica what differs.
"""

import argparse
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_runtime import contract
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.offline_store.vector import vector_of
from feature_runtime.progress import say
from feature_runtime.proving.answer import check
from feature_runtime.proving.http_client import Replica, addresses, reason
from feature_runtime.proving.question import Question, Truth
from feature_runtime.refusal import Refusal
from feature_runtime.settings import SmokeSettings, feature_repo_directory

PAUSE_SECONDS = 2
SHOWN_DIGITS = 12

Vectors = dict[str, list[dict[str, Any]]]
"""Feature service to its vectors."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How patient to be."""
    parser.add_argument("--wait-seconds", type=float, default=120, help="until every replica must be right (120)")
    parser.add_argument("--fresh-hours", type=float, default=26, help="how long a new row may wait for its load (26)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask until everything is right or the time is over; the result has the vectors in contract order."""
    settings = SmokeSettings.from_environment()
    repo = feature_repo_directory()
    locked = contract.read(repo)
    definitions = load_definitions(repo)
    truth = Truth(repo=repo, named=settings.entities, now=datetime.now(UTC), fresh=timedelta(hours=arguments.fresh_hours))
    questions = [truth.question(vector_of(name, locked, definitions)) for name in sorted(locked["services"])]
    deadline = time.monotonic() + arguments.wait_seconds
    while True:
        answers, problems = _ask_all(settings, questions)
        if not problems:
            return _result(questions, answers)
        left = deadline - time.monotonic()
        if left <= 0:
            listed = "; ".join(f"{where}: {what}" for where, found in problems.items() for what in found)
            raise Refusal(f"the smoke test failed after {arguments.wait_seconds:.0f} s. {listed}", replicas=problems)
        first = next(iter(problems.items()))
        say(f"smoke: {first[0]}: {first[1][0]}; {left:.0f} s left")
        time.sleep(min(PAUSE_SECONDS, max(left, 0.1)))


def _ask_all(settings: SmokeSettings, questions: list[Question]) -> tuple[dict[str, Vectors], dict[str, list[str]]]:
    """Every replica's answers, and for each replica (or the whole) what is wrong."""
    found, problems = addresses(settings.replicas, settings.port)
    if len(found) < settings.expected_replicas:
        where = ", ".join(found) or "none"
        problems[", ".join(settings.replicas)] = [f"{len(found)} of {settings.expected_replicas} replicas are there ({where})"]
    answers: dict[str, Vectors] = {}
    for address in found:
        answers[address], wrong = _ask(Replica(address=address, port=settings.port), questions)
        if wrong:
            problems[address] = wrong
    return answers, problems


def _ask(replica: Replica, questions: list[Question]) -> tuple[Vectors, list[str]]:
    vectors: Vectors = {}
    wrong: list[str] = []
    what = "GET /contract"
    try:
        served = replica.contract()["services"]
        for question in questions:
            what = question.service
            if other := _other_contract(question, served.get(question.service)):
                wrong.append(other)
                continue
            vectors[question.service], found = check(question, replica.vectors(question.body, question.vector.sha256))
            wrong += found
    except (OSError, ValueError) as error:
        wrong.append(f"{what}: {reason(error)}")
    return vectors, wrong


def _other_contract(question: Question, served: dict[str, Any] | None) -> str | None:
    """What is wrong with the contract that a replica says it serves a service by."""
    name, wanted = question.service, question.vector.sha256
    if served is None:
        return f"{name}: it does not serve this feature service, so it runs with other definitions"
    if served.get("sha256") != wanted:
        said = str(served.get("sha256"))[:SHOWN_DIGITS]
        return f"{name}: it serves the contract {said}…, the lock says {wanted[:SHOWN_DIGITS]}…: it runs with other definitions"
    listed = [list(feature) for feature in served.get("features", [])]
    if listed != question.features:
        return f"{name}: it says that the features are {listed}, the lock says {question.features}"
    return None


def _result(questions: list[Question], answers: dict[str, Vectors]) -> dict[str, Any]:
    first = answers[min(answers)]
    return {
        "replicas": sorted(answers),
        "services": {
            question.service: {
                "features": [[name, dtype] for _, name, dtype in question.features],
                "sha256": question.vector.sha256,
                "vectors": first[question.service],
            }
            for question in questions
        },
    }
