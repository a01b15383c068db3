"""The environments' configurations: which there are, what they may say, and what is wrong with one.

The engine accepts the name of a rule or of an option that does not exist without a word, and a protection that was thought
configured is not. So files are checked here, by `make check` and again by the pack itself at every preview.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from feast_eks_policies.rule import Rule

DIRECTORY = Path(__file__).resolve().parents[1] / "config"
LEVELS = ("disabled", "advisory", "remediate", "mandatory")
"""From lax to strict."""

STACK_RULE = "env-config-matches-stack"


def problems(path: Path, rules: Mapping[str, Rule]) -> Iterator[str]:
    """What is wrong with a configuration file, one text each: where, what, and what to do."""
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        yield f"{path.name}: cannot be read as JSON ({type(error).__name__}); write an object of rule names"
        return
    if not isinstance(config, Mapping):
        yield f"{path.name}: is not an object; write an object of rule names"
        return
    for name, value in config.items():
        if name == "all":
            yield f"{path.name}: all sets every rule at once, those that come later too; name each rule"
        elif name not in rules:
            yield f"{path.name}: {name} is no rule; the names are in docs/policies.md"
        elif isinstance(value, Mapping):
            yield from _rule_problems(f"{path.name}: {name}", value, rules[name])
        elif value not in LEVELS:
            yield f"{path.name}: {name} has no level {value!r}; choose one of {', '.join(LEVELS)}"
    yield from _own_environment_problems(path, config.get(STACK_RULE))


def _rule_problems(where: str, config: Mapping[str, Any], rule: Rule) -> Iterator[str]:
    for key, value in config.items():
        if key == "enforcementLevel":
            if value not in LEVELS:
                yield f"{where}.{key} is {value!r}; choose one of {', '.join(LEVELS)}"
        elif key not in rule.options:
            known = f"it knows {', '.join(rule.options)}" if rule.options else "it has none"
            yield f"{where} has no option {key}; {known}"
        elif not _same_kind(value, rule.options[key]):
            yield f"{where}.{key} is {json.dumps(value)}; it is of the kind of {json.dumps(rule.options[key])}"


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, (list, tuple)):
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return type(value) is type(default)


def _own_environment_problems(path: Path, config: Any) -> Iterator[str]:
    level = config.get("enforcementLevel", "mandatory") if isinstance(config, Mapping) else config or "mandatory"
    environment = config.get("environment") if isinstance(config, Mapping) else None
    if environment != path.stem:
        yield f"{path.name}: {STACK_RULE}.environment is {json.dumps(environment)}; write {json.dumps(path.stem)}, the file's name"
    if level != "mandatory":
        yield f"{path.name}: {STACK_RULE} is {level}; it is mandatory everywhere, or another environment's levels could be used"


def level(rule: str, config: Mapping[str, Any]) -> str:
    """The level of a rule under a configuration."""
    value = config.get(rule, "mandatory")
    return str(value.get("enforcementLevel", "mandatory")) if isinstance(value, Mapping) else str(value)


def options(rule: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a configuration gives a rule."""
    value = config.get(rule)
    return {key: option for key, option in value.items() if key != "enforcementLevel"} if isinstance(value, Mapping) else {}


def environments() -> dict[str, dict[str, Any]]:
    """The configurations by environment."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DIRECTORY.glob("*.json"))}
