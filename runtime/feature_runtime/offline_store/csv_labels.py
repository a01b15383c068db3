"""CSV whose columns get their types from all of their values, not from the first ones as Arrow gives them.

A column that nobody expects in a type becomes the first of KINDS that all of its values are written in, else it stays
text as it is. Numbers that would not come back as they are (`0042`, more digits than a double has) are text.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv

KINDS = (
    pa.int64(),
    pa.bool_(),
    pa.date32(),
    pa.time32("s"),
    *(pa.timestamp(unit, zone) for unit in ("s", "us", "ns") for zone in (None, "UTC")),
    pa.float64(),
)
NULLS = pa.array(pc_csv.ConvertOptions().null_values)
PADDED, LONG = r"^\s*[+-]?0[0-9]", r"^\s*[+-]?[0-9]{16,}\s*$"


def read_csv(source: Any, types: Mapping[str, pa.DataType], spool: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The columns of a CSV file and its rows; columns of `types` are read as such. The file is read once, into `spool`.

    Raises:
        pa.ArrowInvalid: it is no CSV, or a column has a value that is not of its type.
    """
    options = pc_csv.ConvertOptions(column_types=dict(types), default_column_type=pa.string())
    reader = pc_csv.open_csv(source, convert_options=options)
    free = [number for number, name in enumerate(reader.schema.names) if name not in types]
    kinds = {number: list(KINDS) for number in free}
    empty = set(free)
    with (
        pa.OSFile(str(spool), "wb") as file,
        pa.ipc.new_stream(file, reader.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream,
    ):
        for batch in reader:
            stream.write_batch(batch)
            for number in free:
                values = pc.drop_null(_values(batch.column(number)))
                if len(values):
                    empty.discard(number)
                    kinds[number] = [kind for kind in kinds[number] if _written_as(values, kind)]
    found = {number: pa.null() if number in empty else next(iter(kinds[number]), pa.string()) for number in free}
    fields = [field.with_type(found.get(number, field.type)) for number, field in enumerate(reader.schema)]
    return pa.schema(fields), _batches(spool, pa.schema(fields))


def _batches(spool: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(spool)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            columns = [_typed(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
    spool.unlink()


def _typed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    return pa.nulls(len(column)) if pa.types.is_null(kind) else _values(column).cast(kind)


def _values(texts: pa.Array) -> pa.Array:
    """Texts without the blanks around them; what stands for nothing is null."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.is_in(trimmed, NULLS), None, trimmed)


def _written_as(values: pa.Array, kind: pa.DataType) -> bool:
    """Whether all values are texts of a type, and would come back from it."""
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if number and pc.any(pc.match_substring_regex(values, PADDED)).as_py():
        return False
    if pa.types.is_floating(kind) and pc.any(pc.match_substring_regex(values, LONG)).as_py():
        return False
    try:
        values.cast(kind)
    except pa.ArrowException:
        return False
    return True
