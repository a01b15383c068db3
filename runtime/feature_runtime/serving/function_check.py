"""Whether a server can compute an on-demand feature view, and gives an entity the same value alone and among others.

The function is taken as the registry gives it back: rebuilt from its text, with pandas and numpy as its only globals. It
runs on samples of its inputs' types, within a time limit, and again only when its definition has changed.
"""

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from feast import OnDemandFeatureView
from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureView as Proto
from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureViewSpec
from feast.types import from_value_type

from feature_runtime.daemon_threads import in_daemon_thread
from feature_runtime.registry.rebuilding import why_not_rebuilt
from feature_runtime.retrying import first_line
from feature_runtime.serving.functions import CannotCompute, OnDemandView, WrongOutput

SECONDS = 15.0
"""For all runs of one function; each may take as long as a request gives it."""
COMPARING_SECONDS = 5.0
"""After that long no further sample is tried: the function is slow, not wrong."""

WHOLE = (1, 3, 2, 40, 0, 7)
FRACTIONS = (1.0, 2.5, 0.5, 40.25, 0.0, 7.125)
SAMPLES: dict[str, Sequence[Any]] = {
    "Bool": (True, False, True, False, False, True),
    "Bytes": (b"hello world", b"a", b"\x00\xff", b"DE", b"", b"7"),
    "Float32": FRACTIONS,
    "Float64": FRACTIONS,
    "Int32": WHOLE,
    "Int64": WHOLE,
    "String": ("hello world", "a", "Zürich", "DE", "", "7"),
    "UnixTimestamp": tuple(
        datetime(*day, tzinfo=UTC) for day in ((2026, 1, 31), (2001, 2, 3), (2020, 2, 29), (1970, 1, 1), (2030, 12, 31), (1999, 7, 1))
    ),
}
"""By type, in no order: values that most functions take, the first of them as Feast's own samples are."""
ROWS = 6

CLOSE = 1e-6
"""Sums over many columns depend on how numpy lays out its rows, in their last digits."""

OTHERS = "Compute every row from its own values alone: no mean, sum, rank or index over the rows, and as many rows in their order"


def problem_of(view: OnDemandFeatureView, join_keys: Mapping[str, Sequence[Sequence[str]]]) -> str | None:
    """What goes wrong when the view's function runs; it runs once for each definition.

    `join_keys` are those of its source views, by the view's name: [name, type]; a function sees them too.
    """
    return _run(view.to_proto().spec.SerializeToString(deterministic=True), tuple(sorted(_keys(view, join_keys).items())))


def _keys(view: OnDemandFeatureView, join_keys: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, str]:
    return {
        projection.join_key_map.get(name, name): dtype
        for projection in view.source_feature_view_projections.values()
        for name, dtype in join_keys.get(projection.name, ())
    }


def _run(spec: bytes, keys: tuple[tuple[str, str], ...]) -> str | None:
    """The problem that comes up when the function runs, if any; one that has not ended in time is one, until it ends."""
    running, deadline = _started(spec, keys)
    try:
        problem: str | None = running.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return f"its function does not end within {SECONDS:g} s on samples of its inputs"
    return problem


@lru_cache(maxsize=1_000)
def _started(spec: bytes, keys: tuple[tuple[str, str], ...]) -> tuple[Future[Any], float]:
    return in_daemon_thread("on-demand-check", _problem, spec, dict(keys)), time.monotonic() + SECONDS


def _problem(spec: bytes, keys: Mapping[str, str]) -> str | None:
    started = time.monotonic()
    try:
        rebuilt = OnDemandFeatureView.from_proto(Proto(spec=OnDemandFeatureViewSpec.FromString(spec)))
    except BaseException as error:  # noqa: BLE001  whatever the function's text does
        return f"its function cannot be rebuilt ({first_line(error)})"
    if why := why_not_rebuilt(rebuilt):
        return why
    checked = _Checked(rebuilt, keys)
    try:
        return checked.alone() or checked.among_others(until=started + COMPARING_SECONDS)
    except WrongOutput as error:
        return error.reason


def read_though_ambiguous(
    view: OnDemandFeatureView, join_keys: Mapping[str, Sequence[Sequence[str]]], alike: Callable[[str, Sequence[str]], bool]
) -> dict[str, list[str]]:
    """Names by which the view's function reads one of several inputs, and which those are; the view has no other problem.

    Feast gives the function another of them when it serves than when it trains. `alike` says of a name and views that they have the
    same values of it.
    """
    keys = _keys(view, join_keys)
    described = OnDemandView(view)
    places: dict[str, list[str]] = {name: [name] for name in (*keys, *dict(described.request))}
    views: dict[str, list[str]] = {}
    for source, name, _ in described.inputs:
        places.setdefault(name, []).append(f"{source}__{name}")
        views.setdefault(name, []).append(source)
    shared = {
        name: columns
        for name, columns in places.items()
        if len(columns) > 1 and not (len(columns) == len(views.get(name, ())) and alike(name, views[name]))
    }
    if not shared:
        return {}
    checked = _Checked(view, keys)
    found = in_daemon_thread("on-demand-check", lambda: {name: one for name, one in shared.items() if checked.depends_on(name, one)})
    return found.result(SECONDS)


