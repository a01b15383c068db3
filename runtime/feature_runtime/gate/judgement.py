"""Asking every rule, counting the waivers in, and what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Importing them registers their rules; the order is that of the reference.
from feature_runtime.gate import entities, features, objects, services, sources, stores, views
from feature_runtime.gate.comparison import Comparison
from feature_runtime.gate.rule import BREAKING, INFO, RULES, WARNING, Finding, Severity
from feature_runtime.gate.waivers import Waiver, mark, problems

MODULES = (services, features, entities, stores, views, sources, objects)
WORST_FIRST = (BREAKING, WARNING, INFO)

SAFE, STRICT, BROKEN = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a comparison found, the worst first. `first` is whether there was nothing before."""

    findings: tuple[Finding, ...]
    first: bool = False

    def standing(self, severity: Severity) -> list[Finding]:
        """Findings of a severity that no waiver lets pass."""
        return [finding for finding in self.findings if finding.stands and finding.severity == severity]

    def exit_code(self, *, strict: bool = False) -> int:
        """0 safe, 1 a warning when `strict`, 2 breaking."""
        if self.standing(BREAKING):
            return BROKEN
        return STRICT if strict and self.standing(WARNING) else SAFE

    @property
    def summary(self) -> dict[str, Any]:
        """For the result of the verb."""
        return {
            "breaking": len(self.standing(BREAKING)),
            "warnings": len(self.standing(WARNING)),
            "infos": len(self.standing(INFO)),
            "waived": sum(not finding.stands for finding in self.findings),
            "first_deployment": self.first,
            "findings": [finding.to_json() for finding in self.findings],
        }


def judge(comparison: Comparison, waivers: Sequence[Waiver] = ()) -> Verdict:
    """Everything that the rules find, with the waivers counted in."""
    found = list(dict.fromkeys(finding for name in sorted(RULES) for finding in RULES[name].findings(comparison)))
    found += _unbumped(mark(found, waivers, comparison.today))
    found = mark(found, waivers, comparison.today) + problems(waivers, found, comparison.today)
    ordered = sorted(found, key=lambda finding: (WORST_FIRST.index(finding.severity), finding.rule, finding.object))
    return Verdict(findings=tuple(ordered), first=comparison.old.empty)


def _unbumped(findings: Sequence[Finding]) -> list[Finding]:
    """F065 for services that keep their name though a breaking change of them is waived."""
    names = sorted(
        {
            ".".join(finding.object.split(".")[:2])
            for finding in findings
            if finding.waived and finding.severity == BREAKING and finding.object.startswith("services.") and finding.rule != "F001"
        }
    )
    reason = "a breaking change of it is waived, and its name stays: models before and after it call different vectors by one name"
    return [Finding(rule="F065", severity=WARNING, object=name, reason=reason, remedy=RULES["F065"].remedy) for name in names]
