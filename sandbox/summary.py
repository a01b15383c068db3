"""What `make up` ends with: a feature vector as it is served, beside the same values in the Parquet file."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, BinaryIO

import s3fs
import yaml
from pyarrow import compute, parquet

from sandbox import state
from sandbox.progress import SandboxError
from sandbox.rollout import STACK

PORT = 6566
TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 120
TOLERANCE = 1e-6
"""Features are Float32 on their way, the Parquet file may hold more digits."""


def summary(environment: Mapping[str, str]) -> str:
    """Ask the feature server for one employee and lay the answer beside the data it was made from.

    Raises SandboxError when they differ.
    """
    outputs = json.loads(_output(["pulumi", "stack", "output", "--stack", STACK, "--json"], environment))
    settings = yaml.safe_load((state.CLONE / "stacks" / f"Pulumi.{STACK}.yaml").read_text())["config"]
    join_key, values = next(iter(settings["feast-eks:smoke_test"]["entities"].items()))
    namespace = outputs["namespace"]
    address = _output(
        ["kubectl", "-n", namespace, "get", "service", "feature-server", "-o", "jsonpath={.spec.clusterIP}"],
        environment,
    )
    endpoint = f"http://{address}:{PORT}"
    service, contract = next(iter(outputs["feature_services"].items()))
    served = _ask_patiently(endpoint, service, {join_key: [values[0]]})
    stored = _newest_row(environment, outputs["offline_store_uri"], join_key, values[0])
    rows = [(feature, served[feature], stored[feature]) for feature, _ in contract["features"]]
    if wrong := [feature for feature, a, b in rows if a is None or abs(float(a) - float(b)) > TOLERANCE * max(1.0, abs(float(b)))]:
        raise SandboxError(
            f"the feature server's {', '.join(wrong)} of {join_key} {values[0]} differ from the Parquet file",
            lines=[f"{feature}: served {a}, stored {b}" for feature, a, b in rows],
            remedy=f"kubectl -n {namespace} logs job/… of the backfill says what was loaded",
        )
    width = max(len(feature) for feature, _ in contract["features"])
    body = json.dumps({"feature_service": service, "entities": {join_key: [values[0]]}})
    lines = [
        "",
        "Features are being served.",
        "",
        f"  endpoint         {endpoint}",
        f"  in the cluster   {outputs['feature_server_url']} and, by gRPC, {outputs['grpc_address']}",
        f"  feature service  {service} (contract {contract['sha256'][:12]})",
        "",
        f"  {join_key} {values[0]:<{max(0, width - len(join_key) - 1)}}  {'served':>14}  {'in the data':>14}",
        *(f"  {feature:<{width}}  {_number(a):>14}  {_number(b):>14}" for feature, a, b in rows),
        "",
        "Ask for it yourself:",
        f"  curl -s {endpoint}/get-online-features -H 'Content-Type: application/json' -d '{body}'",
        "",
        'Look around:  eval "$(make -s env)"   then pulumi, kubectl and feast act on this sandbox',
        "Remove it:    make down",
    ]
    return "\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _output(command: list[str], environment: Mapping[str, str]) -> str:
    result = subprocess.run(command, cwd=state.CLONE, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SandboxError(f"{' '.join(command[:3])} failed", lines=result.stderr.splitlines()[-5:])
    return result.stdout.strip()


def _ask_patiently(endpoint: str, service: str, entities: dict[str, list[Any]]) -> dict[str, Any]:
    """The answer; an update of Redis may have just begun, while the server says 503 and when to ask again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _ask(endpoint, service, entities)
        except urllib.error.URLError as error:
            answered = error if isinstance(error, urllib.error.HTTPError) else None
            final = answered is not None and answered.code != HTTPStatus.SERVICE_UNAVAILABLE
            if final or time.monotonic() > deadline:
                raise SandboxError(
                    f"the feature server at {endpoint} does not answer for {service}: {error}",
                    lines=[answered.read().decode(errors="replace")] if answered else [],
                    remedy="kubectl -n feast get pods; kubectl -n feast logs deployment/feature-server",
                ) from None
            time.sleep(1)


def _ask(endpoint: str, service: str, entities: dict[str, list[Any]]) -> dict[str, Any]:
    """The answer for the first entity, by feature name."""
    request = urllib.request.Request(  # noqa: S310 - the address is the sandbox's own Service
        f"{endpoint}/get-online-features",
        data=json.dumps({"feature_service": service, "entities": entities}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        answer = json.load(response)
    return dict(zip(answer["metadata"]["feature_names"], (result["values"][0] for result in answer["results"]), strict=True))


def _newest_row(environment: Mapping[str, str], uri: str, join_key: str, value: Any) -> dict[str, Any]:
    """The newest row of one entity, read from the bucket."""
    store = s3fs.S3FileSystem(
        key=environment["AWS_ACCESS_KEY_ID"],
        secret=environment["AWS_SECRET_ACCESS_KEY"],
        client_kwargs={"endpoint_url": environment["AWS_ENDPOINT_URL"], "region_name": environment["AWS_REGION"]},
    )
    path = f"{uri.removeprefix('s3://')}/employee_attrition.parquet"
    with store.open(path) as file:
        return newest_row(file, join_key, value)


def newest_row(file: BinaryIO, join_key: str, value: Any) -> dict[str, Any]:
    """The row of `value` with the latest event time.

    Read in this thread alone: a thread of Arrow's that still holds a Python file when the process ends aborts it.
    """
    with parquet.ParquetFile(file, pre_buffer=False) as history:
        rows = history.read(use_threads=False).filter(compute.field(join_key) == value).to_pylist()
    return dict(max(rows, key=lambda row: row["event_timestamp"]))
