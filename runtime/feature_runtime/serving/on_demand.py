"""On-demand feature views: computed while a request waits, by the functions of the feature repo, through Feast's own code.

Promises that a function sees what it declared and nothing else, and every value as Feast's SDK would give it; that what
comes back has as many rows as were asked for and the contract's types, or is refused; and that no function holds up the
requests of others: neither one that takes its time nor, a few times, one that never ends.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from feast import OnDemandFeatureView

from feature_runtime.online_store.values import encoded
from feature_runtime.retrying import first_line
from feature_runtime.serving.on_demand_values import as_in_training, as_python, output_column
from feature_runtime.serving.question import STRICT_TYPES
from feature_runtime.value_types import TYPES, parse

THREADS = 2
MOST_REPLACED = 2
"""How often new threads take over from functions that never end; each of those may keep a core busy."""
SECONDS = 5.0
"""A function that takes longer has failed its request."""

Columns = Mapping[str, Sequence[Any]]
"""Column name (`view__feature`, a join key, a field of the request) to one Python value per row, None where there is none."""


class CannotCompute(Exception):
    """A function did not give the features of its view.

    `clients_fault`: what the request asked for (values of its own, or entities of which nothing is known) may be the cause.
    Otherwise the function is wrong: it failed on complete values of the feature store's own.
    """

    def __init__(self, view: str, reason: str, *, clients_fault: bool) -> None:
        super().__init__(f"the on-demand feature view {view!r} cannot be computed: {reason}")
        self.clients_fault = clients_fault


class OnDemandView:
    """One on-demand feature view: what it needs, what it gives, and its function."""

    def __init__(self, view: OnDemandFeatureView) -> None:
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
        self._nulls = {f"{source}__{name}": NULL_COLUMNS.get(dtype) for source, name, dtype in self.inputs}
        self._types = {field.name: parse(field.dtype) for field in view.features}

    def compute(self, columns: Columns, count: int) -> dict[str, list[Any]]:
        """Its features for `count` rows: Python values of the declared types, None for null.

        Raises:
            CannotCompute: the function failed, or did not give what the view declares.
        """
        sources = [f"{source}__{name}" for source, name, _ in self.inputs]
        given = {name: list(values) for name, values in columns.items()}
        clients_fault = bool(self.request) or any(value is None for name in sources for value in given[name])
        try:
            raw = self._run(given, count)
        except Exception as error:
            reason = f"its function raised {first_line(error)}"
            raise CannotCompute(self.name, reason, clients_fault=clients_fault) from error
        try:
            return {name: output_column(raw, name, dtype, count) for name, dtype in self.outputs}
        except ValueError as error:
            raise CannotCompute(self.name, str(error), clients_fault=False) from error

    def compute_stored(self, columns: Columns, types: Mapping[str, str], count: int) -> dict[str, list[bytes]]:
        """The same from and to values as the online store has them: serialized protobuf, empty for null.

        `types` are those of the columns that are as JSON brings them: join keys, and what only the request has.
        """
        values = dict(columns)
        for source, feature, _ in self.inputs:
            values[f"{source}__{feature}"] = [as_python(stored) for stored in columns[f"{source}__{feature}"]]
        for name, dtype in types.items():
            try:
                values[name] = as_in_training(columns[name], dtype)
            except (ValueError, OverflowError) as error:
                raise CannotCompute(self.name, f"{name!r} is no {dtype}: {first_line(error)}", clients_fault=True) from None
        computed = self.compute(values, count)
        try:
            return {name: [encoded(value, self._types[name]) for value in column] for name, column in computed.items()}
        except Exception as error:  # a value that its type cannot hold: Feast asserts, protobuf raises
            reason = f"what its function gave is not of the declared type: {first_line(error)}"
            raise CannotCompute(self.name, reason, clients_fault=False) from error

    def _run(self, given: dict[str, list[Any]], count: int) -> Any:
        if self._view.mode == "pandas":
            columns = {
                name: pa.nulls(count, self._nulls[name]) if self._nulls.get(name) and not any(_present(values)) else values
                for name, values in given.items()
            }
            return self._view.transform_arrow(pa.Table.from_pydict(columns))
        if not self._view.singleton:
            return self._view.transform_dict(given)
        # Feast would compute the first row only.
        rows = [self._view.transform_dict({name: [values[row]] for name, values in given.items()}) for row in range(count)]
        return {name: [row[name] for row in rows if name in row] for name, _ in self.outputs}


class Transformer:
    """Computes on-demand features beside the event loop, in threads of its own.

    A function that never ends keeps its thread. When such functions hold all threads, new ones take over, a few times;
    after that only a restart helps.
    """

    def __init__(self, views: Iterable[OnDemandFeatureView]) -> None:
        self.views = {view.name: OnDemandView(view) for view in views}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="on-demand")
        self._given_up: list[Future[Any]] = []
        self._replaced = 0

    @property
    def stuck(self) -> str | None:
        """Why nothing can be computed any more; None as long as something can."""
        if sum(not call.done() for call in self._given_up) < THREADS:
            return None
        return "on-demand functions that do not end hold all threads"

    async def compute(self, view: str, columns: Columns, types: Mapping[str, str], count: int) -> dict[str, list[bytes]]:
        """`OnDemandView.compute_stored` of the named view.

        Raises:
            CannotCompute: also when it takes longer than 5 seconds.
        """
        call = self._threads.submit(self.views[view].compute_stored, columns, types, count)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(call), SECONDS)
        except TimeoutError:
            self._give_up(call)
            why = "no thread was free for its function within" if call.cancelled() else "its function takes longer than"
            raise CannotCompute(view, f"{why} {SECONDS:g} s", clients_fault=False) from None

    def _give_up(self, call: Future[Any]) -> None:
        self._given_up = [one for one in (*self._given_up, call) if not one.done()]
        if self.stuck and self._replaced < MOST_REPLACED:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="on-demand")
            self._given_up = []
            self._replaced += 1


def describe(view: OnDemandFeatureView) -> dict[str, Any]:
    """The view as plain data, for the server's plan."""
    described = OnDemandView(view)
    return {"kind": "on_demand", "features": described.outputs, "inputs": described.inputs, "request": described.request}


