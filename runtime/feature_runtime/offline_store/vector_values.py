"""The features of vectors, from what was joined: taken over, or computed on demand by the code that the server computes with."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from feature_runtime.offline_store.history import arrow_type
from feature_runtime.offline_store.joined_view import feature_column
from feature_runtime.offline_store.vector import Vector
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import first_line


def values(vector: Vector, given: pa.RecordBatch, joined: pa.RecordBatch) -> list[pa.Array]:
    """A vector's features in the contract's order and types.

    `given` has the join keys and the values of the request in the contract's types, `joined` what the join gave.
    """
    computed = {name: _compute(vector, name, given, joined) for name in vector.computed}
    return [
        computed[view][name] if view in computed else joined[feature_column(view, name)].cast(arrow_type(vector.dtypes[view, name]))
        for view, name in vector.features
    ]


def _compute(vector: Vector, name: str, given: pa.RecordBatch, joined: pa.RecordBatch) -> Mapping[str, pa.Array]:
    # Only who has such views pays for what computes them.
    from feature_runtime.serving.functions import CannotCompute, OnDemandView  # noqa: PLC0415

    view = vector.computed[name]
    # What the view declares, and nothing else: the server gives it no more.
    columns = {
        f"{source.name}__{field.name}": _python(joined[feature_column(source.name_to_use(), field.name)])
        for source in view.source_feature_view_projections.values()
        for field in source.features
    }
    columns |= {column: given[column].to_pylist() for column in [*vector.keys, *vector.requests]}
    try:
        answered = OnDemandView(view).compute(columns, given.num_rows)
        return {field.name: pa.array(answered[field.name], arrow_type(field.dtype)) for field in view.features}
    except (CannotCompute, pa.ArrowException) as error:
        raise Refusal(
            f"{first_line(error)}. A model can only be trained on what a server can answer: "
            "correct the function (it must take nulls), or leave such labels out."
        ) from None


def _python(column: pa.Array) -> list[Any]:
    """A column's values as functions get them; None for a moment beyond Python's, as the server gives it."""
    try:
        found: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        found = [_value(scalar) for scalar in column]
    return found


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return None
