"""The Parquet files of one address, read as one table: the only place where files of history are opened.

An address is a file, a folder (with the folders in it) or a pattern such as `sales/*.parquet`, on a local disk or on S3;
what is really called like a pattern is taken as it is. Hidden files (`_SUCCESS`, `.part.crc`), folder markers and what
is no Parquet file are passed over. Files come in the order of their paths. A column that one of them does not have is
null in its rows, unless a folder of its path gives the value (`country=de`, as Hive writes it).

Of a file no more is remembered than its columns and, for each row group, between which times its rows lie; one file is
open at a time. So memory does not grow with files, row groups or columns.
"""

import bisect
import glob
import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from urllib.parse import unquote

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_runtime.offline_store.rows import LEAST, MOST, Span
from feature_runtime.retrying import first_line
from feature_runtime.value_types.arrow_forms import PER_SECOND

BATCH_ROWS = 32_768
READ_BYTES = 4 << 20
"""What is read ahead of all columns of a local file together."""
WHOLE_BYTES = 32 << 20
"""Row groups of a remote file that are fetched together; a larger one comes in pieces of SMALL_BYTES."""
SMALL_BYTES = 1 << 20
"""A remote file up to this size is fetched whole."""
AT_ONCE = 8
"""Footers of remote files that are fetched side by side."""
KNOWN = 20_000
"""Files whose footers are remembered; about 1 KB each."""

SUFFIXES = (".parquet", ".parq", ".pq")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
UNKNOWN = -1
VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


@dataclass(frozen=True, kw_only=True)
class Groups:
    """A file's row groups: their rows, how many of them have no time (or UNKNOWN), and their first and last time, in `unit`."""

    unit: str
    rows: npt.NDArray[np.int64]
    nulls: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]

    def within(self, span: Span) -> npt.NDArray[np.bool_]:
        """Which of them have to be read for the rows of a span: also those of which no statistics tell anything."""
        first, last = span.within(self.unit)
        return np.asarray((self.nulls == UNKNOWN) | ((self.first <= last) & (self.last >= first)), np.bool_)


@dataclass(frozen=True, kw_only=True)
class File:
    """A file, its columns, and what its footer says of its row groups."""

    path: str
    size: int
    schema: pa.Schema
    groups: Groups

    @cached_property
    def folders(self) -> dict[str, str | None]:
        """The values that folders of the path give, by column."""
        parts = [part.partition("=") for part in self.path.split("/")[:-1] if "=" in part]
        return {unquote(name): None if value == NO_VALUE else unquote(value) for name, _, value in parts if name}

    def kind(self, column: str) -> pa.DataType | None:
        """The type of a column's values; None where the file itself does not have it."""
        place = self.schema.get_field_index(column)
        return None if place < 0 else plain(self.schema.field(place).type)


