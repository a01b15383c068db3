"""Load feature values from the offline into the online store.

Every night a view's window starts some hours before the end of its last one, for rows that came late. A view that was
never loaded with its present schema is loaded from the start of its ttl; `--backfill` loads only such views. A window
never ends in the future and never reaches back beyond the ttl, so whoever has left is not loaded. A killed run is
simply done again. A nightly run fails, once everything is loaded, when a source has stopped producing rows.
"""

import os

# Read once, when Arrow is imported: its own pools keep for themselves what they once took, the system's gives it back.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis.exceptions
from feast import FeatureStore, FeatureView

from feature_runtime.loading.by_feast import load_by_feast
from feature_runtime.loading.columnar import load_by_column, loads_by_column
from feature_runtime.loading.freshness import TAG, DeadSource, dead_source, freshness_bound
from feature_runtime.loading.loads import Load
from feature_runtime.loading.window import Window, aware, window_of
from feature_runtime.offline_store.source import ViewSource, check_sources
from feature_runtime.online_store.load_records import LoadRecord, LoadRecords, schema_sha256
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.registry.access import exclusive, open_store
from feature_runtime.retrying import first_line, with_retries
from feature_runtime.settings import feature_repo_directory

LEAST_MEMORY_MIB = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to load, and how far to reach back."""
    parser.add_argument("--backfill", action="store_true", help="only views never loaded with their present schema")
    parser.add_argument("--overlap-hours", type=_hours, default=24, metavar="H", help="for rows that come late (24)")
    parser.add_argument("--views", nargs="+", default=[], metavar="VIEW", help="only these views (all)")
    parser.add_argument("--end", type=_moment, default=None, metavar="TIME", help="end of the window (now)")
    parser.add_argument("--memory-mib", type=_memory, default=64, metavar="MIB", help="for rows under way; beyond, the disk (64)")
    parser.add_argument("--wait-seconds", type=float, default=90, help="for a store that is away (90)")
    parser.add_argument("--wait-for-others-seconds", type=float, default=900, help="for another run to end (900)")


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
        run = _Run(store, repo, end, arguments)
        results = {}
        for number, view in enumerate(views, 1):
            say(f"materialize: view {number} of {len(views)}: {view.name}")
            results[view.name] = run.load(view)
    result = {"backfill": arguments.backfill, "views": results}
    if run.dead:
        # Last of all: one dead source must keep no other view from being loaded, nor its own last rows.
        raise Refusal(
            f"{'; '.join(map(str, run.dead))}. What there is, is loaded. Make the source produce again, or, if it may be "
            f"that old, raise the view's ttl or give it a tag {TAG}.",
            **result,
        )
    return result


class _Run:
    """The views of one run, loaded one after the other."""

    def __init__(self, store: FeatureStore, repo: Path, end: datetime, arguments: argparse.Namespace) -> None:
        self._store = store
        self._repo = repo
        self._end = end
        self._arguments = arguments
        self._records = LoadRecords(store)
        self.dead: list[DeadSource] = []

    def load(self, view: FeatureView) -> dict[str, Any]:
        """Load a view and record it, unless there is nothing to do."""
        record = self._retry(view, "reading the load record of", lambda: self._records.read(view.name))
        overlap = timedelta(hours=self._arguments.overlap_hours)
        window = window_of(view, record, end=self._end, overlap=overlap, only_new=self._arguments.backfill)
        if window is None:
            return {"loaded": False, "reason": "already loaded with this schema"}
        check_sources([view], self._repo)
        freshness_bound(view)
        say(f"materialize: {view.name}: {window.reason}: rows from {window}")
        started = time.monotonic()
        load = self._loaded(view, window)
        newest = load.newest or (record.newest_event_time if record else None)
        self._record(view, window, load, record)
        if not self._arguments.backfill:
            self._watch(view, load)
        seconds = time.monotonic() - started
        say(f"materialize: {view.name}: {load.written} of {load.read} rows written in {seconds:.1f} s")
        described = {**load.described(), "newest_event_time": newest.isoformat() if newest else None}
        window_described = {"reason": window.reason, "start": window.start.isoformat(), "end": window.end.isoformat()}
        return {"loaded": True, **window_described, **described, "seconds": round(seconds, 3)}

    def _loaded(self, view: FeatureView, window: Window) -> Load:
        try:
            if loads_by_column(self._store, view):
                return load_by_column(
                    self._store,
                    view,
                    self._repo,
                    window,
                    memory_mib=self._arguments.memory_mib,
                    retry=lambda what, action: self._retry(view, what, action),
                )
            load: Load = self._retry(view, "loading", lambda: load_by_feast(self._store, view, window))
        except (OSError, ValueError, TypeError) as error:
            raise Refusal(f"the feature view {view.name!r} could not be loaded: {first_line(error)}") from error
        return load

    def _record(self, view: FeatureView, window: Window, load: Load, before: LoadRecord | None) -> None:
        if unusable := load.without_key + load.without_time:
            say(
                f"materialize: warning: {view.name}: {unusable} rows cannot be loaded: {load.without_key} without join key, "
                f"{load.without_time} without event timestamp. Correct them in the source."
            )
        for name, count in load.incomplete.items():
            say(
                f"materialize: warning: {view.name}: {count} lists of {name} have a null within, which a list of the online store "
                "cannot hold: they are null, also in training sets. Correct them in the source."
            )
        if not (load.read or window.catches_up):
            # Not recorded: when the data comes, however late, the whole window counts again.
            say(
                f"materialize: warning: {view.name}: the source has no row from {window}. "
                "Nothing is loaded. Is the data older than the view's ttl?"
            )
            return
        known = [moment for moment in (load.newest, before.newest_event_time if before else None) if moment]
        end = max(window.end, before.end) if before and window.looks_back else window.end
        record = LoadRecord(schema_sha256=schema_sha256(view), end=end, newest_event_time=max(known, default=None))
        self._retry(view, "writing the load record of", lambda: self._records.write(view.name, record))

    def _watch(self, view: FeatureView, load: Load) -> None:
        if not ViewSource.readable(view):
            return
        source = ViewSource(view, self._repo)
        dead = dead_source(view, source.uri, load.newest, end=self._end)
        if dead and (newest := source.newest_time(self._end)) != load.newest:
            # Before the window there may be rows that are young enough, or at least say when it stopped.
            dead = dead_source(view, source.uri, newest, end=self._end)
        if dead:
            say(f"materialize: error: {dead}")
            self.dead.append(dead)

    def _retry(self, view: FeatureView, what: str, action: Callable[[], Any]) -> Any:
        def with_remedy() -> Any:
            try:
                return action()
            except redis.exceptions.OutOfMemoryError as error:
                # Not the identity's fault, which is what a refusal by Redis usually is.
                raise Refusal(f"{what} {view.name} failed: {first_line(error)}") from error

        return with_retries(f"{what} {view.name}", with_remedy, seconds=self._arguments.wait_seconds)


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


def _hours(text: str) -> float:
    hours = float(text)
    if hours < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return hours


def _memory(text: str) -> int:
    mib = int(text)
    if mib < LEAST_MEMORY_MIB:
        raise argparse.ArgumentTypeError(f"must be at least {LEAST_MEMORY_MIB}")
    return mib


def _moment(text: str) -> datetime:
    return aware(datetime.fromisoformat(text))
