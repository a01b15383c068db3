"""What a client hears whose request breaks a rule: every error found, up to a limit, in a size that does not grow with the request."""

import itertools
from collections.abc import Collection, Iterable
from typing import Any

import orjson

# Errors listed in one answer; a batch of a thousand wrong ids needs no thousand explanations.
MOST_ERRORS = 20
MOST_NAMES = 20
SHOWN_VALUE = 100


class Refused(Exception):
    """The request is the client's mistake: the HTTP status, a sentence, and the errors one by one."""

    def __init__(self, status: int, errors: list[dict[str, Any]]) -> None:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        self.detail = f"{first['field']}: {first['rule']}{more}. {first['remedy']}"
        super().__init__(self.detail)
        self.status = status
        self.errors = errors


class Busy(Exception):
    """The server has more to do than it can: nothing is wrong with the request, it may come again."""


def first_of(errors: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many errors as an answer lists; the rest is not even made."""
    return list(itertools.islice(errors, MOST_ERRORS))


def problem(field: str, value: Any, rule: str, remedy: str) -> dict[str, Any]:
    """One error of a refusal; long values are cut."""
    if isinstance(value, str | list | dict):
        text = value if isinstance(value, str) else _text(value)
        value = shown(text) if len(text) > SHOWN_VALUE else value
    return {"field": field, "value": value, "rule": rule, "remedy": remedy}


def shown(text: str) -> str:
    """A client's text as a refusal repeats it."""
    return text if len(text) <= SHOWN_VALUE else text[:SHOWN_VALUE] + "…"


def listed(names: Collection[str]) -> str:
    """The first names of those that would have been right, and how many more there are."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(itertools.islice(names, MOST_NAMES)) + more


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Nested deeper than orjson writes, yet not deeper than it reads.
        return "something nested deeply".ljust(SHOWN_VALUE + 1)
