"""An `aws` that can do one thing: `aws eks get-token`, which is how a kubeconfig for EKS logs in.

Test equipment. Whoever may connect to the sandbox's Kubernetes may connect to each of its EKS clusters, so the credential is the one
of the sandbox's kubeconfig. `install` puts it into a directory that tests put on PATH; nothing else does, as it would hide a real `aws`.
"""

import argparse
import base64
import json
import os
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from sandbox.state import CLONE

_VALID = timedelta(minutes=14)  # what AWS gives, less a margin
_API_VERSION = "client.authentication.k8s.io/v1beta1"


def install(directory: Path, kubeconfig: Path) -> Path:
    """Writes the program `aws` into a directory. It speaks for the current context of the kubeconfig, read when it is asked."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "aws"
    clone, interpreter, config = (shlex.quote(str(part)) for part in (CLONE, sys.executable, kubeconfig))
    program.write_text(f'#!/bin/sh\nPYTHONPATH={clone} exec {interpreter} -P -m sandbox.aws_command {config} "$@"\n')
    program.chmod(0o755)
    return program


def credential(kubeconfig: Path, api_version: str) -> dict[str, Any]:
    """An ExecCredential of the current context's user. Raises ValueError when that has none that could be handed on."""
    content = yaml.safe_load(kubeconfig.read_text())
    context = next(entry["context"] for entry in content["contexts"] if entry["name"] == content["current-context"])
    user = next(entry["user"] for entry in content["users"] if entry["name"] == context["user"])
    status = {"expirationTimestamp": (datetime.now(UTC) + _VALID).strftime("%Y-%m-%dT%H:%M:%SZ")}
    if "token" in user:
        status["token"] = user["token"]
    elif {"client-certificate-data", "client-key-data"} <= user.keys():
        status["clientCertificateData"] = base64.b64decode(user["client-certificate-data"]).decode()
        status["clientKeyData"] = base64.b64decode(user["client-key-data"]).decode()
    else:
        raise ValueError(f"the user {context['user']} of {kubeconfig} has neither a token nor a certificate")
    return {"apiVersion": api_version, "kind": "ExecCredential", "spec": {}, "status": status}


def main() -> int:
    """`aws eks get-token --cluster-name NAME`; anything else is refused, as the real one would refuse what it does not know."""
    kubeconfig, *arguments = sys.argv[1:]
    if arguments[:2] != ["eks", "get-token"]:
        sys.stderr.write(f"the sandbox's aws can only do `eks get-token`, not `{' '.join(arguments[:2])}`\n")
        return 2
    parser = argparse.ArgumentParser(prog="aws eks get-token", allow_abbrev=False)
    parser.add_argument("--cluster-name", required=True)
    for option in ("--region", "--role-arn", "--profile"):
        parser.add_argument(option)
    parser.add_argument("--output", choices=["json"])
    parser.parse_args(arguments[2:])
    wanted = json.loads(os.environ.get("KUBERNETES_EXEC_INFO") or "{}").get("apiVersion") or _API_VERSION
    try:
        sys.stdout.write(json.dumps(credential(Path(kubeconfig), wanted)))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
