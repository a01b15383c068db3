"""All that a comment is made from."""

import re
from dataclasses import dataclass, field

from delivery.features import FeatureChanges
from delivery.preview import Finding, Preview
from delivery.weakening import PolicyChange

STACK = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Names of stacks: they go into commands, paths and markers."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A preview of a stack and what the change does to features and policies.

    `exit_status` is the preview's, None if it did not run to its end. `notes` are shown above all else.
    """

    stack: str
    exit_status: int | None
    preview: Preview
    features: FeatureChanges = field(default_factory=FeatureChanges)
    policies: tuple[PolicyChange, ...] = ()
    log: str = ""
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether there is no preview to rely on."""
        return self.exit_status != 0 or not self.preview.readable or bool(self.preview.errors)

    @property
    def reasons(self) -> list[str]:
        """The errors that say why; the engine ends with one that only says that."""
        return [error for error in self.preview.errors if error not in ("preview failed", "update failed")]

    @property
    def violations(self) -> list[Finding]:
        """What the policies refuse."""
        return [finding for finding in self.preview.findings if finding.level == "mandatory"]

    @property
    def weaker(self) -> list[PolicyChange]:
        """Policies that would let through more than before."""
        return [change for change in self.policies if change.weaker]
