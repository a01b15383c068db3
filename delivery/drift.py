"""The issue about a stack that is not what the program says."""

from collections.abc import Iterable
from dataclasses import dataclass

from delivery.markdown import Section, code, fence, fit
from delivery.redaction import redact

LINES = 50
LOG = 200_000


@dataclass(frozen=True, kw_only=True)
class Check:
    """One way of looking: what it proves, the command, and how it ended."""

    promise: str
    command: str
    status: int
    log: str


def marker(stack: str) -> str:
    """The first line of the stack's issue."""
    return f"<!-- feast-eks drift: {stack} -->"


def issue(stack: str, checks: Iterable[Check]) -> str:
    """The whole text: which promises do not hold, and what the engine said."""
    checks = list(checks)
    lines = [f"- {'holds' if check.status == 0 else '**does not hold**'}: {check.promise}" for check in checks]
    head = "\n".join([marker(stack), f"`{stack}` was compared with the program on `main`.\n", *lines])
    sections = [
        Section(f"Not so: {check.promise}", [f"{code(check.command, 300)}\n\n{fence(_end(check.log))}"])
        for check in checks
        if check.status != 0
    ]
    tail = (
        "Either the change is right: make it in the program. Or it is not: deploy `main` again. "
        "`docs/pull-requests.md` says how to look closer. This issue is closed by the next run that finds nothing."
    )
    return fit(head, sections, tail)


def _end(log: str) -> list[str]:
    said = [line for line in redact(log[-LOG:]).splitlines() if line.strip()]
    return said[-LINES:] or ["(it printed nothing)"]
