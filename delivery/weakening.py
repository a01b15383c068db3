"""Which policies a change weakens: levels lowered, options away from their strict defaults, rules gone from the pack.

A policy configuration holds differences from strict: what it does not name is mandatory, with strict options. So
whatever a change adds to it is a weakening, and whatever it takes out is the opposite.
"""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STRICTNESS = {"disabled": 0, "advisory": 1, "remediate": 2, "mandatory": 3}
STRICT = "mandatory"
LEVEL = "enforcementLevel"
RULES = frozenset({"ResourceRule", "StackRule"})


@dataclass(frozen=True, kw_only=True)
class PolicyChange:
    """One rule or file, and what became of it; `weaker` if it lets through what was refused before, or may."""

    name: str
    what: str
    old: str
    new: str
    weaker: bool


def compare_configurations(before: str | None, after: str | None) -> list[PolicyChange]:
    """How the second configuration differs in what it enforces; None is no file, which is strict."""
    try:
        old, new = (_settings(text) for text in (before, after))
    except (ValueError, RecursionError) as error:
        return [PolicyChange(name="the configuration", what="cannot be read", old="", new=str(error), weaker=True)]
    names = sorted((old.keys() | new.keys()) - {"all"}, key=str)
    changes = [*_level(old, new, "all"), *(change for name in names for change in _level(old, new, name))]
    return [*changes, *(change for name in names for change in _options(old, new, name))]


def compare_packs(before: Path, after: Path) -> list[PolicyChange]:
    """Rules that the pack no longer has, and files of it that differ (their configuration aside)."""
    old, new = _rules(before), _rules(after)
    gone = [PolicyChange(name=name, what="rule", old="in the pack", new="gone from it", weaker=True) for name in sorted(old - new)]
    added = [PolicyChange(name=name, what="rule", old="not in the pack", new="new", weaker=False) for name in sorted(new - old)]
    files = sorted({path.relative_to(root) for root in (before, after) for path in _sources(root)})
    edited = [
        PolicyChange(name=file.as_posix(), what="file", old="", new="edited: read its diff", weaker=False)
        for file in files
        if _content(before / file) not in (None, _content(after / file))
    ]
    return [*gone, *added, *edited]


def _level(old: dict[str, Any], new: dict[str, Any], name: str) -> Iterator[PolicyChange]:
    before, after = _level_of(old, name), _level_of(new, name)
    if before != after and (name == "all" or name in old or name in new):
        weaker = STRICTNESS.get(after, -1) < STRICTNESS.get(before, -1)
        yield PolicyChange(
            name="every rule without a level of its own" if name == "all" else name, what="level", old=before, new=after, weaker=weaker
        )


def _options(old: dict[str, Any], new: dict[str, Any], name: str) -> Iterator[PolicyChange]:
    before, after = ({k: v for k, v in _map(side.get(name)).items() if k != LEVEL} for side in (old, new))
    for option in sorted(before.keys() | after.keys()):
        if before.get(option) != after.get(option):
            yield PolicyChange(
                name=name,
                what=f"option {option}",
                old=json.dumps(before[option]) if option in before else "the strict default",
                new=json.dumps(after[option]) if option in after else "the strict default",
                weaker=option in after,
            )


def _level_of(settings: dict[str, Any], name: str) -> str:
    value = settings.get(name, settings.get("all", STRICT))
    level = _map(value).get(LEVEL, _map(settings.get("all")).get(LEVEL, STRICT)) if isinstance(value, dict) else value
    return str(level)


def _settings(text: str | None) -> dict[str, Any]:
    settings = {} if text is None else json.loads(text)
    if not isinstance(settings, dict):
        raise ValueError("a policy configuration is a map from rules to levels")  # noqa: TRY004 - what the caller shows
    return settings


def _rules(pack: Path) -> set[str]:
    """Names of the rules, read from the source: the pack of a pull request is not run to be compared."""
    trees = [tree for path in _sources(pack) if (tree := _tree(path)) is not None]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    constants = {
        target.id: node.value for node in nodes if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)
    }
    names = set()
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if called in RULES:
            value = next((keyword.value for keyword in call.keywords if keyword.arg == "name"), None)
            if isinstance(value, ast.Name | ast.Attribute):
                value = constants.get(value.id if isinstance(value, ast.Name) else value.attr)
            names |= {value.value} if isinstance(value, ast.Constant) and isinstance(value.value, str) else set()
    return names


def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes()) if path.suffix == ".py" else None
    except (SyntaxError, ValueError, RecursionError):
        return None


def _sources(pack: Path) -> list[Path]:
    return sorted(
        path for path in pack.rglob("*") if path.is_file() and path.suffix in (".py", ".yaml") and "__pycache__" not in path.parts
    )


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
