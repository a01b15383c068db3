"""Values as the engine sends them: plain Python in, protobuf structs out, secrets and unknowns told apart on the way.

A secret travels as a dict with a signature. Here it is a `Secret`, so that nothing can mistake it for an ordinary map, and
its value is remembered by `redact` so that no message this process writes ever repeats it.
"""

import base64
import binascii
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"
_ASSET = "c44067f5952c0a294b673a41bacd8c17"
# Providers in Go have a sentinel for each type; the Python SDK sends the one for texts, whatever the type.
_UNKNOWNS = frozenset(
    {
        UNKNOWN,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # a boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # a number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # a list
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # a map
        "030794c1-ac77-496b-92df-f27374a8bd58",  # an asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # an archive
    }
)


@dataclass(frozen=True)
class Secret:
    """A value that must be encrypted in the state and never shown."""

    value: Any = field(repr=False)


@dataclass(frozen=True)
class Asset:
    """A file or a text handed over as an asset; equal where the content is, wherever the file lies."""

    path: str | None = field(default=None, compare=False)
    text: str | None = field(default=None, compare=False)
    sha256: str = ""

    def read(self) -> bytes:
        """The content."""
        if self.text is not None:
            return self.text.encode()
        if self.path is None:
            raise ValueError("an asset needs a path or a text; remote assets are not supported here")
        return Path(self.path).read_bytes()


def is_unknown(value: Any) -> bool:
    """Whether this value will only be known during the update."""
    return isinstance(value, str) and value in _UNKNOWNS


def has_unknown(value: Any) -> bool:
    """Whether anything below this value will only be known during the update."""
    if isinstance(value, Secret):
        return has_unknown(value.value)
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return is_unknown(value)


def read(struct: struct_pb2.Struct | None) -> dict[str, Any]:
    """A protobuf struct as Python values; integral floats become ints, as every number travels as a double."""
    if struct is None:
        return {}
    return {key: _from_wire(value) for key, value in json_format.MessageToDict(struct).items()}


def write(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Python values as a protobuf struct."""
    return json_format.ParseDict(_to_wire(values), struct_pb2.Struct())


def reveal(value: Any) -> Any:
    """The value without secret marks; what was secret is from now on redacted in messages."""
    if isinstance(value, Secret):
        revealed = reveal(value.value)
        remember_secret(revealed)
        return revealed
    if isinstance(value, Mapping):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item) for item in value]
    return value


def has_secret(value: Any) -> bool:
    """Whether anything below this value is secret."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, Mapping):
        return any(has_secret(item) for item in value.values())
    return isinstance(value, list) and any(has_secret(item) for item in value)


def conceal(value: Any, like: Any) -> Any:
    """Marks in `value` what is secret in `like`; a list whose shape changed is marked as a whole."""
    if isinstance(value, Secret) or not has_secret(like):
        return value
    if isinstance(like, Secret):
        return Secret(value)
    if isinstance(like, Mapping) and isinstance(value, Mapping):
        return {key: conceal(item, like[key]) if key in like else item for key, item in value.items()}
    if isinstance(like, list) and isinstance(value, list) and len(like) == len(value):
        return [conceal(item, pattern) for item, pattern in zip(value, like, strict=True)]
    return Secret(value)


# --- Redaction --------------------------------------------------------------------------------------------------------

_SHORTEST_SECRET = 6  # shorter ones ("admin", "1") would blacken ordinary words
_known_secrets: set[str] = set()
_known_secrets_lock = threading.Lock()


def remember_secret(value: Any) -> None:
    """From now on `redact` replaces this value, its base64 form, and what its base64 form decodes to."""
    if isinstance(value, Mapping):
        for item in value.values():
            remember_secret(item)
    elif isinstance(value, list):
        for item in value:
            remember_secret(item)
    elif isinstance(value, str) and not is_unknown(value):
        forms = {value, base64.b64encode(value.encode()).decode(), _decoded(value)}
        # A secret of many lines is quoted line by line in logs.
        forms.update(line.strip() for form in list(forms) for line in form.splitlines())
        with _known_secrets_lock:
            _known_secrets.update(form for form in forms if len(form) >= _SHORTEST_SECRET)


def redact(text: str) -> str:
    """The text without any secret this process has seen."""
    with _known_secrets_lock:
        known = sorted(_known_secrets, key=len, reverse=True)
    for secret in known:
        if secret in text:
            text = text.replace(secret, "[secret]")
    return text


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


# --- Conversions ------------------------------------------------------------------------------------------------------


def _from_wire(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_from_wire(item) for item in value]
    if not isinstance(value, dict):
        return value
    decode = _DECODERS.get(str(value.get(_SIGNATURE)))
    if decode is not None:
        return decode(value)
    return {key: _from_wire(item) for key, item in value.items()}


def _secret(value: dict[str, Any]) -> Secret:
    return Secret(_from_wire(value.get("value")))


def _asset(value: dict[str, Any]) -> Asset:
    return Asset(path=value.get("path"), text=value.get("text"), sha256=value.get("hash", ""))


_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {_SECRET: _secret, _ASSET: _asset}


def _to_wire(value: Any) -> Any:
    if isinstance(value, Secret):
        return {_SIGNATURE: _SECRET, "value": _to_wire(value.value)}
    if isinstance(value, Asset):
        # The engine sends assets of the state by their hash alone, and takes them back so.
        content = {"text": value.text, "path": value.path}
        return {_SIGNATURE: _ASSET, "hash": value.sha256, **{k: v for k, v in content.items() if v is not None}}
    if isinstance(value, Mapping):
        return {key: _to_wire(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_wire(item) for item in value]
    return value
