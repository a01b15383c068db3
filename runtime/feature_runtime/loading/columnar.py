"""Load a view by the column: from the parquet file to Redis without a Python object per row."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
from feast import FeatureStore, FeatureView

from feature_runtime.definitions.loadable import changes_values
from feature_runtime.loading.loads import Load
from feature_runtime.loading.newest import newest_rows
from feature_runtime.loading.scan import Scan
from feature_runtime.loading.window import Window
from feature_runtime.offline_store.source import ViewSource
from feature_runtime.online_store import Keep, PipelinedRedisOnlineStore
from feature_runtime.online_store.load_records import Claim
from feature_runtime.progress import say
from feature_runtime.value_types.columns import incomplete

SECONDS_BETWEEN_LINES = 5
BATCH_ROWS = 32_768
PARTS = 16
"""A part of the rows is held as read, joined, sorted out and, several times as large, encoded: so it gets this share."""


def loads_by_column(store: FeatureStore, view: FeatureView) -> bool:
    """Whether a view is loaded here: a parquet file as it is, into our online store. The rest is left to Feast's engine."""
    engine = store.config.batch_engine_config
    return bool(
        isinstance(store.provider.online_store, PipelinedRedisOnlineStore)
        and ViewSource.readable(view)
        and not (changes_values(view) or getattr(view, "source_views", None) or view.offline or view.enable_validation)
        and (engine.get("type") if isinstance(engine, dict) else engine) == "local"
    )


def load_by_column(
    store: FeatureStore,
    view: FeatureView,
    source: ViewSource,
    window: Window,
    *,
    memory_mib: int,
    claim: Claim,
    retry: Callable[[str, Callable[[], Any]], Any],
) -> Load:
    """Load the newest row of every entity within the window.

    Raises:
        Refusal: the source cannot be read, Redis stays away, or the claim does not stand any more.
        ValueError, TypeError: a value is not of its field's type.
    """
    scan = Scan(view=view, source=source, window=window)
    online_store = store.provider.online_store
    keep = keep_of(view, window, claim)

    def write(batch: pa.RecordBatch) -> int:
        written: int = online_store.write_arrow(store.config, view, batch, keep=keep, claim=claim)
        claim.confirm()
        return written

    load = Load()
    started = said = time.monotonic()
    for table in newest_rows(scan, part_bytes=(memory_mib << 20) // PARTS):
        for batch in scan.named(table).to_batches(max_chunksize=BATCH_ROWS):
            load.incomplete.update(_incomplete(view, batch))
            load.written += retry("writing", partial(write, batch))
            if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                say(f"materialize: {view.name}: {load.written} rows written after {said - started:.0f} s")
        # Arrow keeps what it once took; given back, memory stays flat however many parts there are.
        pa.default_memory_pool().release_unused()
    load.read, load.left_out = scan.rows, scan.left_out
    load.oldest, load.newest = scan.oldest, scan.newest
    return load


def _incomplete(view: FeatureView, batch: pa.RecordBatch) -> dict[str, int]:
    """By feature, how many lists are null for a null within."""
    counts = {feature.name: incomplete(batch.column(feature.name), feature.dtype) for feature in view.features}
    return {name: count for name, count in counts.items() if count}


def keep_of(view: FeatureView, window: Window, claim: Claim) -> Keep:
    """Which stored rows stay.

    Feast keeps a stored row of the same time. So a field added to a view would stay empty until newer rows come, and a
    corrected row would never arrive. The source's newest row per entity is the truth, also where a newer one was
    withdrawn, and a load that is overtaken stops (see `Claim`). Only where newer values may be stored on purpose, those
    stay: in a view that is also pushed to, when a window ends before one that was loaded already, and after a load that
    did not end, whose window nobody knows.
    """
    return Keep.NEWER if view.stream_source is not None or window.looks_back or claim.unfinished else Keep.NOTHING
