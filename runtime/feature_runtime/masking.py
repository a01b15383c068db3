"""No password in any log line or error text.

Drivers put whole connection strings into their errors. What the environment holds under a secret's name is replaced
wherever it would be printed, also as URLs, JSON and Python write it.

Values under eight characters stand: they are no secrets (the static key of an emulated S3 is a plain word). A secret that is a
longer plain word is masked wherever that word is said; names of a result (its keys) are left as they are.
"""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

MASK = "***"
SECRET_NAMES = ("PASSWORD", "SECRET", "TOKEN", "SECRET_ACCESS_KEY")
SHORTEST_SECRET = 8


class Mask:
    """Replaces the secrets of an environment in texts."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        secrets = {value for name, value in environment.items() if name.endswith(SECRET_NAMES) and len(value) >= SHORTEST_SECRET}
        forms = {form for value in secrets for form in _forms(value)}
        # The longest first: a secret that contains another one must not leave its rest behind.
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def within(self, result: Any) -> Any:
        """A result of a verb without the secrets, in texts at any depth: what holds it can still be read by its keys."""
        if isinstance(result, str):
            return self(result)
        if isinstance(result, dict):
            return {key: self.within(value) for key, value in result.items()}
        if isinstance(result, list | tuple):
            return [self.within(value) for value in result]
        return result


def _forms(value: str) -> set[str]:
    """A secret as texts hold it: plain, within a URL, within JSON, and within a Python string of either quotes."""
    json_forms = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    python_forms = (repr(value)[1:-1], repr(f'"{value}')[2:-1])
    return {value, quote(value, safe=""), quote_plus(value), *json_forms, *python_forms}


class MaskedStream:
    """A text stream that masks what is written to it; everything else is the stream's own."""

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self._stream = stream
        self._mask = mask

    def write(self, text: str) -> int:
        """Write a text, masked; returns its length, as callers expect."""
        self._stream.write(self._mask(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines, masked."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def environment_mask() -> Mask:
    """The mask of this process's environment."""
    return Mask(os.environ)
