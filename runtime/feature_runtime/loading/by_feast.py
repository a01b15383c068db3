"""Load a view with Feast's own engine: any source, any online store, any transformation."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from feast import FeatureStore, FeatureView, StreamFeatureView
from feast.infra.online_stores.redis import RedisOnlineStoreConfig
from tqdm import tqdm  # type: ignore[import-untyped]  # Feast wants one

from feature_runtime.loading.columnar import keep_of
from feature_runtime.loading.loads import Load
from feature_runtime.loading.window import Window, aware
from feature_runtime.online_store import Keep
from feature_runtime.online_store.load_records import Claim
from feature_runtime.progress import say

SECONDS_BETWEEN_LINES = 5
EARLIEST = datetime(1678, 1, 1, tzinfo=UTC)
"""Feast's engine counts nanoseconds, which hold no earlier year."""


def load_by_feast(store: FeatureStore, view: FeatureView, window: Window, *, claim: Claim) -> Load:
    """Load what Feast's engine picks. It counts what it gives to the online store; what it read, it does not say.

    The engine alone is used: `FeatureStore.materialize` would also write
    the whole view back into the registry, and undo an `apply` that came in between.
    """
    with _watched(store, view, claim) as load, _overwriting(store, keep_of(view, window, claim)):
        store.provider.materialize_single_feature_view(
            config=store.config,
            feature_view=_with_stand_in(store, view),
            start_date=max(window.start, EARLIEST),
            end_date=window.end,
            registry=store.registry,
            project=store.project,
            tqdm_builder=lambda length: tqdm(total=length, disable=True),
        )
    return load


def _with_stand_in(store: FeatureStore, view: FeatureView) -> FeatureView:
    """The view with the entity that Feast gives to views without any, which lists of views leave out and its engine needs."""
    read = store.registry.get_stream_feature_view if isinstance(view, StreamFeatureView) else store.registry.get_feature_view
    return read(view.name, store.project)


@contextmanager
def _watched(store: FeatureStore, view: FeatureView, claim: Claim) -> Iterator[Load]:
    """Count what Feast writes, and say how far it is."""
    online_store = store.provider.online_store
    write = online_store.online_write_batch
    load = Load()
    started = said = time.monotonic()

    def watched_write(config: Any, table: Any, data: list[Any], progress: Any) -> None:
        nonlocal said
        claim.check()
        write(config, table, data, progress)
        load.read += len(data)
        load.written += len(data)
        moments = [aware(row[2]) for row in data]
        load.newest = max(filter(None, (load.newest, max(moments, default=None))), default=None)
        load.oldest = min(filter(None, (load.oldest, min(moments, default=None))), default=None)
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            say(f"materialize: {view.name}: {load.written} rows written after {said - started:.0f} s")

    online_store.online_write_batch = watched_write
    try:
        yield load
    finally:
        del online_store.online_write_batch


@contextmanager
def _overwriting(store: FeatureStore, keep: Keep) -> Iterator[None]:
    """Let a row replace the one of the same time, for the reasons that `keep_of` gives; Feast can do it on Redis only."""
    config = store.config.online_store
    if not isinstance(config, RedisOnlineStoreConfig) or keep is not Keep.NOTHING:
        yield
        return
    before = config.skip_dedup
    config.skip_dedup = True
    try:
        yield
    finally:
        config.skip_dedup = before
