"""The issue about a stack that is not what the program says."""

from collections.abc import Iterable
from dataclasses import dataclass

from delivery.markdown import Section, code, fence, fit
from delivery.redaction import redact

LINES = 50
LOG = 200_000
COULD_NOT_LOOK = 75
"""Exit status of a check that found nothing and could not look everywhere; no command of the engine ends with it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One way of looking: what it proves, the command, and how it ended."""

    promise: str
    command: str
    status: int
    log: str

    @property
    def verdict(self) -> str:
        """Whether the promise holds, as Markdown."""
        return {0: "holds", COULD_NOT_LOOK: "**is not known**"}.get(self.status, "**does not hold**")


def marker(stack: str) -> str:
    """The first line of the stack's issue."""
    return f"<!-- feast-eks drift: {stack} -->"


def issue(stack: str, checks: Iterable[Check]) -> str:
    """The whole text: which promises do not hold, and what the engine said."""
    checks = list(checks)
    lines = [f"- {check.verdict}: {check.promise}" for check in checks]
    head = "\n".join([marker(stack), f"`{stack}` was compared with the program on `main`.\n", *lines])
    sections = [
        Section(
            f"{'Not known' if check.status == COULD_NOT_LOOK else 'Not so'}: {check.promise}",
            [f"{code(check.command, 300)}\n\n{fence(_end(check.log))}"],
        )
        for check in checks
        if check.status != 0
    ]
    tail = (
        "A change that is right belongs in the program. Of one that is not, `pulumi up --refresh` puts back values and objects; "
        "what was added goes by hand. `docs/operations.md#drift` says how. This issue is closed by the next run that finds nothing."
    )
    return fit(head, sections, tail)


def _end(log: str) -> list[str]:
    said = [line for line in redact(log[-LOG:]).splitlines() if line.strip()]
    return said[-LINES:] or ["(it printed nothing)"]