def _outcome(view: OnDemandView, row: Mapping[str, Any]) -> str:
    try:
        return repr(view.compute({name: [value] for name, value in row.items()}, 1))
    except CannotCompute as error:
        return error.reason


class _Checked:
    """A view with rows to try it on, and what its function gave for each of them alone."""

    def __init__(self, view: OnDemandFeatureView, keys: Mapping[str, str]) -> None:
        self._definition = view
        self._transformation: Any = view.feature_transformation
        self._view = OnDemandView(view)
        samples = _samples(view, keys)
        self._rows = [
            {name: values[(row + shift) % ROWS if row else 0] for shift, (name, values) in enumerate(samples.items())}
            for row in range(ROWS)
        ]
        # An entity of which nothing is known; requests always bring their values.
        sources = {f"{source}__{name}" for source, name, _ in self._view.inputs}
        if sources:
            self._rows.append({name: None if name in sources else value for name, value in self._rows[0].items()})
        self._known: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def alone(self) -> str | None:
        """Why it gives nothing for the first sample, which every function must take."""
        try:
            self._known.append((self._rows[0], self._compute([self._rows[0]])[0]))
        except WrongOutput:
            raise
        except CannotCompute as error:
            remedy = "Feast keeps the function's own text only: import what it needs inside it; pd and np are there"
            if not isinstance(error.__cause__, NameError | ImportError):
                remedy = (
                    f"It was given one row: {', '.join(f'{name}={value!r}' for name, value in self._view.named(self._rows[0]).items())}"
                )
            return f"its function does not run as the registry gives it back ({error.reason}{self._line(error.__cause__)}). {remedy}"
        return None

    def _line(self, error: BaseException | None) -> str:
        """The line of the function where an error was raised, as a part of a sentence."""
        lines = self._transformation.udf_string.splitlines()
        first = next((number for number, line in enumerate(lines) if line.lstrip().startswith("def ")), 0)
        code = getattr(self._transformation.udf, "__code__", None)
        for frame, number in traceback.walk_tb(error.__traceback__ if error else None):
            line = first + number - frame.f_code.co_firstlineno
            if frame.f_code is code and line < len(lines):
                return f", at `{lines[line].strip()}`"
        return ""

    def depends_on(self, name: str, columns: Sequence[str]) -> bool:
        """Whether what it gives follows from which of some columns a name stands for."""
        readers = [OnDemandView(self._definition, read={name: column}) for column in columns]
        return any(len({_outcome(reader, row) for reader in readers}) > 1 for row in self._rows[:ROWS])

    def among_others(self, until: float) -> str | None:
        """What differs when rows are computed together; rows that the function does not take are left out.

        Raises:
            WrongOutput: it gives another type for one of them.
        """
        for row in self._rows[1:]:
            if time.monotonic() > until:
                break
            try:
                self._known.append((row, self._compute([row])[0]))
            except WrongOutput:
                raise
            except CannotCompute:
                continue
        # The first comes twice: two equal rows are two rows.
        for together in ([*self._known, self._known[0]], [self._known[0], *reversed(self._known)]):
            try:
                computed = self._compute([row for row, _ in together])
            except CannotCompute as error:
                return f"it computes {len(together)} rows one by one, but not together: {error.reason}. {OTHERS}"
            for (row, own), found in zip(together, computed, strict=True):
                for name, value in found.items():
                    # What time or chance decides differs from itself.
                    if not _same(value, own[name]) and _same(self._compute([row])[0][name], own[name]):
                        asked = ", ".join(f"{key}={given!r}" for key, given in row.items())
                        return f"its {name!r} for {asked} is {own[name]!r} alone and {value!r} among {len(together)} rows. {OTHERS}"
        return None

    def _compute(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        computed = self._view.compute(columns, len(rows))
        return [{name: values[row] for name, values in computed.items()} for row in range(len(rows))]


def _samples(view: OnDemandFeatureView, keys: Mapping[str, str]) -> dict[str, Sequence[Any]]:
    """A few values for everything that the function takes."""
    others = view._get_sample_values_by_type()  # noqa: SLF001  Feast's own, of all its types
    described = OnDemandView(view)
    inputs = dict(keys) | {f"{source}__{name}": dtype for source, name, dtype in described.inputs} | dict(described.request)
    kinds = {str(from_value_type(kind)): values[0] for kind, values in others.items()}

    def values(dtype: str) -> Sequence[Any]:
        if dtype in SAMPLES:
            return SAMPLES[dtype]
        if dtype.startswith("Array("):
            # All of one length, as vectors are.
            return [[value] for value in values(dtype[len("Array(") : -1])]
        return [kinds.get(dtype)] * ROWS

    return {name: values(dtype) for name, dtype in inputs.items()}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE) or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
