"""One load of one view: what was read, written and left out."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from feature_runtime.loading.window import Window
from feature_runtime.offline_store.source import LeftOut


@dataclass(kw_only=True)
class Load:
    """Counts of rows, and the event times of those that were within the window."""

    read: int = 0
    """Rows of the window, of which every entity's newest counts."""
    written: int = 0
    incomplete: Counter[str] = field(default_factory=Counter)
    """By feature, how many of its lists have a null within that Feast's lists cannot hold: these are null as a whole."""
    left_out: LeftOut = field(default_factory=LeftOut)
    oldest: datetime | None = None
    newest: datetime | None = None

    def lacks(self, newest: datetime | None, window: Window) -> bool:
        """Whether the source, whose newest row is of `newest`, had younger rows in the window than this load found.

        Not told where rows have no join key, which no load takes: the newest may be one of these.
        """
        if newest is None or newest < window.start or self.left_out.without_key:
            return False
        return self.newest is None or newest > self.newest

    def described(self) -> dict[str, Any]:
        """The counts as a run reports them. The newest time is the run's to say: of a load without rows it is that of the last one."""
        return {
            "rows_read": self.read,
            "rows_written": self.written,
            "rows_skipped": self.read - self.written,
            "rows_without_key": self.left_out.without_key,
            "rows_without_time": self.left_out.without_time,
            "incomplete_lists": dict(self.incomplete),
            "oldest_event_time": self.oldest.isoformat() if self.oldest else None,
        }
