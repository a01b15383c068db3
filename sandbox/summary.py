"""What `make up` ends with: a feature vector as it is served, beside the same values in the data.

Everything has succeeded by then (the smoke test has compared every service on every replica), so nothing here fails the command: what
cannot be shown is said, with the reason.
"""

import json
import os
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, BinaryIO

import s3fs
from pyarrow import compute, parquet

from sandbox import state
from sandbox.progress import SandboxError
from sandbox.question import Question, questions
from sandbox.rollout import STACK, stack_settings

PORT = 6566
TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 120
TOLERANCE = 1e-6
"""Features are Float32 on their way, the Parquet file may hold more digits."""
WIDEST = 32
"""Characters of a value on the screen."""
MOST_REASONS = 3


def summary(environment: Mapping[str, str]) -> str:
    """Ask the feature server for one entity and lay the answer beside the data it was made from."""
    settings = stack_settings()
    lock = json.loads((state.CLONE / settings["feast-eks:feature_repo"] / "contract.lock.json").read_text())
    try:
        outputs = json.loads(_output(["pulumi", "stack", "output", "--stack", STACK, "--json"], environment))
        address = _output(
            ["kubectl", "-n", outputs["namespace"], "get", "service", "feature-server", "-o", "jsonpath={.spec.clusterIP}"],
            environment,
        )
    except SandboxError as error:
        return _screen(["", f"Features are being served. Their address could not be read: {error}"])
    endpoint = f"http://{address}:{PORT}"
    lines = [
        "",
        "Features are being served.",
        "",
        f"  endpoint         {endpoint}",
        f"  in the cluster   {outputs['feature_server_url']} and, by gRPC, {outputs['grpc_address']}",
    ]
    history = History(environment, outputs["offline_store_uri"], lock)
    named = {key: values[0] for key, values in (settings.get("feast-eks:smoke_test") or {}).get("entities", {}).items()}
    return _screen([*lines, *an_answer(endpoint, lock, named, history)])


def an_answer(endpoint: str, lock: Mapping[str, Any], named: Mapping[str, Any], history: "History") -> list[str]:
    """The lines about the first service (else view) that answers; what could not be asked is said."""
    reasons = []
    for question in questions(lock):
        entity = {**history.an_entity(question), **named}
        body = question.body(entity)
        try:
            served = _ask_patiently(endpoint, body)
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            reasons.append(f"  {question.what} is not shown: {_reason(error)}")
            continue
        service = body.get("feature_service")
        contract = f" (contract {lock['services'][service]['sha256'][:12]})" if service else ""
        kind, _, name = question.what.rpartition(" ")
        stored = history.stored(question, {key: values[0] for key, values in body["entities"].items()})
        said = ", ".join(f"{key} {values[0]}" for key, values in body["entities"].items()) or "no entity"
        width = max([len(name) for name, _, _ in question.features] + [len(said)])
        rows = [
            f"  {name:<{width}}  {_shown(served.get(name)):>14}  {_shown(stored.get(name, '')):>14}" for name, _, _ in question.features
        ]
        differ = [name for name, _, _ in question.features if name in stored and _differ(served.get(name), stored[name])]
        return [
            f"  {kind:<15}  {name}{contract}",
            "",
            f"  {said:<{width}}  {'served':>14}  {'in the data':>14}",
            *rows,
            *([f"  {', '.join(differ)}: served and stored values differ here; the smoke test has found none"] if differ else []),
            *history.unread,
            *reasons[:MOST_REASONS],
            "",
            "Ask for it yourself:",
            f"  curl -s {endpoint}/get-online-features -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}",
        ]
    return ["", *(reasons[:MOST_REASONS] or ["  Nothing is shown: the feature repo has no service, and no view that is loaded."])]


def _screen(lines: list[str]) -> str:
    return "\n".join(
        [
            *lines,
            "",
            'Look around:  eval "$(make -s env)"   then pulumi, kubectl and feast act on this sandbox',
            "Remove it:    make down",
        ]
    )


def _shown(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _differ(served: Any, stored: Any) -> bool:
    """Whether two numbers differ by more than their types do; other values are written in too many ways to say."""
    if not all(isinstance(value, (int, float)) for value in (served, stored)):
        return False
    return bool(abs(served - stored) > TOLERANCE * max(1.0, abs(stored)))


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}, {error.read().decode(errors='replace')[:300]}"
    return f"{type(error).__name__}: {error}"


