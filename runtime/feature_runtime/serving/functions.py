"""The functions of on-demand feature views, called: in training, when served, and when they are checked.

Promises that a function sees what it declared and nothing else, and of the same types alone and among others: rows are
computed together only with rows of the same nulls, so that a column is free of nulls or has nothing else. What comes
back has as many rows as were asked for and the contract's types, or is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import OnDemandFeatureView

from feature_runtime.online_store.encoding import encoded
from feature_runtime.retrying import first_line
from feature_runtime.serving.on_demand_values import WHOLE_NUMBERS, as_in_training, as_python, output_column
from feature_runtime.value_types import TYPES, Parsed, parse

Columns = Mapping[str, Sequence[Any]]
"""Column name (`view__feature`, a join key, a field of the request) to one Python value per row, None where there is none."""

COLUMNS = {row.name: row.nulls for row in TYPES.values() if row.nulls}
"""What a data frame's column of a type is made of, whatever its values: what Feast makes of values without nulls."""

EXACT_FLOATS = 2**53
"""Beyond it floats cannot tell one whole number from the next."""


class CannotCompute(Exception):
    """A function did not give the features of its view.

    `clients_fault`: what the request asked for (values of its own, or entities of which nothing is known) may be the cause.
    Otherwise the function is wrong: it failed on complete values of the feature store's own. `field` is where in the
    request the cause is, as far as that is known.
    """

    def __init__(self, view: str, reason: str, *, clients_fault: bool, field: str = "entities") -> None:
        super().__init__(f"the on-demand feature view {view!r} cannot be computed: {reason}")
        self.reason = reason
        self.clients_fault = clients_fault
        self.field = field


class WrongOutput(CannotCompute):
    """What the function gave is not what its view declares: nobody who asks can help it."""

    def __init__(self, view: str, reason: str) -> None:
        super().__init__(view, reason, clients_fault=False)


