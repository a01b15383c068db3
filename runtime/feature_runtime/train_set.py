"""Write the vectors that a model is trained on: labels in, with every label what a server would have answered then.

One row for each label, in the labels' order: the label columns as they are, then the features of the service in the
contract's order and types. The file says which contract it was made by (`CONTRACT_KEY` in its metadata), so that the
model can say it too, and a server with another contract is refused. A file is there whole or not at all.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_runtime import contract
from feature_runtime.definitions.feature_repo import Definitions, load_definitions
from feature_runtime.offline_store.joined_view import JoinedView, joined_views, time_column, time_unit
from feature_runtime.offline_store.labels import Expected, Labels, open_location, read_labels
from feature_runtime.offline_store.point_in_time import JoinSettings, join
from feature_runtime.offline_store.source import UNREADABLE, check_sources
from feature_runtime.offline_store.vector import Vector, vector_of, vector_of_features
from feature_runtime.offline_store.vector_values import values
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import first_line
from feature_runtime.settings import feature_repo_directory
from feature_runtime.value_types.columns import arrow_type

CONTRACT_KEY = "feature_contract"
SECONDS_BETWEEN_LINES = 5
LEAST_MEMORY_MIB = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which service, which labels, and where to."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--service", help="the feature service that the model will be served by")
    what.add_argument(
        "--features", nargs="+", metavar="VIEW:FEATURE", help="features, in the order of the columns, where no service lists them"
    )
    parser.add_argument("--full-feature-names", action="store_true", help="with --features: columns are called VIEW__FEATURE")
    parser.add_argument("--labels", required=True, metavar="PATH", help="parquet (file or folder) or CSV, local or s3://")
    parser.add_argument("--output", required=True, metavar="PATH", help="the parquet file to write, local or s3://")
    parser.add_argument("--timestamp", default="event_timestamp", metavar="COLUMN", help="the time of a label (event_timestamp)")
    parser.add_argument("--memory-mib", type=_memory, default=512, metavar="MIB", help="for the join; more than that spills (512)")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Join and write; the result says what is in the file, and how much of it is empty."""
    started = time.monotonic()
    repo = feature_repo_directory()
    locked = contract.read(repo)
    vector = _vector_of(arguments, locked, load_definitions(repo))
    check_sources([part.view for part in vector.parts], repo)
    names = vector.names
    expected = Expected(keys=vector.keys, requests=vector.requests, time=arguments.timestamp, taken=frozenset(names))
    filesystem, path, problem = _output(arguments.output, overwrite=arguments.overwrite)
    with tempfile.TemporaryDirectory(prefix="train-set-") as directory:
        labels = _labels(arguments.labels, expected, Path(directory), problem)
        say(f"train-set: {labels.rows} labels; joining {', '.join(part.name for part in vector.parts)}")
        schema = _schema(labels, vector, locked)
        counted = _Counted(vector)
        with _written(filesystem, path, directory, schema) as write:
            views = joined_views(vector.parts, repo)
            for table in counted.of(_vectors(labels, vector, views, arguments.memory_mib)):
                write(table.cast(schema))
        if counted.rows != labels.rows:
            raise AssertionError(f"{labels.rows} labels went in, {counted.rows} rows came out")
    for view in views:
        view.history.left_out.warn("train-set", view.name)
    return {
        "service": arguments.service,
        "sha256": vector.sha256,
        "output": arguments.output,
        "rows": labels.rows,
        "features": len(names),
        "nulls": counted.nulls,
        "labels_without_a_row": counted.without,
        "labels_without_any_row": counted.without_any,
        "rows_without_key": {view.name: view.history.left_out.without_key for view in views},
        "rows_without_time": {view.name: view.history.left_out.without_time for view in views},
        "seconds": round(time.monotonic() - started, 1),
    }


def _vector_of(arguments: argparse.Namespace, locked: contract.Contract, definitions: Definitions) -> Vector:
    if arguments.features:
        return vector_of_features(arguments.features, definitions, full_names=arguments.full_feature_names)
    if arguments.full_feature_names:
        raise Refusal(
            "--full-feature-names goes with --features: the contract says how the columns of a feature service are called. Leave it out."
        )
    return vector_of(arguments.service, locked, definitions)


def _labels(location: str, expected: Expected, directory: Path, problem: str) -> Labels:
    """The labels; what is wrong with them is said together with what is wrong already."""
    try:
        labels = read_labels(location, expected, directory)
    except Refusal as refusal:
        if not problem:
            raise
        problems = [problem, *refusal.details.get("problems", [str(refusal)])]
        raise Refusal(f"{problem} And {refusal}", problems=problems) from None
    if problem:
        raise Refusal(problem, problems=[problem])
    return labels