def _output(command: list[str], environment: Mapping[str, str]) -> str:
    result = subprocess.run(command, cwd=state.CLONE, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SandboxError(f"{' '.join(command[:3])} failed", lines=result.stderr.splitlines()[-5:])
    return result.stdout.strip()


def _ask_patiently(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer; an update of Redis may have just begun, while the server says 503 and when to ask again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _ask(endpoint, body)
        except urllib.error.URLError as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code != HTTPStatus.SERVICE_UNAVAILABLE
            if final or time.monotonic() > deadline:
                raise
            time.sleep(1)


def _ask(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer for the first entity, by feature name."""
    request = urllib.request.Request(  # noqa: S310 - the address is the sandbox's own Service
        f"{endpoint}/get-online-features",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        answer = json.load(response)
    return dict(zip(answer["metadata"]["feature_names"], (result["values"][0] for result in answer["results"]), strict=True))


class History:
    """The data that views were loaded from, as far as it is one Parquet file of the bucket each."""

    def __init__(self, environment: Mapping[str, str], uri: str, lock: Mapping[str, Any]) -> None:
        self._environment, self._bucket, self._lock = environment, uri.removeprefix("s3://"), lock
        self.unread: list[str] = []

    def an_entity(self, question: Question) -> dict[str, Any]:
        """Keys of a row of the data, as the question calls them."""
        entity: dict[str, Any] = {}
        for label, name in question.views.items():
            row = self._row(name, {})
            for key, called in question.renamed[label].items():
                if isinstance(row.get(key), (int, str, float, bool)):
                    entity.setdefault(called, row[key])
        return entity

    def stored(self, question: Question, entity: Mapping[str, Any]) -> dict[str, Any]:
        """The values of loaded features in the entity's newest row, by their names in the answer."""
        found: dict[str, Any] = {}
        for label, name in question.views.items():
            row = self._row(name, {key: entity[called] for key, called in question.renamed[label].items()})
            found |= {asked: row[feature] for asked, view, feature in question.features if view == label and feature in row}
        return found

    def _row(self, view: str, keys: Mapping[str, Any]) -> dict[str, Any]:
        """The newest row with these keys, by feature name; empty, and said, where the data cannot be read."""
        source = self._lock["sources"].get(self._lock["views"][view]["source"], {})
        file = source.get("file", "")
        if not file.endswith(".parquet") or "*" in file:
            return {}
        columns = {feature: column for column, feature in source.get("field_mapping", {}).items()}
        try:
            with self._open(file) as opened:
                row = newest_row(opened, {columns.get(key, key): value for key, value in keys.items()}, source["timestamp_field"])
        except Exception as error:  # noqa: BLE001 - the data is anybody's, and the screen is no place to fail
            line = f"  {view}'s data is not shown: {_reason(error)[:200]}"
            self.unread += [] if line in self.unread else [line]
            return {}
        return {source.get("field_mapping", {}).get(column, column): value for column, value in row.items()}

    def _open(self, file: str) -> BinaryIO:
        store = s3fs.S3FileSystem(
            key=self._environment["AWS_ACCESS_KEY_ID"],
            secret=self._environment["AWS_SECRET_ACCESS_KEY"],
            client_kwargs={"endpoint_url": self._environment["AWS_ENDPOINT_URL"], "region_name": self._environment["AWS_REGION"]},
        )
        opened: BinaryIO = store.open(f"{self._bucket}/{file}")
        return opened


def newest_row(file: BinaryIO, keys: Mapping[str, Any], timestamp_field: str) -> dict[str, Any]:
    """The row with these keys that has the latest event time; empty if there is none.

    Read in this thread alone: a thread of Arrow's that still holds a Python file when the process ends aborts it.
    """
    with parquet.ParquetFile(file, pre_buffer=False) as history:
        table = history.read(use_threads=False)
    for key, value in keys.items():
        table = table.filter(compute.field(key) == value)
    if not table.num_rows:
        return {}
    newest = compute.max(table[timestamp_field])
    (row,) = table.filter(compute.field(timestamp_field) == newest).slice(0, 1).to_pylist() or [{}]
    return dict(row)
