"""Of every entity the newest row, however many rows there are: memory stays the same, the disk takes the rest.

What is newest, `offline_store.rows` says. What does not fit goes to disk in parts, by the hash of the entity's key; then
one part after the other is looked at.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from feature_runtime.loading.scan import Scan
from feature_runtime.offline_store.rows import ranks

MOST_PARTS = 512
HASHED_BITS = 32


def newest_rows(scan: Scan, *, part_bytes: int) -> Iterator[pa.Table]:
    """Tables of rows, each of another entity; no table has many more than `part_bytes`."""
    batches = (_newest(pa.Table.from_batches([batch]), scan) for batch in scan.batches())
    held: list[pa.Table] = []
    bytes_held = 0
    for table in batches:
        held.append(table)
        bytes_held += table.nbytes
        if bytes_held > part_bytes:
            break
    else:
        if held:
            yield _newest(pa.concat_tables(held), scan)
        return
    per_row = bytes_held / sum(part.num_rows for part in held)
    # Uneven parts must fit too.
    parts = min(MOST_PARTS, 1 + int(1.5 * per_row * max(scan.planned, 1) / part_bytes))
    with tempfile.TemporaryDirectory(prefix="feature-runtime-", ignore_cleanup_errors=True) as directory:
        with _Parts(Path(directory), held[0].schema, parts) as written:
            for table in held:
                written.add(table, _parts(table, scan.keys, parts))
            held.clear()
            for table in batches:
                written.add(table, _parts(table, scan.keys, parts))
        for part in range(parts):
            yield from _read(Path(directory) / str(part), scan, part_bytes)


class _Parts:
    """Files, one per part, that rows are added to."""

    def __init__(self, directory: Path, schema: pa.Schema, parts: int) -> None:
        self._files = [pa.OSFile(str(directory / str(part)), "wb") for part in range(parts)]
        self._writers = [pa.ipc.new_stream(file, schema) for file in self._files]

    def add(self, table: pa.Table, part: npt.NDArray[np.int64]) -> None:
        order = np.argsort(part, kind="stable")
        ends = np.cumsum(np.bincount(part, minlength=len(self._writers)))
        sorted_table = table.take(pa.array(order)).combine_chunks()
        start = 0
        for writer, end in zip(self._writers, ends.tolist(), strict=True):
            if end > start:
                writer.write_table(sorted_table.slice(start, end - start))
            start = end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer, file in zip(self._writers, self._files, strict=True):
            writer.close()
            file.close()


def _read(path: Path, scan: Scan, part_bytes: int) -> Iterator[pa.Table]:
    """The newest rows of one part; the file is removed."""
    held: list[pa.Table] = []
    bytes_held, most = 0, 2 * part_bytes
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            held.append(pa.Table.from_batches([batch]))
            bytes_held += batch.nbytes
            if bytes_held > most:
                # More rows than planned: the superseded ones go at once.
                held = [_newest(pa.concat_tables(held), scan)]
                bytes_held = held[0].nbytes
                most = max(most, 2 * bytes_held)
    path.unlink()
    if held:
        yield _newest(pa.concat_tables(held), scan)


def _newest(table: pa.Table, scan: Scan) -> pa.Table:
    rank = ranks(table)
    keyed = table.select(scan.keys).append_column("\0rank", pa.array(rank))
    best = keyed.group_by(scan.keys, use_threads=False).aggregate([("\0rank", "max")]).column("\0rank_max").to_numpy()
    if len(best) == table.num_rows:
        return table
    newest = np.zeros(table.num_rows, np.bool_)
    newest[best] = True
    return table.filter(pa.array(newest[rank])).combine_chunks()


def _parts(table: pa.Table, keys: list[str], parts: int) -> npt.NDArray[np.int64]:
    """Which part each row belongs to; rows of one entity belong to the same."""
    mixed = np.zeros(table.num_rows, np.uint64)
    for key in keys:
        column = table.column(key)
        hashed = pd.util.hash_array(column.to_numpy(), categorize=False)
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + hashed
    return ((mixed >> np.uint64(HASHED_BITS)) % np.uint64(parts)).astype(np.int64)
