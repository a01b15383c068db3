"""What definitions leave to Feast: types of join keys, fields of views without a schema, timestamp columns of sources.

Feast completes them when it applies: by the entity's `value_type`, else by looking into the source. Here they are
completed when the definitions are loaded, so that the contract names them. What only the data tell is read once, by
`lock` where the files are, and is pinned in contract.lock.json: every later load takes it from there.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from feast import Entity, FeatureView, Field, FileSource, OnDemandFeatureView
from feast.repo_contents import RepoContents
from feast.types import VALUE_TYPES_TO_FEAST_TYPES, Array, Set, Struct, from_value_type
from feast.value_type import ValueType

from feature_runtime import contract
from feature_runtime.definitions.file_places import file_sources
from feature_runtime.refusal import Refusal
from feature_runtime.repo_files import definitions_sha256
from feature_runtime.value_types import Parsed, UnknownType, parse
from feature_runtime.value_types.columns import accepts

INTERNAL = re.compile("^__|__$")
"""Columns that Feast takes for nobody's features, such as the index that pandas writes."""

OF_DATA, OF_LOCK = "its data", contract.LOCK_FILE
PLAIN = {str(dtype): dtype for dtype in VALUE_TYPES_TO_FEAST_TYPES.values() if not hasattr(dtype, "base_type")}

