"""Rules of the gate: one small function each, with what people need to know about it beside it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from feature_runtime.gate.comparison import Comparison


class Severity(StrEnum):
    """What a finding means: who reads features breaks; somebody should know; nothing is harmed."""

    BREAKING = "breaking"
    WARNING = "warning"
    INFO = "info"


BREAKING, WARNING, INFO = Severity.BREAKING, Severity.WARNING, Severity.INFO


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One rule and one object that it concerns, named as in the contract: `services.attrition_model_v1.tenure`."""

    rule: str
    severity: Severity
    object: str
    reason: str
    remedy: str
    waived: str = ""
    """The reason of the waiver that lets it pass."""

    @property
    def stands(self) -> bool:
        """Whether no waiver lets it pass."""
        return not self.waived

    def to_json(self) -> dict[str, str]:
        """For the result of the verb."""
        named = {"rule": self.rule, "severity": str(self.severity), "object": self.object, "reason": self.reason, "remedy": self.remedy}
        return named | ({"waived": self.waived} if self.waived else {})


@dataclass(frozen=True)
class Hit:
    """What a rule found: the object, why it is one, and its severity where that is not the rule's own."""

    object: str
    reason: str
    severity: Severity | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`change` is what it looks for, `level` how bad that is, `why` what would happen, `remedy` what to do instead."""

    id: str
    change: str
    severity: Severity
    level: str
    why: str
    remedy: str
    find: Callable[[Comparison], Iterable[Hit]]

    def findings(self, comparison: Comparison) -> list[Finding]:
        """Everything of this rule's kind that the new side has and the old side had not."""
        return [
            Finding(rule=self.id, severity=hit.severity or self.severity, object=hit.object, reason=hit.reason, remedy=self.remedy)
            for hit in self.find(comparison)
        ]


RULES: dict[str, Rule] = {}

NEW_SERVICE = "Add a service under a new name (…_v2), move its model there, and remove the old one when nobody asks for it."


def rule(
    identifier: str, change: str, severity: Severity, *, why: str, remedy: str, but: str = ""
) -> Callable[[Callable[[Comparison], Iterable[Hit]]], Callable[[Comparison], Iterable[Hit]]]:
    """Register a rule. `but` says when its severity is another one."""

    def register(find: Callable[[Comparison], Iterable[Hit]]) -> Callable[[Comparison], Iterable[Hit]]:
        assert identifier not in RULES, f"two rules {identifier}"
        level = f"{severity}; {but}" if but else str(severity)
        RULES[identifier] = Rule(id=identifier, change=change, severity=severity, level=level, why=why, remedy=remedy, find=find)
        return find

    return register
