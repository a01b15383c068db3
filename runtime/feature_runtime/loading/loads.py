"""One load of one view: what was read, written and left out."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(kw_only=True)
class Load:
    """Counts of rows, and the event times of those that were within the window."""

    read: int = 0
    """Rows of the window, of which every entity's newest counts."""
    written: int = 0
    without_key: int = 0
    """Rows whose join key is null: they belong to no entity and cannot be loaded."""
    without_time: int = 0
    """Rows of the whole source whose event timestamp is null: nobody knows when they were true."""
    incomplete: Counter[str] = field(default_factory=Counter)
    """By feature, how many of its lists have a null within that Feast's lists cannot hold: these are null as a whole."""
    oldest: datetime | None = None
    newest: datetime | None = None

    def described(self) -> dict[str, Any]:
        """The counts as a run reports them. The newest time is the run's to say: of a load without rows it is that of the last one."""
        return {
            "rows_read": self.read,
            "rows_written": self.written,
            "rows_skipped": self.read - self.written,
            "rows_without_key": self.without_key,
            "rows_without_time": self.without_time,
            "incomplete_lists": dict(self.incomplete),
            "oldest_event_time": self.oldest.isoformat() if self.oldest else None,
        }
