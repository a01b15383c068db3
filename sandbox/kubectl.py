"""kubectl, as far as the sandbox itself needs it: make objects, apply them, read them, delete them."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.progress import SandboxError, bound_to_us
from sandbox.state import KUBECONFIG

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """The pinned kubectl against one kubeconfig."""

    binary: Path
    kubeconfig: Path = KUBECONFIG

    def apply(self, objects: Sequence[Object]) -> None:
        """Server-side apply as the field manager `feast-eks-sandbox`."""
        arguments = ("apply", "--server-side", "--force-conflicts", "--field-manager=feast-eks-sandbox", "-f", "-")
        self.run(*arguments, text=_list(objects))

    def create(self, objects: Sequence[Object]) -> None:
        """Make objects. Raises SandboxError when one of them is there already; the others are made."""
        self.run("create", "-f", "-", text=_list(objects))

    def get(self, *arguments: str) -> Any:
        """What `kubectl get … -o json` answers, parsed."""
        return json.loads(self.run("get", *arguments, "-o", "json"))

    def delete(self, *arguments: str) -> None:
        """Ask for a deletion; what is gone already is fine."""
        self.run("delete", "--ignore-not-found", "--wait=false", *arguments)

    def run(self, *arguments: str, text: str | None = None) -> str:
        """Standard output of a kubectl command; SandboxError with what it wrote to standard error."""
        command = [str(self.binary), "--kubeconfig", str(self.kubeconfig), "--request-timeout=30s", *arguments]
        result = subprocess.run(bound_to_us(command), input=text, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            lines = result.stderr.strip().splitlines()[-10:]
            raise SandboxError(f"`kubectl {' '.join(arguments)}` failed", lines=lines)
        return result.stdout


def _list(objects: Sequence[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
