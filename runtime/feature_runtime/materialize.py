"""Load feature values from the offline into the online store.

Every night a view's window starts some hours before the end of its last one, for rows that came late. A view that was
never loaded with its present schema is loaded from the start of its ttl; `--backfill` loads only such views. A window
never ends in the future and never reaches back beyond the ttl, so whoever has left is not loaded. A killed run is
simply done again.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feast import FeatureStore, FeatureView
from feast.infra.online_stores.redis import RedisOnlineStoreConfig

from feature_runtime.loaded import LoadRecord, LoadRecords, schema_sha256
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.registry import exclusive, open_store
from feature_runtime.retrying import first_line, with_retries
from feature_runtime.settings import feature_repo_directory
from feature_runtime.source import check_sources

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_BETWEEN_LINES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to load, and how far to reach back."""
    parser.add_argument("--backfill", action="store_true", help="only views never loaded with their present schema")
    parser.add_argument("--overlap-hours", type=_hours, default=24, metavar="H", help="for rows that come late (24)")
    parser.add_argument("--views", nargs="+", default=[], metavar="VIEW", help="only these views (all)")
    parser.add_argument("--end", type=_moment, default=None, metavar="TIME", help="end of the window (now)")
    parser.add_argument("--wait-seconds", type=float, default=90, help="for a store that is away (90)")
    parser.add_argument("--wait-for-others-seconds", type=float, default=900, help="for another run to end (900)")