def problems(view: OnDemandFeatureView) -> list[str]:
    """Why this server could not compute the view, one line each; runs its function once, on values of Feast's making.

    The function is taken as the registry gives it back: rebuilt from its text, with pandas and numpy as its only globals.
    """
    found = []
    if view.write_to_online_store:
        found.append("write_to_online_store: the server computes on-demand features, it does not read stored ones. Leave it out")
    if view.aggregations:
        found.append("aggregations are not served. Aggregate in the source, or in the function")
    if view.mode not in MODES:
        found.append(f"mode {view.mode!r} is not served. Use 'python' or 'pandas'")
    found += [
        f"the request's field {name!r} is of type {dtype}. A request can bring {', '.join(sorted(STRICT_TYPES))}"
        for name, dtype in OnDemandView(view).request
        if dtype not in STRICT_TYPES
    ]
    if found:
        return found
    try:
        OnDemandFeatureView.from_proto(view.to_proto()).infer_features()
    except Exception as error:  # noqa: BLE001  functions may raise anything
        remedy = "Feast keeps the function's own text only: import what it needs inside it; pd and np are there"
        return [f"its function does not run as the registry gives it back ({first_line(error)}). {remedy}"]
    return []


MODES = ("python", "pandas")

NULL_COLUMNS = {row.name: row.nulls for row in TYPES.values() if row.nulls}
"""The type of a column without a single value, which must not change what a function does with an entity: alone or among others."""


def _present(values: Sequence[Any]) -> Iterable[bool]:
    return (value is not None for value in values)
