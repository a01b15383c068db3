"""The source of a feature view: its schema and its rows, read as materialization will read them.

Only files (parquet, local or on S3) are looked into; other kinds of sources are left to Feast.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from feast import FeatureView, FileSource
from feast.data_format import ParquetFormat

from feature_runtime.offline_store.parquet_files import UNKNOWN, File, Misfit, ParquetFiles, common_type, converted
from feature_runtime.offline_store.rows import (
    CREATED,
    TIME,
    Span,
    field_column,
    in_utc,
    moment_of_epoch,
    span_of,
    unit_of,
    whole_numbers,
)
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import first_line
from feature_runtime.settings import CONFIG_FILE, has_aws_role
from feature_runtime.value_types import TYPES
from feature_runtime.value_types.arrow_forms import PER_SECOND, without_nan
from feature_runtime.value_types.columns import arrow_type, as_column, declaration_for, may_not_fit, misfit

# An endpoint that does not answer is an error within a minute, not after botocore's five.
S3_CLIENT = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 3, "mode": "standard"}}


def s3_options(endpoint: str | None) -> dict[str, Any]:
    """What the file system of S3 is opened with; `endpoint` is that of another store that speaks S3."""
    options: dict[str, Any] = {"config_kwargs": S3_CLIENT, "use_listings_cache": False}
    return options | ({"client_kwargs": {"endpoint_url": endpoint}} if endpoint else {})


@dataclass
class LeftOut:
    """Rows that belong to no entity or to no moment, and are left out."""

    without_key: int = 0
    """Rows of the span whose join key is null."""
    without_time: int = 0
    """Rows of the whole source whose event timestamp is null."""

    def warn(self, verb: str, view: str) -> None:
        """Say so, if there are any."""
        if self.without_key or self.without_time:
            say(
                f"{verb}: warning: {view}: {self.without_key + self.without_time} rows are left out: {self.without_key} without join key, "
                f"{self.without_time} without event timestamp. Correct them in the source."
            )


class ViewSource:
    """The files that one feature view is loaded from."""

    def __init__(self, view: FeatureView, repo: Path) -> None:
        source = view.batch_source
        assert isinstance(source, FileSource)
        self._view = view
        self._source = source
        self.uri = FileSource.get_uri_for_file_path(repo, source.path)
        # Feast maps column to feature; to find a feature's column is the other way round. Times and keys are mapped too.
        self._columns = {feature: column for column, feature in source.field_mapping.items()}
        self._event = self.column(source.timestamp_field)
        self._created = self.column(source.created_timestamp_column) if source.created_timestamp_column else ""
        self._dtypes = {field.name: field.dtype for field in [*view.entity_columns, *view.features]}

    @staticmethod
    def readable(view: FeatureView) -> bool:
        """Whether this view's source is a file that can be looked into."""
        source = view.batch_source
        return isinstance(source, FileSource) and isinstance(source.file_format, ParquetFormat | None)

    @cached_property
    def files(self) -> ParquetFiles:
        """The files as they are now: opened once, so that all passes see the same.

        Raises:
            Refusal: not there, not allowed, no Parquet, or the store does not answer.
        """
        options = s3_options(self._source.s3_endpoint_override) if self.uri.startswith("s3://") else {}
        deadline = time.monotonic() + (NEW_RIGHT_SECONDS if has_aws_role() else 0)
        while True:
            try:
                return ParquetFiles(self.uri, moments=self._event, **options)
            except UNREADABLE as error:
                if not isinstance(error, PermissionError) or time.monotonic() > deadline:
                    raise self.refusal(error) from None
                say(f"the source {self._source.name!r} may not be read yet: {first_line(error)}; trying again")
                time.sleep(PAUSE_SECONDS)

    def problems(self) -> list[str]:
        """What the view asks for and the files do not have, one line per column and type.

        Raises:
            Refusal: the files cannot be read.
        """
        problems = []
        moments = {self._source.timestamp_field: "the event timestamp", self._source.created_timestamp_column: "the created timestamp"}
        for name, purpose in moments.items():
            if name:
                problems += self._wrong(name, purpose, _no_timestamp)
        for name, dtype in self._dtypes.items():
            wrong = self._wrong(name, f"field {name!r}, {dtype}", partial(misfit, dtype=dtype))
            if not wrong:
                try:
                    self._kind(name)
                except pa.ArrowInvalid as error:
                    wrong = [str(error)]
            problems += wrong
        return problems

    def _wrong(self, name: str, purpose: str, why_not: Callable[[pa.DataType], str]) -> list[str]:
        """What is wrong with the column of a field or a time: not there, or of other types than those that are accepted."""
        column, kinds = self.column(name), self._kinds(name)
        is_field = name in self._dtypes
        if not kinds:
            other = "take the field out" if is_field else "name another column in the source"
            return [f"it has no column {column!r} ({purpose}): add it to the data first, or {other}"]
        return [
            f"its column {column!r} ({purpose}) is {kind}{_in_file(path) if len(kinds) > 1 else ''}: {why}. "
            f"{_remedy(kind) if is_field else 'Cast the column, or name another in the source'}"
            for kind, path in kinds.items()
            if not pa.types.is_null(kind) and (why := why_not(kind))
        ]

    def _kinds(self, name: str) -> dict[pa.DataType, str]:
        """The types that a field's column has, and of each in which file."""
        return self.files.kinds(self.column(name), text=str(self._dtypes.get(name)) == "String")

    def _kind(self, name: str) -> pa.DataType:
        """The one type of a field's column in batches: what all files have; where they differ, that of the field's values.

        Raises:
            pa.ArrowInvalid: there is none that holds all.
        """
        kinds = [kind for kind in self._kinds(name) if not pa.types.is_null(kind)]
        if len(kinds) == 1:
            return kinds[0]
        own = arrow_type(self._dtypes[name])
        return own or (common_type(self.column(name), self._kinds(name)) if kinds else pa.string())

    def _doubtful(self, name: str) -> bool:
        """Whether a value may not fit its field: then the first that does not is named with its file, as it is read."""
        return any(may_not_fit(kind, self._dtypes[name]) for kind in self._kinds(name))

    def column(self, field: str) -> str:
        """The column that holds a field, a join key or a time."""
        return str(self._columns.get(field, field))

    @cached_property
    def unit(self) -> str:
        """The unit of the times in `rows`: the finest of the files', and microseconds at least."""
        return unit_of(*(kind for column in (self._event, self._created) if column for kind in self.files.kinds(column)))

    def planned(self, span: Span) -> int:
        """How many rows will be read for a span, those of the same row groups included."""
        return int(sum(file.groups.rows[file.groups.within(span)].sum() for file in self.files.files))

    def rows(self, span: Span, names: Sequence[str], *, served: bool, left_out: LeftOut | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of a span in their order: TIME and CREATED (if the source has it) in UTC and in `unit`, `names` as `field_column`.

        Rows without one of the join keys among `names`, or without a time, are left out. Join keys are as the online store
        holds them: what is one key there is one here. So are the values of other fields when `served`, where files have
        them in different types, and where their type does not tell that they fit; else they are of the type that all files have.

        Raises:
            Refusal: a file cannot be read, or a value does not fit its field's type.
        """
        counted = left_out if left_out is not None else LeftOut()
        columns = {name: self.column(name) for name in names}
        entity = {key.name for key in self._view.entity_columns if key.name in columns}
        keys = {columns[name] for name in entity}
        formed = {name: arrow_type(self._dtypes[name]) if served or name in entity or self._doubtful(name) else None for name in names}
        kinds = {name: formed[name] or self._kind(name) for name in names}
        wanted = list(dict.fromkeys([self._event, *filter(None, [self._created]), *columns.values()]))
        for file in self.files.files:
            groups = file.groups
            chosen = groups.within(span)
            told = UNKNOWN not in groups.nulls[chosen]
            counted.without_time += int(groups.nulls[groups.nulls != UNKNOWN if told else ~chosen].sum())
            try:
                for batch in self.files.read(file, chosen, wanted, threads=served):
                    times = batch.column(self._event)
                    if not told:
                        counted.without_time += times.null_count
                    rows = _usable(batch, _within(times, *span.within(times.type.unit)), keys, counted)
                    if not rows.num_rows:
                        continue
                    made = {TIME: in_utc(rows.column(self._event), self.unit)}
                    if self._created:
                        made[CREATED] = in_utc(rows.column(self._created), self.unit)
                    for name, column in columns.items():
                        made[field_column(name)] = self._values(
                            rows.column(column), name, kinds[name], file, formed=formed[name] is not None
                        )
                    yield pa.RecordBatch.from_pydict(made)
            except UNREADABLE as error:
                raise self.refusal(error) from None

    def _values(self, values: pa.Array, name: str, kind: pa.DataType, file: File, *, formed: bool) -> pa.Array:
        if pa.types.is_null(values.type):
            values = pa.nulls(len(values), kind)
        if values.type == kind and not formed:
            return values
        dtype = self._dtypes[name]

        def convert(some: pa.Array) -> pa.Array:
            made = as_column(some, dtype) if arrow_type(dtype) is not None else some
            # Moments of several zones are told in UTC.
            return made if made.type == kind else pc.cast(made, kind)

        try:
            return converted(values, convert)
        except Misfit as odd:
            raise Refusal(
                f"the source {self._source.name!r} has a value that does not fit its field: {file.path}, column {self.column(name)!r}, "
                f"field {name!r} ({dtype}): {odd}. Correct the value, or {_declare(values.type)}"
            ) from None

    def newest_time(self, at: datetime) -> datetime | None:
        """The greatest event timestamp up to `at`; None when there is no row. What the footers say is not read again."""
        span = span_of(None, at)
        newest: int | None = None
        try:
            for file in self.files.files:
                groups = file.groups
                _, limit = span.within(groups.unit)
                told = (groups.nulls != UNKNOWN) & (groups.last <= limit)
                moments = groups.last[told & (groups.last >= groups.first)].tolist()
                for batch in self.files.read(file, groups.within(span) & ~told, [self._event]):
                    times = whole_numbers(batch.column(self._event))
                    found = pc.max(times.filter(pc.less_equal(times, limit))).as_py()
                    moments += [] if found is None else [found]
                scale = PER_SECOND["ns"] // PER_SECOND[groups.unit]
                newest = max([*(moment * scale for moment in moments), *([] if newest is None else [newest])], default=None)
        except UNREADABLE as error:
            raise self.refusal(error) from None
        return None if newest is None else moment_of_epoch(newest // 1_000)

    def refusal(self, error: BaseException) -> Refusal:
        """What went wrong while the source was read, and the remedy."""
        name = self._source.name
        if isinstance(error, FileNotFoundError):
            return Refusal(f"the source {name!r} has {error}. Put the data there, or correct the source's path.")
        if isinstance(error, PermissionError | NoCredentialsError):
            return Refusal(
                f"the source {name!r} at {self.uri} may not be read: {first_line(error)}. "
                "Give this pod's identity read access to the bucket."
            )
        return Refusal(
            f"the source {name!r} at {self.uri} cannot be read: {first_line(error)}. "
            "It must be a parquet file that this pod can reach and read."
        )


NEW_RIGHT_SECONDS = 40
"""How long AWS may take to know a new right of a role everywhere; it says seconds."""

PAUSE_SECONDS = 4

UNREADABLE = (OSError, pa.ArrowException, BotoCoreError, ClientError)


def source_problems(views: Iterable[FeatureView], repo: Path) -> list[tuple[str, str, str]]:
    """(view, its source's address, what that lacks), for every source that can be looked into."""
    return [problem for view in views for problem in _problems_of(view, repo, opened(view, repo))]


def opened(view: FeatureView, repo: Path) -> ViewSource | None:
    """A view's source, if it can be looked into."""
    return ViewSource(view, repo) if ViewSource.readable(view) else None


def _problems_of(view: FeatureView, repo: Path, source: ViewSource | None) -> list[tuple[str, str, str]]:
    address = source.uri if source else view.batch_source.name if view.batch_source else "none"
    problems = source.problems() if source else [not_loaded(view, repo)]
    return [(view.name, address, problem) for problem in [*problems, *_keyless(view)] if problem]


def _keyless(view: FeatureView) -> Iterator[str]:
    """Join keys that the online store could not be asked by."""
    for column in view.entity_columns if view.online else ():
        row = TYPES.get(str(column.dtype))
        if row is None or row.key is None:
            known = ", ".join(sorted(row.name for row in TYPES.values() if row.key))
            yield f"the join key {column.name!r} is a {column.dtype}, which Feast cannot make keys of. Declare one of {known}"


OF_FILES = ("file", "dask", "duckdb")
"""Feast's offline stores that read files and nothing else."""


def not_loaded(view: FeatureView, repo: Path) -> str:
    """Why nothing could load a view whose source is not looked into; empty where the offline store may."""
    source, store = view.batch_source, _offline_store(repo)
    if not (view.online and view.enabled) or store not in OF_FILES:
        return ""
    remedy = "Write its rows to parquet files and declare a FileSource of them, or set online=False"
    if source is None:
        return f"it has no batch source that could be loaded. {remedy}"
    if not isinstance(source, FileSource):
        return f"it is a {type(source).__name__}, which the offline store {store!r} cannot read. {remedy}"
    return "" if store == "duckdb" else f"its files are of {type(source.file_format).__name__}, and only parquet files are read. {remedy}"


def _offline_store(repo: Path) -> str:
    try:
        said = (yaml.safe_load((repo / CONFIG_FILE).read_text()) or {}).get("offline_store") or OF_FILES[0]
    except (OSError, yaml.YAMLError, AttributeError):
        return ""
    return str(said.get("type", OF_FILES[0]) if isinstance(said, dict) else said)


def check_sources(views: Iterable[FeatureView], repo: Path) -> None:
    """Refuse views whose source lacks a column or has it in another type; every problem of every view at once."""
    _refuse(source_problems(views, repo))


def checked_source(view: FeatureView, repo: Path) -> ViewSource | None:
    """A view's source after `check_sources` of it; its files are listed once."""
    source = opened(view, repo)
    _refuse(_problems_of(view, repo, source))
    return source


def _refuse(found: Iterable[tuple[str, str, str]]) -> None:
    problems = [f"feature view {name!r}, source {uri}: {problem}" for name, uri, problem in found]
    if problems:
        raise Refusal(
            f"the source does not have what the definitions ask for: {'; '.join(problems)}.",
            problems=problems,
        )


def _declare(kind: pa.DataType) -> str:
    declared = declaration_for(kind)
    return f"declare {declared}." if declared else "give the field a type that holds it."


def _remedy(kind: pa.DataType) -> str:
    declared = declaration_for(kind)
    return f"Declare {declared}, or cast the column" if declared else "Cast the column"


def _no_timestamp(kind: pa.DataType) -> str:
    return "" if pa.types.is_timestamp(kind) else "it must be a timestamp"


def _in_file(path: str) -> str:
    return f" in {path.rpartition('/')[2]}"


def _within(times: pa.Array, first: int, last: int) -> pa.Array | None:
    """Which of the times lie between the two; None when all do."""
    numbers = whole_numbers(times)
    found = pc.min_max(numbers).as_py()
    if not times.null_count and found["min"] is not None and first <= found["min"] and found["max"] <= last:
        return None
    return pc.fill_null(pc.and_(pc.greater_equal(numbers, first), pc.less_equal(numbers, last)), fill_value=False)


def _usable(batch: pa.RecordBatch, wanted: pa.Array | None, keys: Iterable[str], left_out: LeftOut) -> pa.RecordBatch:
    """The wanted rows that have all keys; the others of them are counted."""
    rows = batch if wanted is None else batch.filter(wanted)
    for key in keys:
        known = without_nan(rows.column(key))
        if known.null_count:
            left_out.without_key += known.null_count
            rows = rows.filter(known.is_valid())
    return rows
