"""Values of resources and settings: which of them differ, by path, and how one is shown in a few words."""

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from delivery.markdown import count
from delivery.redaction import SECRET, is_sensitive_key

UNKNOWN = re.compile(r"04da6b54-80e4-46f7-96ec-b56ff0331ba9|output<")
SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"
STEP = re.compile(r"""\[(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|(\d+))\]|([^.\[\]]+)""")
DEEPEST = 40
MISSING = object()

Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Property:
    """One changed value: where, and both sides as they are shown."""

    path: str
    key: str
    old: str
    new: str


def parse_path(text: str) -> Path:
    """The engine's `spec.containers[0].env["A.B"]` as steps."""
    return tuple(int(index) if index else quoted or single or plain for quoted, single, index, plain in STEP.findall(text))


def look_up(value: Any, path: Path) -> Any:
    """What is at the path, or MISSING."""
    for step in path:
        value = open_json(value)
        within = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if not within and not (isinstance(value, dict) and step in value):
            return MISSING
        value = value[step]
    return value


def changed(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """The smallest differing parts of two values, each with its path; JSON in text is opened."""
    if old == new:
        return
    before, after = open_json(old), open_json(new)
    if len(path) < DEEPEST and isinstance(before, dict) and isinstance(after, dict) and not is_secret(before) and not is_secret(after):
        for key in sorted(before.keys() | after.keys(), key=str):
            yield from changed(before.get(key, MISSING), after.get(key, MISSING), (*path, key))
    elif len(path) < DEEPEST and isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            one, other = (side[index] if index < len(side) else MISSING for side in (before, after))
            yield from changed(one, other, (*path, index))
    else:
        yield path, old, new


def property_changes(old: Any, new: Any, path: Path, *, hidden: bool = False) -> Iterator[Property]:
    """The differences of two resources' inputs at and below a path, as they are shown.

    `hidden` says that every value of the resource is a secret, whatever it is called.
    """
    for below, before, after in changed(look_up(old, path), look_up(new, path), path):
        secret = hidden or _is_sensitive(below, new) or _is_sensitive(below, old)
        shown = (SECRET, SECRET) if secret and not _is_plain(before, after) else show_both(before, after)
        yield Property(path=show_path(below, new, old), key=str(below[-1]) if below else "", old=shown[0], new=shown[1])


def show_path(path: Path, *values: Any) -> str:
    """The path with items of lists by their `name` where they have one: `containers[server].env[MODE].value`."""
    text = ""
    for depth, step in enumerate(path):
        if isinstance(step, int):
            text += f"[{_name_of_item(path[: depth + 1], *values) or step}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{step}]"
    return text


def show_both(old: Any, new: Any) -> tuple[str, str]:
    """Both sides in a few words; long texts by how many lines of them changed."""
    if isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new):
        marks = [line[:1] for line in difflib.ndiff(old.splitlines()[:2000], new.splitlines()[:2000])]
        return f"text of {count(len(old.splitlines()), 'line')}", f"{count(marks.count('+'), 'line')} added, {marks.count('-')} removed"
    return show(old), show(new)


def show(value: Any) -> str:
    """One value in a few words, secrets as [secret]."""
    if is_secret(value):
        return SECRET
    if isinstance(value, str):
        lines = f"text of {count(len(value.splitlines()), 'line')}" if "\n" in value.strip() else value
        return "known after the update" if UNKNOWN.search(value) else lines
    if isinstance(value, dict | list):
        return json.dumps(_without_secrets(value), default=str, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "none" if value is MISSING or value is None else str(value)


def open_json(value: Any) -> Any:
    """A JSON document on one line as what it holds (an IAM policy, a chart's values); anything else as it is.

    Over several lines it is a file that somebody keeps, whose own diff says more.
    """
    if isinstance(value, str) and value[:1] in ("{", "[") and "\n" not in value.strip():
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def is_secret(value: Any) -> bool:
    """Whether the engine marked it as secret, in either form."""
    return value == SECRET or (isinstance(value, dict) and SECRET_SIGNATURE in value)


def _is_sensitive(path: Path, value: Any) -> bool:
    if any(isinstance(step, str) and is_sensitive_key(step) for step in path):
        return True
    # {"name": "REDIS_PASSWORD", "value": …}
    return len(path) > 1 and path[-1] == "value" and is_sensitive_key(_name_of_item(path[:-1], value))


def _is_plain(*values: Any) -> bool:
    """Switches and absence tell nothing, whatever their name: `automountServiceAccountToken: false`."""
    return all(value is MISSING or value is None or isinstance(value, bool) for value in values)


def _name_of_item(path: Path, *values: Any) -> str:
    for value in values:
        item = look_up(value, path)
        name = item.get("name") if isinstance(item, dict) else None
        if isinstance(name, str) and name and len(name) <= 80:  # noqa: PLR2004 - a name, not a text
            return name
    return ""


def _without_secrets(value: Any, depth: int = 0) -> Any:
    if is_secret(value) or depth > DEEPEST:
        return SECRET
    if isinstance(value, dict):
        named = isinstance(value.get("name"), str) and is_sensitive_key(value["name"])
        return {
            key: SECRET
            if (is_sensitive_key(str(key)) or (named and key == "value")) and not _is_plain(item)
            else _without_secrets(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(item, depth + 1) for item in value]
    return value