@dataclass(frozen=True, kw_only=True)
class Window:
    """From when to when rows are loaded, and why just these."""

    start: datetime
    end: datetime
    reason: str


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Load; the result says for every view what was done."""
    now = datetime.now(UTC)
    end = arguments.end or now
    if end > now:
        raise Refusal(
            f"the window would end at {end.isoformat()}, in the future (it is {now.isoformat()}): every later row "
            "would count as loaded and never be. Leave --end out, or name a moment that has passed."
        )
    repo = feature_repo_directory()
    store = open_store(repo, wait_seconds=arguments.wait_seconds)
    with exclusive(store, "materialize", wait_seconds=arguments.wait_for_others_seconds):
        # Only now: a run that was waited for may have changed what is loaded.
        views = _chosen(store, arguments.views)
        records = LoadRecords(store)
        results = {}
        for number, view in enumerate(views, 1):
            say(f"materialize: view {number} of {len(views)}: {view.name}")
            results[view.name] = _load(store, view, records, repo, end=end, arguments=arguments)
    return {"backfill": arguments.backfill, "views": results}


def window_of(view: FeatureView, record: LoadRecord | None, *, end: datetime, overlap: timedelta, only_new: bool) -> Window | None:
    """What to load of a view; None when `only_new` and nothing is new."""
    # Without a ttl values never age: everything counts.
    oldest = end - view.ttl if view.ttl else BEGINNING
    last_end = view.most_recent_end_time
    if record is None or last_end is None:
        return Window(start=oldest, end=end, reason="never loaded")
    if record.schema_sha256 != schema_sha256(view):
        return Window(start=oldest, end=end, reason="loaded with another schema")
    if only_new:
        return None
    # A watermark in the future, left by another tool, must not hide rows for ever.
    last_end = min(_aware(last_end), end)
    return Window(start=max(oldest, last_end - overlap), end=end, reason="new and late rows")


def _chosen(store: FeatureStore, names: list[str]) -> list[FeatureView]:
    views = {view.name: view for view in [*store.list_batch_feature_views(), *store.list_stream_feature_views()]}
    if unknown := sorted(set(names) - views.keys()):
        raise Refusal(f"there is no feature view {', '.join(unknown)}. The registry has: {', '.join(sorted(views))}.")
    chosen = [view for name, view in sorted(views.items()) if view.online and (not names or name in names)]
    if not chosen:
        raise Refusal(
            "there is no feature view to load: the registry has "
            f"{', '.join(sorted(views)) or 'none'}, and only views with online=True are loaded. Run `apply` first."
        )
    return chosen


def _load(
    store: FeatureStore,
    view: FeatureView,
    records: LoadRecords,
    repo: Path,
    *,
    end: datetime,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    def retry(what: str, action: Callable[[], Any]) -> Any:
        return with_retries(f"{what} {view.name}", action, seconds=arguments.wait_seconds)

    record = retry("reading the load record of", lambda: records.read(view.name))
    overlap = timedelta(hours=arguments.overlap_hours)
    window = window_of(view, record, end=end, overlap=overlap, only_new=arguments.backfill)
    if window is None:
        return {"loaded": False, "reason": "already loaded with this schema"}
    check_sources([view], repo)
    say(f"materialize: {view.name}: {window.reason}: rows from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC")
    started = time.monotonic()

    def load() -> Progress:
        with _watched(store, view) as progress:
            store.materialize(start_date=window.start, end_date=window.end, feature_views=[view.name])
            return progress

    try:
        progress: Progress = retry("loading", load)
    except (OSError, ValueError) as error:
        raise Refusal(f"the feature view {view.name!r} could not be loaded: {first_line(error)}") from error

    newest = progress.newest or (record.newest_event_time if record else None)
    if progress.rows or window.reason == "new and late rows":
        loaded = LoadRecord(schema_sha256=schema_sha256(view), end=window.end, newest_event_time=newest)
        retry("writing the load record of", lambda: records.write(view.name, loaded))
    else:
        # Not recorded: when the data comes, however late, the whole window counts again.
        say(
            f"materialize: warning: {view.name}: the source has no row between {window.start:%Y-%m-%d %H:%M} and "
            f"{window.end:%Y-%m-%d %H:%M} UTC. Nothing is loaded. Is the data older than the view's ttl?"
        )
    seconds = time.monotonic() - started
    say(f"materialize: {view.name}: {progress.rows} rows in {seconds:.1f} s")
    return {
        "loaded": True,
        "reason": window.reason,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "rows": progress.rows,
        "newest_event_time": newest.isoformat() if newest else None,
        "seconds": round(seconds, 1),
    }


@dataclass
class Progress:
    """Rows given to the online store so far, and the newest event time among them."""

    rows: int = 0
    newest: datetime | None = None


@contextmanager
def _watched(store: FeatureStore, view: FeatureView) -> Iterator[Progress]:
    """Count what Feast writes, and say how far it is; and let it replace rows (see `_overwriting`)."""
    online_store = store.provider.online_store
    write = online_store.online_write_batch
    seen = Progress()
    started = said = time.monotonic()

    def watched_write(config: Any, table: Any, data: list[Any], progress: Any) -> None:
        nonlocal said
        write(config, table, data, progress)
        seen.rows += len(data)
        newest = max((_aware(row[2]) for row in data), default=None)
        seen.newest = max(filter(None, (seen.newest, newest)), default=None)
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            say(f"materialize: {view.name}: {seen.rows} rows after {said - started:.0f} s")

    online_store.online_write_batch = watched_write
    try:
        with _overwriting(store, view):
            yield seen
    finally:
        del online_store.online_write_batch


@contextmanager
def _overwriting(store: FeatureStore, view: FeatureView) -> Iterator[None]:
    """Let a row replace the one of the same time.

    Feast skips a row whose time equals the stored one's. So a field added to a view would stay empty until newer
    rows come, and a corrected row would never arrive. The source's newest row per entity is the truth, and one run
    writes at a time; only a view that is also pushed to may hold newer values, and keeps Feast's comparison.
    """
    config = store.config.online_store
    if not isinstance(config, RedisOnlineStoreConfig) or view.stream_source is not None:
        yield
        return
    before = config.skip_dedup
    config.skip_dedup = True
    try:
        yield
    finally:
        config.skip_dedup = before


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _hours(text: str) -> float:
    hours = float(text)
    if hours < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return hours


def _moment(text: str) -> datetime:
    return _aware(datetime.fromisoformat(text))
