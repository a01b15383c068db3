"""Load feature values from the offline into the online store.

A view's window starts some hours before the end of its last one, for rows that came late, and never after the newest row
that was loaded, for a snapshot that came later still. What was loaded is recorded in the online store, beside the values.
A view that was never loaded with its present schema is loaded from the start of its ttl; `--backfill` loads only such
views. A window never ends in the future and never reaches back beyond the ttl, so whoever has left is not loaded. A
killed run is simply done again. A run fails, once everything is loaded, when a source cannot be read or rows of a window were
left out, and without `--backfill` also when a source has stopped producing rows.
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
import sqlalchemy.exc
from feast import FeatureStore, FeatureView

from feature_runtime.definitions.loadable import REMEDY as CHANGED
from feature_runtime.definitions.loadable import changes_values
from feature_runtime.loading.by_feast import load_by_feast
from feature_runtime.loading.columnar import load_by_column, loads_by_column
from feature_runtime.loading.dead_sources import TAG, DeadSource, dead_source, freshness_bound
from feature_runtime.loading.loads import Load
from feature_runtime.loading.window import Window, aware, window_of
from feature_runtime.offline_store.source import ViewSource, checked_source
from feature_runtime.online_store.load_records import Claim, LoadRecord, LoadRecords, schema_sha256
from feature_runtime.progress import say
from feature_runtime.refusal import NOT_YET, Refusal
from feature_runtime.registry.access import Lock, loading, open_store
from feature_runtime.registry.rebuilding import why_not_rebuilt
from feature_runtime.retrying import first_line, with_retries
from feature_runtime.settings import feature_repo_directory

STORES_FAIL = (redis.exceptions.RedisError, sqlalchemy.exc.SQLAlchemyError)
LEAST_MEMORY_MIB = 16
MOST_HOURS = 10_000_000
"""A thousand years: more than any history holds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to load, and how far to reach back."""
    parser.add_argument("--backfill", action="store_true", help="only views never loaded with their present schema")
    parser.add_argument("--overlap-hours", type=_hours, default=24, metavar="H", help="for rows that come late (24)")
    parser.add_argument("--views", nargs="+", default=[], metavar="VIEW", help="only these views (all)")
    parser.add_argument("--without", nargs="+", default=[], metavar="VIEW", help="not these views: they are loaded apart")
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
    names = _chosen(store, arguments.views, arguments.without)
    run = _Run(store, repo, end, arguments)
    results = {}
    for number, name in enumerate(names, 1):
        say(f"materialize: view {number} of {len(names)}: {name}")
        try:
            with loading(store, name, wait_seconds=arguments.wait_for_others_seconds) as lock:
                results[name] = run.load(name, lock)
        except Refusal as refusal:
            # A store that is away is away for all, and each view would wait for it.
            if len(names) == 1 or refusal.exit_code == NOT_YET or isinstance(refusal.__cause__, STORES_FAIL):
                raise
            say(f"materialize: error: {refusal}")
            results[name] = {"loaded": False, "reason": str(refusal)}
            run.left_out.append(str(refusal))
    result = {"backfill": arguments.backfill, "views": results}
    # Last of all: one bad source must keep no other view from being loaded, nor its own last rows.
    problems = list(map(str, run.left_out))
    if run.dead:
        problems.append(
            f"{'; '.join(map(str, run.dead))}. What there is, is loaded. Make the source produce again, or, if it may be "
            f"that old, raise the view's ttl or give it a tag {TAG}."
        )
    if problems:
        raise Refusal(" ".join(problems), **result)
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
        self.left_out: list[str] = []

    def load(self, name: str, lock: Lock) -> dict[str, Any]:
        """Load a view and record it, unless there is nothing to do."""
        # Only now: a run that was waited for may have changed what is loaded, or `apply` what there is.
        view = _loadable(self._store).get(name)
        if view is None:
            return {"loaded": False, "reason": "no longer in the registry"}
        claim = self._retry(view, "reading the load record of", lambda: self._records.claim(name, lock.check))
        overlap = timedelta(hours=self._arguments.overlap_hours)
        window = window_of(view, claim.record, end=self._end, overlap=overlap, only_new=self._arguments.backfill)
        if window is None:
            return {"loaded": False, "reason": "already loaded with this schema"}
        if why := why_not_rebuilt(view):
            raise Refusal(f"the feature view {name!r} is not loaded: {why}. Define what it uses inside it, and run `apply` again.")
        if why := changes_values(view):
            raise Refusal(f"the feature view {name!r} is not loaded: {why}. {CHANGED}.")
        # Before the load, and listed once: what arrives while it runs is left to the next one.
        source = checked_source(view, self._repo)
        freshness_bound(view)
        say(f"materialize: {name}: {window.reason}: rows from {window}")
        started = time.monotonic()
        source_newest = source.newest_time(self._end) if source else None

        load = self._loaded(view, source, window, claim)
        load.left_out.warn("materialize", name)
        if source and loads_by_column(self._store, view) and load.lacks(source_newest, window):
            self.left_out.append(
                f"the load of the feature view {name!r} left rows out: its source ({source.uri}) has rows of {source_newest} within the "
                f"window from {window}, and the newest row that was loaded is of {load.newest}. Nothing is recorded, so the next run loads "
                "the window again."
            )
        else:
            self._record(view, window, load, claim)
        if source and not self._arguments.backfill and (dead := dead_source(view, source.uri, source_newest, end=self._end)):
            say(f"materialize: error: {dead}")
            self.dead.append(dead)
        seconds = time.monotonic() - started
        say(f"materialize: {name}: {load.written} of {load.read} rows written in {seconds:.1f} s")
        newest = _newest(load, claim, window)
        described = {**load.described(), "newest_event_time": newest.isoformat() if newest else None}
        window_described = {"reason": window.reason, "start": window.start.isoformat(), "end": window.end.isoformat()}
        return {"loaded": True, **window_described, **described, "seconds": round(seconds, 3)}

    def _loaded(self, view: FeatureView, source: ViewSource | None, window: Window, claim: Claim) -> Load:
        try:
            if source and loads_by_column(self._store, view):
                return load_by_column(
                    self._store,
                    view,
                    source,
                    window,
                    memory_mib=self._arguments.memory_mib,
                    claim=claim,
                    retry=lambda what, action: self._retry(view, what, action),
                )
            load: Load = self._retry(view, "loading", lambda: load_by_feast(self._store, view, window, claim=claim))
        except (OSError, ValueError, TypeError, AssertionError, ImportError, LookupError) as error:
            # Feast's engine asserts without a word.
            what = first_line(error) or type(error).__name__
            raise Refusal(f"the feature view {view.name!r} could not be loaded: {what}") from error
        return load

    def _record(self, view: FeatureView, window: Window, load: Load, claim: Claim) -> None:
        for name, count in load.incomplete.items():
            say(
                f"materialize: warning: {view.name}: {count} lists of {name} have a null within, which a list of the online store "
                "cannot hold: they are null, also in training sets. Correct them in the source."
            )
        newest = _newest(load, claim, window)
        if newest is None:
            # Not recorded: when the data comes, however late, the whole window counts again.
            say(
                f"materialize: warning: {view.name}: the source has no row from {window}. "
                "Nothing is loaded. Is the data older than the view's ttl?"
            )
            return
        before = claim.record
        end = max(window.end, before.end) if before and window.catches_up else window.end
        record = LoadRecord(schema_sha256=schema_sha256(view), end=end, newest_event_time=newest)
        self._retry(view, "writing the load record of", lambda: claim.finish(record))

    def _retry(self, view: FeatureView, what: str, action: Callable[[], Any]) -> Any:
        def with_remedy() -> Any:
            try:
                return action()
            except redis.exceptions.OutOfMemoryError as error:
                # Not the identity's fault, which is what a refusal by Redis usually is.
                raise Refusal(f"{what} {view.name} failed: {first_line(error)}") from error

        return with_retries(f"{what} {view.name}", with_remedy, seconds=self._arguments.wait_seconds)


def _newest(load: Load, claim: Claim, window: Window) -> datetime | None:
    """The newest event time that is loaded now: that of a load which looks back, or found nothing, may be another one's."""
    before = claim.record.newest_event_time if claim.record and window.catches_up else None
    if window.looks_back and before and load.newest:
        return max(before, load.newest)
    return load.newest or before