class ParquetFiles:
    """The files of one address; `moments` is the column whose times tell which row groups must be read.

    Raises:
        FileNotFoundError: nothing is there, or no Parquet file in the folder; says so.
        pa.ArrowInvalid: a file is not the Parquet that its name says; names it.
        OSError, and what the store's client raises: not allowed, or the store does not answer.
    """

    def __init__(self, address: str, *, moments: str = "", **options: Any) -> None:
        self._filesystem, path = fsspec.url_to_fs(address, **options)
        self._local = "file" in self._filesystem.protocol
        self._moments = moments
        self._place = (address.partition("://")[0], json.dumps(options, sort_keys=True), moments)
        try:
            found = sorted(self._found(str(path)))
        except FileNotFoundError:
            raise FileNotFoundError(f"no file at {address}") from None
        if self._local:
            files = [self._file(*one) for one in found]
        else:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                files = list(pool.map(lambda one: self._file(*one), found))
        self.files = [file for file in files if file is not None]
        if not self.files:
            raise FileNotFoundError(f"no Parquet file in {address}")

    def read(self, file: File, chosen: npt.NDArray[np.bool_], columns: Sequence[str], *, threads: bool = False) -> Iterator[pa.RecordBatch]:
        """The rows of some row groups in the file's own types; of a column that it does not have, what its folders say, else nulls.

        Raises:
            OSError, pa.ArrowException: the file cannot be read, or was changed meanwhile.
        """
        groups = np.flatnonzero(chosen).tolist()
        if not groups:
            return
        there = [column for column in columns if file.kind(column) is not None]
        with self._open(file.path, file.size, whole=True) as source:
            parquet = pq.ParquetFile(source, **_options(len(columns)))
            metadata = parquet.metadata
            if metadata.num_row_groups != len(chosen):
                raise OSError(f"{file.path} was changed while it was read: run it again")
            for some, together in [(groups, False)] if self._local else _pieces(metadata, groups, there):
                if not self._local:
                    parquet = pq.ParquetFile(source, metadata=metadata, **_options(1, together=together))
                for batch in parquet.iter_batches(BATCH_ROWS, row_groups=some, columns=there, use_threads=threads):
                    arrays = [_column(file, batch, column) for column in columns]
                    yield pa.RecordBatch.from_arrays(arrays, list(columns))

    def kinds(self, column: str, *, text: bool = False) -> dict[pa.DataType, str]:
        """The types that a column has in the files, and of each in which file; a folder's name is a whole number, or `text`."""
        kinds: dict[pa.DataType, str] = {}
        for file in self.files:
            kind = file.kind(column)
            if kind is None and column in file.folders:
                kind = pa.string() if text else self._folder_kind(column)
            if kind is not None:
                kinds.setdefault(kind, file.path)
        return kinds

    def schema(self, texts: Container[str] = ()) -> pa.Schema:
        """All columns of all files, each of a type that can hold the values of every file; `texts` are folders that are text.

        Raises:
            pa.ArrowInvalid: a column has types of which no other holds the values of all; names files.
        """
        names: dict[str, None] = {}
        for file in self.files:
            if len(set(file.schema.names)) < len(file.schema.names):
                return file.schema
            names |= dict.fromkeys([*file.schema.names, *file.folders])
        return pa.schema([(name, common_type(name, self.kinds(name, text=name in texts))) for name in names])

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """All rows, in the types of `schema`.

        Raises:
            pa.ArrowInvalid: a value does not fit; names file, column and value.
        """
        for file in self.files:
            for batch in self.read(file, np.ones(len(file.groups.rows), np.bool_), schema.names):
                arrays = []
                for field in schema:
                    try:
                        arrays.append(converted(batch.column(field.name), partial(_cast, kind=field.type)))
                    except Misfit as misfit:
                        raise pa.ArrowInvalid(f"{file.path}, column {field.name!r}: {misfit}") from None
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _folder_kind(self, column: str) -> pa.DataType:
        """The type of what the folders' names give, as Arrow takes it: a whole number if all are, else text."""
        values = pa.array({file.folders.get(column) for file in self.files}, pa.string())
        for kind in (pa.int32(), pa.int64()):
            with suppress(pa.ArrowInvalid):
                values.cast(kind)
                return kind
        return pa.string()

    def _found(self, path: str) -> Iterator[tuple[str, int, Any, bool]]:
        """(path, size, what changes when the file does, whether it must be Parquet) of what may be a file of ours."""
        base = path
        try:
            there = self._filesystem.info(path)
        except FileNotFoundError:
            matches = self._filesystem.glob(path, detail=True) if glob.has_magic(path) else {}
            if not matches:
                raise
            for folder in [name for name, match in matches.items() if match["type"] == "directory"]:
                matches |= self._filesystem.find(folder, detail=True)
            base = re.split(r"[*?\[]", path, maxsplit=1)[0].rpartition("/")[0]
        else:
            # A folder of S3 may be an object as well, without a byte.
            if there["type"] != "directory" and (there["size"] or self._local):
                yield path, there["size"], _identity(there), True
                return
            matches = self._filesystem.find(path, detail=True)
        names = sorted(matches)
        for name in names:
            match, must = matches[name], name.endswith(SUFFIXES)
            if match["type"] == "directory" or name.endswith("/") or _hidden(name[len(base) :]):
                continue
            if match["size"] or (must and not _has_files(name, names)):
                yield name, match["size"], _identity(match), must

    def _file(self, path: str, size: int, identity: Any, must: bool) -> File | None:
        """The file as its footer describes it; None if it is no Parquet and need not be."""
        key = (*self._place, path, size, identity)
        if (known := _known.get(key)) is not None:
            return known
        try:
            with self._open(path, size, whole=False) as source:
                file = _described(path, size, pq.ParquetFile(source, coerce_int96_timestamp_unit="us"), self._moments)
        except pa.ArrowInvalid as error:
            if must:
                raise pa.ArrowInvalid(f"{path}: {error}") from None
            return None
        if identity is not None:
            while len(_known) >= KNOWN:
                _known.pop(next(iter(_known)), None)
            _known[key] = file
        return file

    @contextmanager
    def _open(self, path: str, size: int, *, whole: bool) -> Iterator[Any]:
        try:
            if self._local:
                with pa.OSFile(path) as file:
                    yield file
            elif whole and size <= SMALL_BYTES:
                yield pa.BufferReader(self._filesystem.cat_file(path))
            else:
                # The size is known from the listing, and nothing is fetched that nobody asked for.
                options = {"size": size} if "s3" in self._filesystem.protocol else {}
                with self._filesystem.open(path, "rb", cache_type="none", **options) as file:
                    yield pa.PythonFile(file, mode="r")
        except FileNotFoundError:
            raise OSError(f"{path} was removed while it was read: run it again") from None