# As Feast's `pa_to_feast_value_type`, but for texts of 64-bit offsets, which it takes for JSON.
INFERRED = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16()), ValueType.INT32),
    **dict.fromkeys((pa.int64(), pa.uint32(), pa.uint64()), ValueType.INT64),
    **dict.fromkeys((pa.string(), pa.large_string(), pa.string_view()), ValueType.STRING),
    **dict.fromkeys((pa.binary(), pa.large_binary(), pa.binary_view()), ValueType.BYTES),
    pa.float32(): ValueType.FLOAT,
    pa.float64(): ValueType.DOUBLE,
    pa.bool_(): ValueType.BOOL,
}
SUGGESTED = ("UnixTimestamp", "Decimal", "Uuid", "Float64", "Bytes", "String", "Json")
"""Types that are named for a column of which Feast infers none, the first that takes it."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """Something that the definition `of` a view or source does not say: `line` would say it, `origin` is where it was found."""

    of: str
    line: str
    origin: str


@dataclass
class Completion:
    """What was completed, and what could not be."""

    completed: list[Completed] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)
    """Views with problems: what is made of them cannot be judged."""


@dataclass(frozen=True)
class _Told:
    """What one of lock and data says of a view: the types of its columns by the name of their field, in their order."""

    origin: str
    keys: dict[str, Any] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    untyped: dict[str, str] = field(default_factory=dict)
    """Columns of which Feast infers no type: what they are, and what could be written."""
    why_not: str = ""


def complete(contents: RepoContents, places: dict[int, str], repo: Path, *, renew: bool, unread: Collection[str] = ()) -> Completion:
    """Complete the objects in place, as Feast would when it applies them.

    A lock of these very definitions comes before the data, and the data come first when it is stale or `renew`. `unread` are views
    whose source nothing reads: they are refused for that, not for what is missing.
    """
    return _Completing(contents, places, repo, renew=renew).done(unread)


class _Completing:
    def __init__(self, contents: RepoContents, places: dict[int, str], repo: Path, *, renew: bool) -> None:
        self._contents, self._places, self._repo = contents, places, repo
        self._entities: dict[str, Entity] = {entity.name: entity for entity in contents.entities}
        self._views: list[FeatureView] = [*contents.feature_views, *contents.stream_feature_views]
        try:
            self._lock = contract.read_unchecked(repo)
        except Refusal:
            self._lock = {}
        self._pinned = not renew and self._lock.get("definitions_sha256") == definitions_sha256(repo)
        self._found = Completion()

    def done(self, unread: Collection[str]) -> Completion:
        for source in file_sources(self._contents.data_sources):
            if not source.timestamp_field:
                self._timestamp(source)
        for view in self._views:
            self._keys_by_entity(view)
        for view in self._views:
            if view.features and not self._missing_keys(view):
                continue
            if view.name in unread:
                self._found.unfinished.add(view.name)
            else:
                self._by_column(view)
        self._keys_of_computed()
        self._selections()
        return self._found

    def _timestamp(self, source: FileSource) -> None:
        locked = self._lock.get("sources", {}).get(source.name, {}).get("timestamp_field")
        # Feast looks into every source, whether a view uses it or not.
        alone = SimpleNamespace(batch_source=source, entity_columns=[], features=[])
        columns, why_not = ({}, "") if self._pinned and locked else self._columns(alone)
        moments = [name for name, kind in columns.items() if pa.types.is_timestamp(kind)]
        if len(moments) == 1:
            found, origin = moments[0], OF_DATA
        elif locked and not moments:
            found, origin = locked, OF_LOCK
        else:
            rule = f"its file has the timestamps {', '.join(moments)}" if moments else why_not or "its file has no timestamp"
            self._problem(source, f"has no timestamp_field, and {rule}. Add timestamp_field= to it")
            self._found.unfinished |= {view.name for view in self._views if view.batch_source is source}
            return
        source.timestamp_field = found
        self._completed(source, f'timestamp_field="{found}"', origin)

    def _join_keys(self, view: Any) -> dict[str, Entity]:
        entities = (self._entities.get(name) for name in view.entities or [])
        return {entity.join_key: entity for entity in entities if entity is not None and not entity.name.startswith("__")}

    def _missing_keys(self, view: Any) -> dict[str, Entity]:
        there = {column.name for column in view.entity_columns}
        return {key: entity for key, entity in self._join_keys(view).items() if key not in there}

    def _keys_by_entity(self, view: Any) -> None:
        for key, entity in self._missing_keys(view).items():
            if entity.value_type != ValueType.UNKNOWN:
                dtype = from_value_type(entity.value_type)
                view.entity_columns.append(Field(name=key, dtype=dtype))
                self._completed(view, _line(key, dtype), f"value_type of the entity {entity.name!r}")

    def _by_column(self, view: FeatureView) -> None:
        """By the lock and its data, one after the other, as far as needed."""
        why = ""
        untyped = False
        for tell in (self._of_lock, self._of_data) if self._pinned else (self._of_data, self._of_lock):
            missing = self._missing_keys(view)
            if view.features and not missing:
                return
            told = tell(view)
            why, untyped = why or told.why_not, untyped or bool(told.untyped)
            for key, dtype in told.keys.items():
                if key in missing:
                    view.entity_columns.append(Field(name=key, dtype=dtype))
                    self._completed(view, _line(key, dtype), told.origin)
            if not view.features:
                if told.untyped:
                    columns = "; ".join(f"the column {name!r} is {said}" for name, said in told.untyped.items())
                    self._problem(view, f"declares no schema, and Feast infers no type of some columns: {columns}. List its fields")
                # In place: projections share the list.
                view.features.extend(Field(name=name, dtype=dtype) for name, dtype in told.features.items())
                if told.features:
                    self._completed(view, f"schema=[{len(told.features)} fields]", told.origin)
        if missing := self._missing_keys(view):
            lines = [f"{_line(key, self._guess(key))} to its schema" for key in missing]
            types = [f"value_type={_value_type(self._guess(key))} to the entity {entity.name!r}" for key, entity in missing.items()]
            self._problem(
                view,
                f"does not tell the type of its join key {', '.join(missing)}{why and f': {why}'}. Add "
                f"{' and '.join(lines)}, or {' and '.join(types)} (with the key's own type)",
            )
        if not view.features and not untyped:
            self._problem(
                view,
                f"declares no schema, and its fields cannot be inferred{why and f': {why}'}. "
                "List its fields, or run `make lock` where its file can be read",
            )

    def _of_lock(self, view: FeatureView) -> _Told:
        locked = self._lock.get("views", {}).get(view.name, {})
        try:
            keys, features = (
                {name: _feast_type(parse(dtype)) for name, dtype in locked.get(part, [])} for part in ("entity_columns", "features")
            )
        except (UnknownType, TypeError, ValueError, KeyError):
            return _Told(OF_LOCK)
        return _Told(OF_LOCK, keys=keys, features=features)

    def _of_data(self, view: FeatureView) -> _Told:
        columns, why_not = self._columns(view)
        if why_not:
            return _Told(OF_DATA, why_not=why_not)
        source = view.batch_source
        keys, features, untyped = {}, {}, {}
        for column, kind in columns.items():
            name = source.field_mapping.get(column, column)
            if {name, column} & {source.timestamp_field, source.created_timestamp_column}:
                continue
            dtype = _inferred(kind)
            if name in self._join_keys(view):
                if dtype is not None:
                    keys[name] = dtype
            elif not INTERNAL.search(column):
                if dtype is None:
                    untyped[name] = f"{kind}; {_suggested(name, kind)}"
                else:
                    features[name] = dtype
        missing = [key for key in self._missing_keys(view) if key not in keys]
        why_not = f"its source {source.path} has no column for {', '.join(missing)} of a type that Feast infers" if missing else ""
        return _Told(OF_DATA, keys=keys, features=features, untyped=untyped, why_not=why_not)

    def _columns(self, view: Any) -> tuple[dict[str, pa.DataType], str]:
        """The columns of a view's file where it is at hand, and else why not."""
        # Not above: servers load no definitions, and start sooner without what reads files.
        from feature_runtime.offline_store.source import ViewSource  # noqa: PLC0415

        if not ViewSource.readable(view):
            return {}, f"its source is a {type(view.batch_source).__name__}, which is not looked into"
        source = ViewSource(view, self._repo)
        if "://" in source.uri and not source.uri.startswith("file://"):
            return {}, f"its source {source.uri} is not read here"
        try:
            schema = source.files.schema()
        except Refusal as refusal:
            return {}, str(refusal).partition(". ")[0]
        except pa.ArrowInvalid as error:
            return {}, str(error)
        return {column.name: column.type for column in schema}, ""

    def _guess(self, key: str) -> Any:
        """The type that another view has for a key of this name, for an example."""
        columns = (column for view in self._views for column in view.entity_columns)
        return next((column.dtype for column in columns if column.name == key), PLAIN["Int64"])

    def _keys_of_computed(self) -> None:
        """The keys that an on-demand view says itself: Feast adds them when it applies."""
        for view in self._contents.on_demand_feature_views:
            self._keys_by_entity(view)
            sources = {projection.name for projection in view.source_feature_view_projections.values()}
            columns = {column.name: column for source in self._views if source.name in sources for column in source.entity_columns}
            for key in self._missing_keys(view):
                if key in columns:
                    view.entity_columns.append(Field(name=key, dtype=columns[key].dtype))

    def _selections(self) -> None:
        """What services and on-demand views select of a view that had no fields when they did."""
        views = {view.name: view for view in self._views}
        for user in [*self._contents.feature_services, *self._contents.on_demand_feature_views]:
            for projection in _projections(user):
                view = views.get(projection.name)
                if view is None or not (wanted := projection.desired_features):
                    continue
                projection.features = [feature for feature in view.features if feature.name in wanted]
                if view.features and (missing := sorted(set(wanted) - {feature.name for feature in view.features})):
                    self._problem(user, f"selects {', '.join(missing)} of the view {view.name!r}, which has no such feature. Select others")

    def _completed(self, of: Any, line: str, origin: str) -> None:
        self._found.completed.append(Completed(of=of.name, line=line, origin=origin))

    def _problem(self, of: Any, text: str) -> None:
        kinds = {"FeatureService": "feature service", "OnDemandFeatureView": "on-demand feature view", "FileSource": "source"}
        kind = kinds.get(type(of).__name__, "feature view")
        self._found.unfinished.add(of.name)
        self._found.problems.append(f"{self._places.get(id(of), of.name)}: the {kind} {of.name!r} {text}.")


