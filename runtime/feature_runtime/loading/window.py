"""From when to when the rows of a view are loaded, and why just these."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from feast import FeatureView

from feature_runtime.online_store.load_records import LoadRecord, schema_sha256

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)
"""The first moment that Python knows."""


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
    # Without a ttl values never age: everything counts.
    oldest = max(FIRST, end - min(view.ttl, end - FIRST)) if view.ttl else BEGINNING
    last_end = view.most_recent_end_time
    if record is None or last_end is None:
        return Window(start=oldest, end=end, reason="never loaded", catches_up=False)
    if record.schema_sha256 != schema_sha256(view):
        return Window(start=oldest, end=end, reason="loaded with another schema", catches_up=False)
    if only_new:
        return None
    # A watermark in the future, left by another tool, must not hide rows for ever.
    last_end = min(aware(last_end), end)
    return Window(
        start=max(oldest, last_end - overlap),
        end=end,
        reason="new and late rows",
        catches_up=True,
        looks_back=end < record.end,
    )


def aware(moment: datetime) -> datetime:
    """A moment in UTC; without a time zone it is taken to be in UTC, as Feast does."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
