"""Load a view with Feast's own engine: any source, any online store, any transformation."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from feast import FeatureStore, FeatureView
from feast.infra.online_stores.redis import RedisOnlineStoreConfig

from feature_runtime.loading.loads import Load
from feature_runtime.loading.window import Window, aware
from feature_runtime.progress import say

SECONDS_BETWEEN_LINES = 5


def load_by_feast(store: FeatureStore, view: FeatureView, window: Window) -> Load:
    """Load what Feast's engine picks. It counts what it gives to the online store; what it read, it does not say."""
    with _watched(store, view) as load, _overwriting(store, view, window):
        store.materialize(start_date=window.start, end_date=window.end, feature_views=[view.name])
    return load


@contextmanager
def _watched(store: FeatureStore, view: FeatureView) -> Iterator[Load]:
    """Count what Feast writes, and say how far it is."""
    online_store = store.provider.online_store
    write = online_store.online_write_batch
    load = Load()
    started = said = time.monotonic()

    def watched_write(config: Any, table: Any, data: list[Any], progress: Any) -> None:
        nonlocal said
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
def _overwriting(store: FeatureStore, view: FeatureView, window: Window) -> Iterator[None]:
    """Let a row replace the one of the same time, for the reasons that `columnar` gives; Feast can do it on Redis only."""
    config = store.config.online_store
    if not isinstance(config, RedisOnlineStoreConfig) or view.stream_source is not None or window.looks_back:
        yield
        return
    before = config.skip_dedup
    config.skip_dedup = True
    try:
        yield
    finally:
        config.skip_dedup = before