def _projections(user: Any) -> Iterator[Any]:
    yield from user.source_feature_view_projections.values() if isinstance(user, OnDemandFeatureView) else user.feature_view_projections


def _line(name: str, dtype: Any) -> str:
    return f'Field(name="{name}", dtype={dtype})'


def _value_type(dtype: Any) -> str:
    return f"ValueType.{dtype.to_value_type().name}"


def _suggested(name: str, kind: pa.DataType) -> str:
    fits = next((dtype for dtype in SUGGESTED if not pa.types.is_null(kind) and accepts(kind, dtype)), None)
    return f'write Field(name="{name}", dtype={fits or "…"})'


def _inferred(kind: pa.DataType) -> Any:
    """The Feast type that Feast infers from a column of a file; None where it infers none."""
    if pa.types.is_dictionary(kind):
        return _inferred(kind.value_type)
    if pa.types.is_timestamp(kind):
        return PLAIN["UnixTimestamp"]
    if pa.types.is_map(kind):
        return PLAIN["Map"]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _inferred(kind.value_type)
        return inner and Array(inner)
    if pa.types.is_struct(kind):
        # Feast keeps no fields here; with them, values have types.
        fields = {child.name: _inferred(child.type) for child in kind}
        return Struct(fields) if fields and all(fields.values()) else None
    value_type = INFERRED.get(kind)
    return value_type and from_value_type(value_type)


def _feast_type(kind: Parsed) -> Any:
    """Feast's own object for a type that the lock names."""
    if kind.inner:
        return {"Array": Array, "Set": Set}[kind.outer](_feast_type(kind.inner))
    return Struct({name: _feast_type(inner) for name, inner in kind.fields}) if kind.fields else PLAIN[kind.outer]