def _options(columns: int, *, together: bool = False) -> dict[str, Any]:
    """How so many columns are read: fetched `together`, or each in pieces."""
    pieces = max(1 << 16, min(SMALL_BYTES, READ_BYTES // max(1, columns)))
    return {"coerce_int96_timestamp_unit": "us", "pre_buffer": together, "buffer_size": 0 if together else pieces}


def _pieces(metadata: pq.FileMetaData, groups: list[int], columns: Sequence[str]) -> Iterator[tuple[list[int], bool]]:
    """Row groups of a remote file that are read in one go, and whether they are fetched together."""
    wanted = [place for path, place in _leaves(metadata).items() if any(f"{path}.".startswith(f"{column}.") for column in columns)]
    some: list[int] = []
    size = 0
    for group in groups:
        row_group = metadata.row_group(group)
        own = sum(row_group.column(place).total_compressed_size for place in wanted)
        if some and size + own > WHOLE_BYTES:
            yield some, True
            some, size = [], 0
        if own > WHOLE_BYTES:
            yield [group], False
        else:
            some.append(group)
            size += own
    if some:
        yield some, True


_known: dict[Any, File] = {}
"""Files whose footers were read, oldest first: a file that is the same has the same."""

_schemas: dict[pa.Schema, pa.Schema] = {}


def plain(kind: pa.DataType) -> pa.DataType:
    """A type without its dictionary, and not a view: Arrow cannot pick rows of these."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return VIEWS.get(kind, kind)


def common_type(column: str, kinds: Mapping[pa.DataType, str]) -> pa.DataType:
    """A type that can hold the values of columns of all these types; of each, in which file it is.

    Raises:
        pa.ArrowInvalid: there is none.
    """
    some = [kind for kind in kinds if not pa.types.is_null(kind)]
    if not some:
        return pa.null()
    if all(pa.types.is_timestamp(kind) for kind in some):
        zones = {kind.tz for kind in some}
        return pa.timestamp(max((kind.unit for kind in some), key=PER_SECOND.__getitem__), zones.pop() if len(zones) == 1 else "UTC")
    try:
        return pa.unify_schemas([pa.schema([("", kind)]) for kind in some], promote_options="permissive").field(0).type
    except pa.ArrowException:
        found = " and ".join(f"{kind} in {path.rpartition('/')[2]}" for kind, path in kinds.items())
        raise pa.ArrowInvalid(f"the column {column!r} is {found}, and no type holds both") from None


class Misfit(Exception):
    """A value that cannot be converted, and why."""


def converted(values: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Values converted all at once.

    Raises:
        Misfit: one cannot be; names the first.
    """
    try:
        return convert(values)
    except pa.ArrowException as error:
        if len(values) == 1:
            raise Misfit(f"{values[0].as_py()!r} ({first_line(error)})") from None
    half = len(values) // 2
    converted(values.slice(0, half), convert)
    return converted(values.slice(half), convert)


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(values.type) and pa.types.is_timestamp(kind):
        # Without a zone a time is in UTC; what counts is the same whole number.
        values = values.view(pa.timestamp(values.type.unit, kind.tz))
    return values.cast(kind)


def _identity(information: dict[str, Any]) -> Any:
    """What tells a file from another one of its path and size; None if nothing does."""
    if "mtime" in information:
        return information["mtime"], information.get("ino")
    changed = information.get("LastModified")
    return information.get("ETag") or (str(changed) if changed else None)


def _hidden(path: str) -> bool:
    return any(part.startswith(("_", ".")) and "=" not in part for part in path.split("/"))


def _has_files(name: str, names: Sequence[str]) -> bool:
    """Whether other names lie below this one, as in a folder."""
    after = bisect.bisect_left(names, f"{name}/")
    return after < len(names) and names[after].startswith(f"{name}/")


def _column(file: File, batch: pa.RecordBatch, column: str) -> pa.Array:
    place = batch.schema.get_field_index(column)
    if place < 0:
        value = file.folders.get(column)
        return pa.nulls(batch.num_rows) if value is None else pa.repeat(pa.scalar(value), batch.num_rows)
    found = batch.column(place)
    found = found.dictionary_decode() if pa.types.is_dictionary(found.type) else found
    return found if found.type not in VIEWS else found.cast(VIEWS[found.type])


def _described(path: str, size: int, parquet: pq.ParquetFile, moments: str) -> File:
    # Most files of a folder have the same columns.
    schema = parquet.schema_arrow.remove_metadata()
    schema = _schemas.setdefault(schema, schema)
    return File(path=path, size=size, schema=schema, groups=_groups(parquet.metadata, schema, moments))


def _leaves(metadata: pq.FileMetaData) -> dict[str, int]:
    """The columns as a footer numbers them, parts of nested ones each by itself, by their paths."""
    # Not by way of its schema: the two hold each other, and nothing of them is freed for long.
    if not metadata.num_row_groups:
        return {}
    group = metadata.row_group(0)
    return {group.column(number).path_in_schema: number for number in range(metadata.num_columns)}


def _groups(metadata: pq.FileMetaData, schema: pa.Schema, moments: str) -> Groups:
    count = metadata.num_row_groups
    row_groups = [metadata.row_group(number) for number in range(count)]
    rows = np.array([group.num_rows for group in row_groups], np.int64)
    place = schema.get_field_index(moments)
    kind = schema.field(place).type if place >= 0 else pa.null()
    nothing = {"rows": rows, "first": np.full(count, MOST), "last": np.full(count, LEAST)}
    if pa.types.is_null(kind):
        return Groups(unit="us", nulls=rows, **nothing)
    leaf = _leaves(metadata).get(moments)
    # Of an older kind of timestamps there are no statistics.
    if not pa.types.is_timestamp(kind) or leaf is None or row_groups[0].column(leaf).physical_type != "INT64":
        return Groups(unit=getattr(kind, "unit", "us"), nulls=np.full(count, UNKNOWN), **nothing)
    first, last, nulls = np.full(count, MOST), np.full(count, LEAST), np.full(count, UNKNOWN)
    for number, group in enumerate(row_groups):
        said = group.column(leaf).statistics
        if said is None or not said.has_null_count or not (said.has_min_max or said.null_count == group.num_rows):
            continue
        nulls[number] = said.null_count
        if said.has_min_max:
            first[number], last[number] = said.min_raw, said.max_raw
    return Groups(unit=kind.unit, rows=rows, nulls=nulls, first=first, last=last)
