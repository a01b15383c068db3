"""Asks a feature server over HTTP, straight at its address, whatever proxy the environment names."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

REQUEST_SECONDS = 10
CONTRACT_HEADER = "feast-contract"
SHOWN_BYTES = 300


def addresses(names: Iterable[str], port: int) -> tuple[list[str], dict[str, list[str]]]:
    """The addresses that names stand for, and for each name that stands for none, why."""
    found: set[str] = set()
    problems: dict[str, list[str]] = {}
    for name in names:
        try:
            entries = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            problems[name] = [f"the name does not resolve ({error.strerror}): no replica is ready"]
            continue
        found |= {str(entry[4][0]) for entry in entries}
    return sorted(found), problems


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One feature server. Its methods raise OSError or ValueError when no right answer comes (see `reason`)."""

    address: str
    port: int

    def contract(self) -> dict[str, Any]:
        """What it serves: `services`, each with its features in order and their sha256."""
        answer = self._ask("contract", None, {})
        if not isinstance(answer.get("services"), dict):
            raise ValueError("GET /contract names no services")  # noqa: TRY004  the answer is wrong, not a type of ours
        return answer

    def vectors(self, body: bytes, sha256: str) -> dict[str, Any]:
        """The answer to a request in Feast's form; refused by a server of another contract."""
        # A list of features has no contract.
        return self._ask("get-online-features", body, {"Content-Type": "application/json"} | ({CONTRACT_HEADER: sha256} if sha256 else {}))

    def _ask(self, path: str, body: bytes | None, headers: dict[str, str]) -> dict[str, Any]:
        host = f"[{self.address}]" if ":" in self.address else self.address
        request = urllib.request.Request(f"http://{host}:{self.port}/{path}", data=body, headers=headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=REQUEST_SECONDS) as response:
            answer = json.load(response)
        if not isinstance(answer, dict):
            raise ValueError(f"/{path} answers no JSON object")  # noqa: TRY004  the answer is wrong, not a type of ours
        return answer


def reason(error: Exception) -> str:
    """Why there is no answer, in one line."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}: {error.read(SHOWN_BYTES).decode(errors='replace')}"
    if isinstance(error, urllib.error.URLError):
        return f"no answer: {error.reason}"
    return f"no answer: {type(error).__name__}: {error}"
