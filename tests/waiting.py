"""Waiting for what other processes do."""

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sandbox.daemons import Process

Given = TypeVar("Given")

PATIENCE_SECONDS = 120.0
"""Enough for a busy machine: waiting is no claim about speed. Whoever claims one says how many seconds."""
PAUSE_SECONDS = 0.05


class NotYet(AssertionError):
    """What is waited for has not happened."""


def wait_for(action: Callable[[], Given], *errors: type[Exception], seconds: float = PATIENCE_SECONDS) -> Given:
    """Do it again until it raises none of these errors; gives what it gave.

    Raises:
        the last of these errors, after that many seconds; any other error at once.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except errors:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def wait_until(condition: Callable[[], object], what: str, *errors: type[Exception], seconds: float = PATIENCE_SECONDS) -> None:
    """Ask again until the condition holds; one of these errors means that it does not hold yet.

    Raises:
        NotYet: it did not come to hold; the message is `what`.
    """

    def ask() -> None:
        if not condition():
            raise NotYet(f"{what}: not within {seconds:g} s")

    wait_for(ask, NotYet, *errors, seconds=seconds)


def wait_until_ready(port: int, pid: int, log: Path) -> None:
    """Until the feature server on this port, this process, says that it is ready; when it does not, its log is shown."""

    def ask() -> None:
        assert Process.of(pid), f"the server has ended\n{log.read_text()}"
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2).close()

    try:
        wait_for(ask, OSError)
    except OSError as error:
        raise NotYet(f"the server is not ready: {error}\n{log.read_text()}") from error
