"""From when to when the rows of a view are loaded, and why just these."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from feast import FeatureView

from feature_runtime.online_store.load_records import LoadRecord, schema_sha256

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
"""No window starts before: Feast's event timestamps hold no earlier year."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The event times that count, both ends included."""

    start: datetime
    end: datetime
    reason: str
    catches_up: bool
    """Whether it continues a load before it; otherwise everything that still counts is loaded."""
    looks_back: bool = False
    """Whether it ends before a load that was done already, so that newer values may be stored."""

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"


def window_of(view: FeatureView, record: LoadRecord | None, *, end: datetime, overlap: timedelta, only_new: bool) -> Window | None:
    """What to load of a view; None when `only_new` and nothing is new."""
    reach = end - EARLIEST
    # Without a ttl values never age: everything counts.
    oldest = end - min(view.ttl or reach, reach)
    if record is None:
        return Window(start=oldest, end=end, reason="never loaded", catches_up=False)
    looks_back = end < record.end
    if record.schema_sha256 != schema_sha256(view):
        return Window(start=oldest, end=end, reason="loaded with another schema", catches_up=False, looks_back=looks_back)
    if only_new:
        return None
    # What is newer than the newest row loaded cannot have been loaded, however late it came.
    start = min(min(record.end, end) - min(overlap, reach), record.newest_event_time)
    return Window(start=max(oldest, start), end=end, reason="new and late rows", catches_up=True, looks_back=looks_back)


def aware(moment: datetime) -> datetime:
    """A moment in UTC; without a time zone it is taken to be in UTC, as Feast does."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