def _loadable(store: FeatureStore) -> dict[str, FeatureView]:
    views = [*store.list_batch_feature_views(), *store.list_stream_feature_views()]
    return {view.name: view for view in views if view.online}


def _chosen(store: FeatureStore, names: list[str], without: list[str]) -> list[str]:
    every = {view.name for view in [*store.list_batch_feature_views(), *store.list_stream_feature_views()]}
    if unknown := sorted({*names, *without} - every):
        raise Refusal(f"there is no feature view {', '.join(unknown)}. The registry has: {', '.join(sorted(every))}.")
    chosen = sorted(name for name in _loadable(store) if name not in without and (not names or name in names))
    if not chosen and (names or not every):
        raise Refusal(
            "there is no feature view to load: the registry has "
            f"{', '.join(sorted(every)) or 'none'}, and only views with online=True are loaded. Run `apply` first."
        )
    if not chosen:
        say(f"materialize: nothing to load: of {', '.join(sorted(every))} none is online, or it is loaded apart")
    return chosen


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 <= hours <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"must be from 0 to {MOST_HOURS}")
    return hours


def _memory(text: str) -> int:
    mib = int(text)
    if mib < LEAST_MEMORY_MIB:
        raise argparse.ArgumentTypeError(f"must be at least {LEAST_MEMORY_MIB}")
    return mib


def _moment(text: str) -> datetime:
    return aware(datetime.fromisoformat(text))
