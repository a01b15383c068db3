"""How the program says no: every reason at once, before any resource is registered."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: where (`path`), what was found, the rule it breaks, and what to do."""

    path: str
    value: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value}\n      rule:   {self.rule}\n      remedy: {self.remedy}"


class Refusal(ValueError):
    """The program must not run as it is configured."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) != 1 else ''}"
        listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1))
        super().__init__(f"{subject}: {count}, nothing was changed.\n{listed}")
