"""What a feature service's vectors are made of: the views it joins, on which keys, and what is computed on demand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feast import FeatureView
from feast.feature_view_projection import FeatureViewProjection
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import FeastType

from feature_runtime.definitions.feature_repo import Definitions
from feature_runtime.offline_store.source import ViewSource
from feature_runtime.refusal import Refusal

Feature = tuple[str, str]
"""The view's name in the service, and the feature's."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A view in a service: its name there, the keys (the view's own to the one that is asked for), its features.

    Features are those of the service and those that something on demand is computed from.
    """

    name: str
    view: FeatureView
    keys: dict[str, str]
    features: tuple[str, ...]

    def source(self, repo: Path) -> ViewSource:
        """The files with the view's history.

        Raises:
            Refusal: it does not lie in parquet files.
        """
        if not ViewSource.readable(self.view):
            raise Refusal(
                f"the history of the feature view {self.view.name!r} lies in a {type(self.view.batch_source).__name__}, not in "
                "parquet files. Join it with Feast's own `get_historical_features`."
            )
        return ViewSource(self.view, repo)


@dataclass(frozen=True, kw_only=True)
class Vector:
    """A service's vector in the contract's order, and everything it takes to make one.

    With `full_names` its columns have their views' names too, since the features' own collide.
    `keys` are the join keys asked for and their types, `requests` the same for values that only a request has,
    `computed` the on-demand views by their name in the service.
    """

    service: str
    sha256: str
    features: list[Feature]
    full_names: bool
    dtypes: dict[Feature, FeastType]
    parts: list[Part]
    computed: dict[str, OnDemandFeatureView]
    keys: dict[str, FeastType]
    requests: dict[str, FeastType]

    @property
    def names(self) -> list[str]:
        """What the columns are called, where they are served and in a file."""
        return [f"{view}__{name}" if self.full_names else name for view, name in self.features]


def vector_of(name: str, locked: Mapping[str, Any], definitions: Definitions) -> Vector:
    """The vector of a service of the contract.

    Raises:
        Refusal: the contract has no such service, or a key is of two types.
    """
    services = {service.name: service for service in definitions.services}
    if name not in locked["services"] or name not in services:
        raise Refusal(f"there is no feature service {name!r}. The contract has: {', '.join(sorted(locked['services']))}.")
    views = {view.name: view for view in definitions.views}
    on_demand = {view.name: view for view in definitions.contents.on_demand_feature_views}
    wanted: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[FeatureViewProjection, list[str]]] = {}
    computed: dict[str, OnDemandFeatureView] = {}
    requests: dict[str, FeastType] = {}

    def want(projection: FeatureViewProjection) -> None:
        # One view under two names or on two keys is joined twice.
        place = (projection.name_to_use(), tuple(sorted(projection.join_key_map.items())))
        _, names = wanted.setdefault(place, (projection, []))
        names.extend(feature.name for feature in projection.features if feature.name not in names)

    for projection in services[name].feature_view_projections:
        if projection.name not in on_demand:
            want(projection)
            continue
        view = on_demand[projection.name]
        computed[projection.name_to_use()] = view
        for source in view.source_feature_view_projections.values():
            want(source)
        for request in view.source_request_sources.values():
            requests |= {field.name: field.dtype for field in request.schema}
    parts = [_part(place[0], views[projection.name], projection, names) for place, (projection, names) in wanted.items()]
    features = [(view, feature) for view, feature, _ in locked["services"][name]["features"]]
    return Vector(
        service=name,
        sha256=locked["services"][name]["sha256"],
        features=features,
        full_names=locked["services"][name].get("full_feature_names", False),
        dtypes=_dtypes(parts, computed),
        parts=parts,
        computed=computed,
        keys=_keys(name, parts),
        requests=requests,
    )


def _part(name: str, view: FeatureView, projection: FeatureViewProjection, features: list[str]) -> Part:
    keys = {column.name: projection.join_key_map.get(column.name, column.name) for column in view.entity_columns}
    return Part(name=name, view=view, keys=keys, features=tuple(features))


def _dtypes(parts: list[Part], computed: Mapping[str, OnDemandFeatureView]) -> dict[Feature, FeastType]:
    dtypes: dict[Feature, FeastType] = {}
    for part in parts:
        dtypes |= {(part.name, field.name): field.dtype for field in part.view.features}
    for name, view in computed.items():
        dtypes |= {(name, field.name): field.dtype for field in view.features}
    return dtypes


def _keys(service: str, parts: list[Part]) -> dict[str, FeastType]:
    keys: dict[str, FeastType] = {}
    for part in parts:
        for column in part.view.entity_columns:
            asked = part.keys[column.name]
            if str(keys.setdefault(asked, column.dtype)) != str(column.dtype):
                raise Refusal(
                    f"feature service {service!r}: the key {asked} is {keys[asked]} in one view and {column.dtype} in {part.view.name!r}. "
                    "A key has one type: correct the views' fields."
                )
    return keys