class OnDemandView:
    """One on-demand feature view: what it needs, what it gives, and its function."""

    def __init__(self, view: OnDemandFeatureView, *, read: Mapping[str, str] = MappingProxyType({})) -> None:
        """`read` says for names that are there twice what they stand for; without it what is named last."""
        self._view = view
        self.name: str = view.name
        self.inputs: list[list[str]] = [
            [projection.name, field.name, str(field.dtype)]
            for projection in view.source_feature_view_projections.values()
            for field in projection.features
        ]
        """What is read for it: [source view, feature, type]."""
        fields = [field for source in view.source_request_sources.values() for field in source.schema]
        self.request = [[field.name, str(field.dtype)] for field in fields]
        """What the request must bring: [name, type]."""
        self.outputs = [[field.name, str(field.dtype)] for field in view.features]
        """What it gives: [feature, type]."""
        self._sources = {f"{source}__{name}": dtype for source, name, dtype in self.inputs}
        self._short = {name: f"{source}__{name}" for source, name, _ in self.inputs} | dict(read)
        """A function finds what it reads of views by its own name too."""
        declared = self._sources | dict(self.request)
        self._columns = {name: column for name, dtype in declared.items() if (column := column_type(dtype)) is not None}
        self._unlike = frozenset(declared.keys() - self._columns.keys())
        self._types = {field.name: parse(field.dtype) for field in view.features}

    def compute(self, columns: Columns, count: int) -> dict[str, list[Any]]:
        """Its features for `count` rows: Python values of the declared types, None for null.

        Raises:
            CannotCompute: the function failed, or did not give what the view declares.
        """
        given = {name: list(values) for name, values in columns.items()}
        groups = self._alike(given, count)
        if len(groups) == 1:
            return self._computed(given, count)
        features: dict[str, list[Any]] = {name: [None] * count for name, _ in self.outputs}
        for rows in groups:
            computed = self._computed({name: [values[row] for row in rows] for name, values in given.items()}, len(rows))
            for name, values in computed.items():
                for row, value in zip(rows, values, strict=True):
                    features[name][row] = value
        return features

    def compute_stored(self, columns: Columns, types: Mapping[str, str], count: int) -> dict[str, list[bytes]]:
        """The same from and to values as the online store has them: serialized protobuf, empty for null.

        `types` are those of the columns that are as JSON brings them: join keys, and what only the request has.
        """
        values = dict(columns)
        for name in self._sources:
            values[name] = [as_python(stored) for stored in columns[name]]
        for name, dtype in types.items():
            try:
                values[name] = as_in_training(columns[name], dtype)
            except (ValueError, OverflowError) as error:
                reason = f"{name!r} is no {dtype}: {first_line(error)}"
                raise CannotCompute(self.name, reason, clients_fault=True, field=f"entities.{name}") from None
        computed = self.compute(values, count)
        try:
            return {name: [encoded(value, self._types[name]) for value in column] for name, column in computed.items()}
        except Exception as error:  # a value that its type cannot hold: Feast asserts, protobuf raises
            raise WrongOutput(self.name, f"what its function gave is not of the declared type: {first_line(error)}") from error

    def _alike(self, given: Mapping[str, list[Any]], count: int) -> list[Sequence[int]]:
        """The rows by what decides the types that the function sees, those without any null first."""
        marks = [marks for name, values in given.items() if (marks := self._marks(name, values)) is not None]
        if not marks:
            return [range(count)]
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, pattern in enumerate(zip(*marks, strict=True)):
            groups.setdefault(pattern, []).append(row)
        return [groups[pattern] for pattern in sorted(groups)]

    def _marks(self, name: str, values: list[Any]) -> list[int] | None:
        """Per row 1 for null; None where all rows are alike.

        In a data frame also 2 for a null within a list, which turns the whole column's numbers into floats; and another
        number for every value of a type (maps, decimals, moments with a zone) whose column follows from all its values.
        """
        if self._view.mode == "pandas" and name in self._unlike:
            return [1 if value is None else row for row, value in enumerate(values, start=2)]
        if self._view.mode == "pandas" and isinstance(self._columns.get(name), pa.ListType):
            marks = [1 if value is None else 2 if _has_null(value) else 0 for value in values]
            return marks if any(marks) else None
        return [int(value is None) for value in values] if None in values else None

    def _computed(self, given: dict[str, list[Any]], count: int) -> dict[str, list[Any]]:
        """The features of rows that are alike."""
        try:
            raw = self._run(given, count)
        except WrongOutput:
            raise
        except BaseException as error:  # one that exits, or says that it was cancelled, would end the server
            raise self._failed(f"its function raised {first_line(error)}", given) from error
        try:
            if count == 1 or not self._rounds(raw):
                return {name: output_column(raw, name, dtype, count) for name, dtype in self.outputs}
        except OverflowError as error:
            raise self._failed(str(error), given) from error
        except ValueError as error:
            raise WrongOutput(self.name, str(error)) from error
        except Exception as error:
            raise WrongOutput(self.name, f"what its function gave cannot be read: {first_line(error)}") from error
        # One of them had no value, so pandas made floats of all: alone each is a whole number.
        rows = [self._computed({name: [values[row]] for name, values in given.items()}, 1) for row in range(count)]
        return {name: [row[name][0] for row in rows] for name, _ in self.outputs}

    def _failed(self, reason: str, given: Mapping[str, list[Any]]) -> CannotCompute:
        unknown = any(None in given[name] for name in self._sources)
        field = f"entities.{self.request[0][0]}" if len(self.request) == 1 and not unknown else "entities"
        return CannotCompute(self.name, reason, clients_fault=bool(self.request) or unknown, field=field)

    def _run(self, given: dict[str, list[Any]], count: int) -> Any:
        # Called here, since Feast's own call drops outputs that have the name of an input, and mixes up inputs of one name.
        function = self._view.feature_transformation.udf
        if self._view.mode == "pandas":
            arrays = {name: pa.array(values, self._columns.get(name)) for name, values in given.items()}
            frame = self._of_kind(pd.DataFrame, function(pa.Table.from_pydict(self.named(arrays)).to_pandas()))
            names = [name for name, _ in self.outputs if name in frame.columns]
            return pa.Table.from_pandas(frame if len(names) == len(frame.columns) else frame[names])
        inputs = self.named(given)
        if not self._view.singleton:
            # What a function leaves as it is need not be returned: so Feast.
            return inputs | self._of_kind(Mapping, function(dict(inputs)))
        # Feast would compute the first row only.
        rows = []
        for row in range(count):
            own = {name: values[row] for name, values in inputs.items()}
            rows.append(own | self._of_kind(Mapping, function(dict(own))))
        return {name: [row[name] for row in rows if name in row] for name, _ in self.outputs}

    def named(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a function is given: columns as they were read, and those of views by their own names too."""
        return {**given, **{name: given[column] for name, column in self._short.items()}}

    def _of_kind(self, kind: type, found: Any) -> Any:
        if not isinstance(found, kind):
            raise WrongOutput(self.name, f"its function gave a {type(found).__name__}, not a {'dict' if kind is Mapping else 'DataFrame'}")
        return found

    def _rounds(self, raw: Any) -> bool:
        """Whether whole numbers came back as floats that may have been rounded."""
        names = raw.column_names if isinstance(raw, pa.Table) else raw
        return any(_has_rounded(raw[name]) for name, dtype in self.outputs if dtype in WHOLE_NUMBERS and name in names)


def column_type(dtype: str) -> pa.DataType | None:
    """What a data frame's column of a type is made of; None where that follows from the values."""
    return _column_type(parse(dtype))


def _column_type(kind: Parsed) -> pa.DataType | None:
    if kind.inner is None:
        return COLUMNS.get(kind.row.name) if kind.row else None
    inner = _column_type(kind.inner)
    return None if inner is None else pa.list_(inner)


def _has_null(value: Any) -> bool:
    if not isinstance(value, list | tuple | set | np.ndarray):
        return value is None
    return any(map(_has_null, value))


def _has_rounded(column: Any) -> bool:
    values: Iterable[Any] = column
    if isinstance(column, pa.ChunkedArray):
        if not pa.types.is_floating(column.type):
            return False
        values = column.to_pylist()
    elif not isinstance(column, list | tuple | np.ndarray):
        return False
    return any(isinstance(value, float) and abs(value) >= EXACT_FLOATS for value in values)
