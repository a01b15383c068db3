"""How a question is made: from the description, for a service or a list of features, once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from feature_runtime.serving.decoding import WrongType, json_decoder
from feature_runtime.serving.key_bytes import DUMMY_JOIN_KEY, KEY_TYPES, EntityKeys, hash_field, time_field
from feature_runtime.serving.question import STRICT_TYPES, Column, Description, EntityColumn, OnDemandView, PlanRefused, Question, Read

ROW_BYTES = 250
"""What a row of one read holds until Redis has answered, beside the names of its fields: measured."""


def make_question(
    description: Description,
    features: Sequence[tuple[str, str]],
    projections: dict[str, dict[str, Any]],
    *,
    full_names: bool,
    service: str | None,
    sha256: str | None,
) -> Question:
    """The question of `features`, each (view as it is asked, feature), in this order.

    `projections` says for every view as it is asked which view that is, and how its join keys are called.

    Raises:
        PlanRefused: it cannot be answered; names the view and the rule.
    """
    draft = _Draft(description)
    columns: list[tuple[str, str, str, int]] = []
    computed: dict[str, tuple[str, list[tuple[str, str, int, str]], Any]] = {}
    outputs_of: dict[str, dict[str, int]] = {}
    for asked_as, feature in features:
        projection = projections[asked_as]
        view = draft.view(projection["view"])
        dtype = draft.types(projection["view"]).get(feature)
        if dtype is None:
            raise PlanRefused(f"the view {projection['view']!r} has no feature {feature!r}")
        _check_type(asked_as, feature, dtype)
        name = f"{asked_as}__{feature}" if full_names else feature
        if view["kind"] == "on_demand":
            if asked_as not in computed:
                computed[asked_as] = draft.on_demand(asked_as, projection["view"], view)
                outputs_of[asked_as] = {output: number for number, output in enumerate(draft.types(projection["view"]))}
            position = outputs_of[asked_as][feature]
        else:
            position = draft.read(asked_as, projection["view"], projection.get("join_key_map", {}), feature, dtype)
        columns.append((name, asked_as, dtype, position))
    index = {asked_as: number for number, asked_as in enumerate(draft.reads)}
    order = index | {asked_as: len(index) + number for number, asked_as in enumerate(computed)}
    entities = tuple(EntityColumn(name, dtype) for name, dtype in sorted(draft.entities.items()))
    request_data = tuple(EntityColumn(name, dtype) for name, dtype in sorted(draft.request_data.items()) if name not in draft.entities)
    made = tuple(Column(name, dtype, order[asked_as], position, json_decoder(dtype)) for name, asked_as, dtype, position in columns)
    names = [entity.name for entity in entities] + [column.name for column in made]
    # A feature's own name may be a request's field: its function gave it another value. A full name is one column of a train set.
    taken = [*names, *(column.name for column in request_data)] if full_names else names
    if twice := sorted(name for name, times in Counter(taken).items() if times > 1):
        raise PlanRefused(f"two columns {'' if full_names else 'of the answer '}would be called {', '.join(twice)}")
    reads = tuple(draft.read_of(*read) for read in draft.reads.values())
    return Question(
        service=service,
        sha256=sha256,
        entities=entities,
        request_data=request_data,
        reads=reads,
        columns=made,
        on_demand=tuple(
            OnDemandView(view, tuple((name, index[source], position, dtype) for name, source, position, dtype in inputs), outputs)
            for view, inputs, outputs in computed.values()
        ),
        metadata=_metadata(names, None),
        metadata_with_versions=_metadata(
            names, [(asked_as, draft.views[projections[asked_as]["view"]].get("version", 0)) for asked_as, _ in features]
        ),
        names=frozenset(column.name for column in (*entities, *request_data)),
        row_bytes=sum(ROW_BYTES + len(read.tail) for read in reads),
    )


class _Draft:
    """What one question reads, gathered: reads are merged per view as it is asked (alias and join keys), on-demand inputs added to them."""

    def __init__(self, description: Description) -> None:
        self.views: dict[str, dict[str, Any]] = description["views"]
        self._unserved = description.get("unserved", {})
        self._project = description["project"]
        self._types: dict[str, dict[str, str]] = {}
        self.reads: dict[str, tuple[str, dict[str, str], dict[tuple[str, str], int]]] = {}
        """By the view as it is asked: which view that is, how its join keys are called, and where in the replies each feature is."""
        self.entities: dict[str, str] = {}
        self.request_data: dict[str, str] = {}

    def view(self, name: str) -> dict[str, Any]:
        view = self.views.get(name)
        if view is None:
            reason = self._unserved.get(name, "the registry does not have it")
            raise PlanRefused(f"the view {name!r} cannot be served: {reason}")
        return view

    def types(self, name: str) -> dict[str, str]:
        """The view's features in their order, each with its type."""
        types = self._types.get(name)
        if types is None:
            types = self._types[name] = dict(self.views[name]["features"])
        return types

    def read(self, asked_as: str, view_name: str, join_key_map: dict[str, str], feature: str, dtype: str) -> int:
        """Add a feature to the read of a view; returns its position in the replies."""
        view = self.view(view_name)
        if asked_as not in self.reads:
            self.reads[asked_as] = (view_name, join_key_map, {})
            for join_key, key_type in view["join_keys"]:
                self._add_entity(join_key_map.get(join_key, join_key), key_type, view_name)
        known, keys, wanted = self.reads[asked_as]
        if (known, keys) != (view_name, join_key_map):
            # One of the two would be answered with the rows of the other.
            ways = " and by ".join(
                ", ".join(one.get(join_key, join_key) for join_key, _ in self.view(of)["join_keys"])
                for of, one in ((known, keys), (view_name, join_key_map))
            )
            raise PlanRefused(f"{asked_as!r} is read by {ways} under one name; give one use another name (with_name)")
        return wanted.setdefault((feature, dtype), 1 + len(wanted))

    def _add_entity(self, name: str, dtype: str, view: str) -> None:
        if dtype not in KEY_TYPES:
            raise PlanRefused(f"the join key {name!r} of {view!r} is a {dtype}, which Feast cannot make keys of ({', '.join(KEY_TYPES)})")
        if self.entities.setdefault(name, dtype) != dtype:
            raise PlanRefused(f"the join key {name!r} is a {dtype} in {view!r} and a {self.entities[name]} in another view")

    def on_demand(self, computed_as: str, name: str, view: dict[str, Any]) -> tuple[str, list[tuple[str, str, int, str]], Any]:
        inputs = []
        for source, feature, dtype in view["inputs"]:
            projection = view.get("sources", {}).get(source) or {"view": source, "join_key_map": {}}
            asked = projection.get("asked_as", source)
            position = self.read(asked, projection["view"], projection.get("join_key_map", {}), feature, dtype)
            inputs.append((f"{source}__{feature}", asked, position, dtype))
        for field_name, dtype in view["request"]:
            if dtype not in STRICT_TYPES:
                raise PlanRefused(
                    f"the on-demand view {computed_as!r} asks requests for {field_name!r}, a {dtype}, which JSON cannot carry"
                )
            self.request_data[field_name] = dtype
        return name, inputs, tuple((output, dtype) for output, dtype in view["features"])

    def read_of(self, view_name: str, join_key_map: dict[str, str], features: Iterable[tuple[str, str]]) -> Read:
        view = self.views[view_name]
        join_keys = [(name, dtype) for name, dtype in view["join_keys"]] or [(DUMMY_JOIN_KEY, "String")]
        keys = EntityKeys(join_keys, self._project)
        stored_as = view["stored_as"]
        fields = (time_field(stored_as), *(hash_field(stored_as, name) for name, _ in features))
        return Read(
            view=view_name,
            ttl_seconds=view["ttl_seconds"],
            columns=tuple(join_key_map.get(name, name) for name in keys.order) if view["join_keys"] else (),
            keys=keys,
            fields=fields,
            head=b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(fields)),
            tail=b"".join((b"\r\n", *(b"$%d\r\n%b\r\n" % (len(name), name) for name in fields))),
        )


def _check_type(view: str, feature: str, dtype: str) -> None:
    try:
        json_decoder(dtype)
    except WrongType as error:
        raise PlanRefused(f"{view}:{feature}: {error}") from None


def _metadata(names: list[str], versions: list[tuple[str, int]] | None) -> bytes:
    metadata: dict[str, Any] = {"feature_names": names}
    if versions is not None:
        # As stock prints it: without the version when it is 0.
        metadata["feature_view_metadata"] = [
            {"name": view, **({"version": version} if version else {})} for view, version in dict.fromkeys(versions)
        ]
    return b',"metadata":' + orjson.dumps(metadata) + b"}"
