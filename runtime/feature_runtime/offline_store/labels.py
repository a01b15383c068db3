"""A labels file: what a model shall learn, of whom and as of when; parquet (a file or a folder) or CSV, local or on S3.

It is read once: checked, and copied to a local directory, from which everything else is done. So what was checked is
what is joined, though somebody writes the file again meanwhile.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from feast.types import FeastType
from pyarrow.fs import FSSpecHandler, PyFileSystem

from feature_runtime.offline_store.csv_labels import read_csv
from feature_runtime.offline_store.parquet_files import ParquetFiles
from feature_runtime.offline_store.rows import TIME, as_integers, field_column
from feature_runtime.offline_store.source import UNREADABLE, s3_options
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import first_line
from feature_runtime.settings import offline_store_endpoint
from feature_runtime.value_types.arrow_forms import without_nan
from feature_runtime.value_types.columns import arrow_type, as_field, misfit

IPC = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the columns of a labels file must be: join keys and request values with their types, and the time column.

    `taken` are names that no column may have.
    """

    keys: Mapping[str, FeastType]
    requests: Mapping[str, FeastType]
    time: str
    taken: frozenset[str] = frozenset()

    @property
    def typed(self) -> dict[str, FeastType]:
        """Columns of a given type."""
        return {**self.requests, **self.keys}


def open_location(location: str) -> tuple[Any, str]:
    """The file system (fsspec) of a path or an `s3://` URI, and the path in it."""
    filesystem, path = fsspec.url_to_fs(location, **options_of(location))
    return filesystem, str(path)


def options_of(location: str) -> dict[str, Any]:
    """What the file system of a location is opened with."""
    return s3_options(offline_store_endpoint()) if location.startswith("s3://") else {}


@dataclass
class Labels:
    """Labels that were checked: their columns as they were (`schema`), how many, and copies to read them from."""

    schema: pa.Schema
    time: pa.DataType
    expected: Expected
    spooled: Path
    rows: int = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The labels in their order, all columns."""
        with pa.OSFile(str(self.spooled)) as file, pa.ipc.open_stream(file) as stream:
            yield from stream

    def keys(self, unit: str) -> Iterator[pa.RecordBatch]:
        """What is joined on: the join keys (as `field_column`) in their types, and TIME as whole numbers of `unit`.

        Raises:
            Refusal: a time does not fit the unit, or a key its type.
        """
        for batch in self.batches():
            asked = self.asked(batch)
            with self._fitting():
                times = as_integers(batch[self.expected.time], unit)
            yield pa.RecordBatch.from_pydict({TIME: times, **{field_column(name): asked[name] for name in self.expected.keys}})

    def asked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of the labels, its join keys and values of the request as a server knows them: in the contract's types.

        Raises:
            Refusal: a value does not fit its type.
        """
        with self._fitting():
            asked = {name: as_field(batch[name], name, dtype) for name, dtype in self.expected.typed.items()}
        return pa.RecordBatch.from_pydict(dict(zip(batch.schema.names, batch.columns, strict=True)) | asked)

    @contextmanager
    def _fitting(self) -> Iterator[None]:
        try:
            yield
        except pa.ArrowException as error:
            raise Refusal(f"the labels have a value that cannot be asked with: {first_line(error)}.") from None


def read_labels(location: str, expected: Expected, directory: Path) -> Labels:
    """Check a labels file and copy it into a directory.

    Raises:
        Refusal: it cannot be read, or is not what is expected; with every problem of it at once.
    """
    try:
        schema, batches = _open(location, expected, directory)
    except UNREADABLE as error:
        raise Refusal(f"the labels at {location} cannot be read: {first_line(error)}. Name a parquet or CSV file that is there.") from None
    problems = _schema_problems(schema, expected)
    if problems:
        raise _refusal(location, problems)
    labels = Labels(schema=schema, time=schema.field(expected.time).type, expected=expected, spooled=directory / "labels.arrow")
    nulls = dict.fromkeys([*expected.keys, expected.time], 0)
    try:
        with pa.OSFile(str(labels.spooled), "wb") as file, pa.ipc.new_stream(file, schema, options=IPC) as stream:
            for batch in batches:
                stream.write_batch(batch)
                labels.rows += batch.num_rows
                for name in nulls:
                    nulls[name] += without_nan(batch[name]).null_count
    except UNREADABLE as error:
        raise Refusal(f"the labels at {location} cannot be read to their end: {first_line(error)}.") from None
    problems = [f"its column {name!r} is empty in {count} of {labels.rows} rows" for name, count in nulls.items() if count]
    if not labels.rows:
        problems = ["it has no row"]
    if problems:
        raise _refusal(location, problems)
    return labels


def _open(location: str, expected: Expected, directory: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    filesystem, path = open_location(location)
    if path.endswith((".csv", ".csv.gz")):
        if not filesystem.exists(path):
            raise FileNotFoundError("there is no such file")
        arrow = PyFileSystem(FSSpecHandler(filesystem)) if location.startswith("s3://") else None
        # Keys and values of the request are of the contract's types, whatever they look like.
        types = {name: kind for name, dtype in expected.typed.items() if (kind := arrow_type(dtype)) is not None}
        return read_csv(arrow.open_input_stream(path) if arrow else path, types, directory / "labels.text.arrow")
    files = ParquetFiles(location, **options_of(location))
    # Batches do not tell which columns a file calls REQUIRED.
    schema = files.schema(texts={name for name, dtype in expected.typed.items() if str(dtype) == "String"})
    return schema, files.batches(schema)


def _schema_problems(schema: pa.Schema, expected: Expected) -> list[str]:
    problems = []
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        return [f"it has two columns named {', '.join(twice)}"]
    for name, dtype in expected.typed.items():
        what = "a join key" if name in expected.keys else "a value of the request"
        if name not in schema.names:
            problems.append(f"it has no column {name!r} ({what}, {dtype})")
        elif why := misfit(schema.field(name).type, dtype):
            problems.append(
                f"its column {name!r} ({what}) is {schema.field(name).type}, which does not fit {dtype}: {why}. Cast the column"
            )
    if expected.time not in schema.names:
        problems.append(f"it has no column {expected.time!r} (the time of each label; --timestamp names another)")
    else:
        kind = schema.field(expected.time).type
        if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            problems.append(f"its column {expected.time!r} (the time of each label) is {kind}, not a timestamp")
    # A request's value may have the name of what a function makes of it.
    taken = sorted(expected.taken & set(schema.names) - {expected.time} - expected.typed.keys())
    if clash := taken + sorted(expected.taken & {expected.time, *expected.keys}):
        problems.append(f"its columns {', '.join(clash)} have the names of features: rename them")
    return problems


def _refusal(location: str, problems: list[str]) -> Refusal:
    return Refusal(f"the labels at {location} are not what the feature service needs: {'; '.join(problems)}.", problems=problems)
