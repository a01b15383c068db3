"""Logging in with the command that a kubeconfig names, such as `aws eks get-token`.

The Kubernetes client can do it too, but goes on as nobody where it fails, and the API server's answer to nobody explains nothing.
"""

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

_SECONDS = 60


class LoginError(Exception):
    """Why there are no credentials, as a sentence."""


def credentials(settings: Mapping[str, Any]) -> dict[str, str]:
    """The user entry of a kubeconfig that the command of an `exec` section stands for. Raises LoginError."""
    command = str(settings.get("command") or "")
    arguments = [str(argument) for argument in settings.get("args") or []]
    given = {str(entry["name"]): str(entry["value"]) for entry in settings.get("env") or []}
    wanted = {"apiVersion": settings.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    try:
        done = subprocess.run(
            [command, *arguments],
            env={**os.environ, **given, "KUBERNETES_EXEC_INFO": json.dumps(wanted)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except FileNotFoundError:
        raise LoginError(f"the command {command!r}, with which its user logs in, is not on PATH") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoginError(f"logging in with {command!r} failed: {error}") from None
    if done.returncode != 0:
        raise LoginError(f"logging in with {command!r} failed: {done.stderr.strip() or f'exit status {done.returncode}'}")
    try:
        status = json.loads(done.stdout)["status"]
        if status.get("token"):
            return {"token": status["token"]}
        pair = {"client-certificate-data": status["clientCertificateData"], "client-key-data": status["clientKeyData"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LoginError(f"logging in with {command!r} failed: what it prints is no ExecCredential") from None
    return {name: base64.b64encode(text.encode()).decode() for name, text in pair.items()}
