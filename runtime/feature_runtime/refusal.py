"""The error of everything that can be expected to go wrong."""

from typing import Any

NOT_YET = 75
"""Exit code where only another pod can go on: its Job tries again, until its deadline."""


class Refusal(Exception):
    """A verb does not go on: the message names what, which rule, and the remedy.

    Reported as one JSON line without a traceback. `details` are added to that line; `exit_code` is the process's.
    """

    def __init__(self, message: str, *, exit_code: int = 1, **details: Any) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.details = details