def _vectors(labels: Labels, vector: Vector, views: list[JoinedView], memory_mib: int) -> Iterator[tuple[pa.Table, pa.RecordBatch]]:
    """For every stretch of labels its rows of the file, and what the join said."""
    unit = time_unit(labels.time, views)
    joined = join(labels.keys(unit), views, JoinSettings(memory_mib=memory_mib, unit=unit))
    # What a function made of a value of the request takes its place.
    names = vector.names
    kept = [name for name in labels.schema.names if name not in names]
    for own, found in _side_by_side(labels.batches(), joined):
        columns = values(vector, labels.asked(own), found)
        yield pa.Table.from_arrays([*(own[name] for name in kept), *columns], [*kept, *names]), found


def _side_by_side(left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """Two streams of as many rows, cut into pieces of the same rows."""
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        count = min(one.num_rows, other.num_rows)
        if count:
            yield one.slice(0, count), other.slice(0, count)
        one = one.slice(count) if count < one.num_rows else next(left, None)
        other = other.slice(count) if count < other.num_rows else next(right, None)


def _schema(labels: Labels, vector: Vector, locked: contract.Contract) -> pa.Schema:
    names = vector.names
    own = [field for field in labels.schema if field.name not in names]
    features = []
    for name, feature in zip(names, vector.features, strict=True):
        kind = arrow_type(vector.dtypes[feature])
        if kind is None:
            raise Refusal(f"the feature {name} is a {vector.dtypes[feature]}, which a file of vectors cannot hold. Leave it out.")
        features.append(pa.field(name, kind))
    described = {
        "project": locked["project"],
        **({"feature_service": vector.service} if vector.service else {}),
        "sha256": vector.sha256,
        "features": [[view, name, str(vector.dtypes[view, name])] for view, name in vector.features],
        **({"full_feature_names": True} if vector.full_names else {}),
        "definitions_sha256": locked["definitions_sha256"],
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return pa.schema([*own, *features], metadata={CONTRACT_KEY: json.dumps(described)})


class _Counted:
    """Counts what is empty in the rows that pass."""

    def __init__(self, vector: Vector) -> None:
        self._vector = vector
        self.rows = 0
        self.nulls = dict.fromkeys(vector.names, 0)
        self.without = {part.name: 0 for part in vector.parts}
        self.without_any = 0

    def of(self, rows: Iterator[tuple[pa.Table, pa.RecordBatch]]) -> Iterator[pa.Table]:
        said = time.monotonic()
        for table, found in rows:
            self.rows += table.num_rows
            for name in self.nulls:
                self.nulls[name] += table[name].null_count
            times = {part.name: found[time_column(part.name)] for part in self._vector.parts}
            for name, column in times.items():
                self.without[name] += column.null_count
            nothing = [pc.is_null(column).to_numpy(zero_copy_only=False) for column in times.values()]
            self.without_any += int(np.logical_and.reduce(nothing).sum()) if nothing else 0
            yield table
            if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                say(f"train-set: {self.rows} rows written")


def _output(location: str, *, overwrite: bool) -> tuple[Any, str, str]:
    """The file system and the path of the output, and why nothing may be written there (empty: it may)."""
    filesystem, path = open_location(location)
    problem = ""
    try:
        if filesystem.isdir(path):
            problem = f"the output {location} is a folder. Name a file."
        elif filesystem.exists(path) and not overwrite:
            problem = f"the output {location} is there already. Name another, or add --overwrite."
        elif not location.startswith("s3://") and not Path(path).parent.is_dir():
            problem = f"the output {location} lies in a folder that is not there. Make {Path(path).parent}."
    except UNREADABLE as error:
        problem = f"the output {location} cannot be reached: {first_line(error)}."
    return filesystem, path, problem


@contextmanager
def _written(filesystem: Any, path: str, directory: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Writes tables to a file, which takes its place only when everything is in it."""
    remote = "s3" in filesystem.protocol
    unfinished = Path(directory, "output.parquet") if remote else Path(path).with_name(f".{Path(path).name}.{os.getpid()}")

    def write(table: pa.Table) -> None:
        with _writing(path):
            writer.write_table(table)

    try:
        with _writing(path):
            writer = pq.ParquetWriter(str(unfinished), schema, compression="zstd")
        try:
            yield write
        except BaseException:
            with suppress(*UNREADABLE):
                writer.close()
            raise
        with _writing(path):
            writer.close()
            if remote:
                # An object is there only after its upload is complete.
                filesystem.put_file(str(unfinished), path)
            else:
                unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise Refusal(f"the output {path} cannot be written: {first_line(error)}.") from None


def _memory(text: str) -> int:
    mib = int(text)
    if mib < LEAST_MEMORY_MIB:
        raise argparse.ArgumentTypeError(f"must be at least {LEAST_MEMORY_MIB}")
    return mib
