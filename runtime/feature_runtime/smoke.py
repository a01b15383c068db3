"""Prove on every replica that the vectors are right: names, types, no value missing, and equal to the offline store.

Every replica is asked by its own address for every feature service. A vector must be a row of the source, and the
newest one, except that a row younger than `--fresh-hours` may still wait for its nightly load. Replicas that start, or
still read an older registry, get time; then the error says for each replica what differs.
"""

import argparse
import json
import socket
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_runtime import contract
from feature_runtime.answer import check
from feature_runtime.definitions import load_definitions
from feature_runtime.progress import say
from feature_runtime.question import Question, Truth
from feature_runtime.refusal import Refusal
from feature_runtime.settings import SmokeSettings, feature_repo_directory

REQUEST_SECONDS = 5
PAUSE_SECONDS = 2

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
    lock = contract.read(repo)
    truth = Truth(
        definitions=load_definitions(repo),
        repo=repo,
        named=settings.entities,
        now=datetime.now(UTC),
        fresh=timedelta(hours=arguments.fresh_hours),
    )
    questions = [truth.question(name, service["features"]) for name, service in sorted(lock["services"].items())]
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
        say(f"smoke: {first[0]}: {first[1][0]}; {left:.0f} s left")
        time.sleep(min(PAUSE_SECONDS, max(left, 0.1)))


def _ask_all(settings: SmokeSettings, questions: list[Question]) -> tuple[dict[str, Vectors], dict[str, list[str]]]:
    """Every replica's answers, and for each replica (or the whole) what is wrong."""
    addresses, problems = _addresses(settings)
    if len(addresses) < settings.expected_replicas:
        where = ", ".join(addresses) or "none"
        problems[", ".join(settings.replicas)] = [f"{len(addresses)} of {settings.expected_replicas} replicas are there ({where})"]
    answers: dict[str, Vectors] = {}
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
    request = urllib.request.Request(f"http://{host}:{port}/get-online-features", data=body, headers={"Content-Type": "application/json"})
    # Straight to the pod, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=REQUEST_SECONDS) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
    if isinstance(error, urllib.error.URLError):
        return f"no answer: {error.reason}"
    return f"no answer: {type(error).__name__}: {error}"


def _result(lock: contract.Contract, questions: list[Question], answers: dict[str, Vectors]) -> dict[str, Any]:
    first = answers[min(answers)]
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
