"""What is there, by `kubectl get` and no other verb."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from delivery.by_hand.state import Connection, Kind, Object


class CouldNotLookError(Exception):
    """The cluster did not say what is there: no right to, no such kind, no answer."""


class Kubectl:
    """`kubectl` with the connection of a provider."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._options = tuple(options)

    def get(self, kind: Kind, namespace: str = "", names: Sequence[str] = ()) -> list[Object]:
        """All objects of a kind in a namespace, or those with these names that are there.

        Raises:
            CouldNotLookError: with what kubectl said.
        """
        place = ("--namespace", namespace) if namespace else ()
        wanted = (kind.argument, *names, *(("--ignore-not-found",) if names else ()))
        command = ["kubectl", *self._options, "--request-timeout=60s", "get", *wanted, *place, "--output=json", "--show-managed-fields"]
        try:
            asked = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            answer = json.loads(asked.stdout or '{"items": []}') if asked.returncode == 0 else None
        except (OSError, ValueError) as error:
            raise CouldNotLookError(f"{kind.name} in {namespace or 'the cluster'}: {error}") from None
        if answer is None:
            said = " ".join(asked.stderr.split())[-500:]
            raise CouldNotLookError(f"{kind.name} in {namespace or 'the cluster'}: {said or 'kubectl failed'}")
        items: list[Object] = answer.get("items", [answer])
        # Items of a list need not say their kind.
        return [{"apiVersion": f"{kind.group}/{kind.version}".lstrip("/"), "kind": kind.name, **item} for item in items]


@contextmanager
def connected(connection: Connection) -> Iterator[Kubectl]:
    """As the provider connects; a kubeconfig in the state is a file that only we may read, as long as it is needed."""
    context = ("--context", connection.context) if connection.context else ()
    if not connection.kubeconfig:
        yield Kubectl(context)
    elif "\n" not in connection.kubeconfig and not connection.kubeconfig.startswith("{"):
        yield Kubectl(("--kubeconfig", str(Path(connection.kubeconfig).expanduser()), *context))
    else:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "kubeconfig"
            file.touch(mode=0o600)
            file.write_text(connection.kubeconfig, encoding="utf-8")
            yield Kubectl(("--kubeconfig", str(file), *context))
