"""What a feature service's vectors are made of: the views it joins, on which keys, and what is computed on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feast import FeatureService, FeatureView
from feast.feature_view_projection import FeatureViewProjection
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import FeastType

from feature_runtime.contract import service_sha256
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
    """A service's vector in the contract's order, or that of listed features (`service` is empty), and everything it takes to make one.

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
    def refs(self) -> list[str]:
        """Its features as requests name them."""
        return [f"{view}:{name}" for view, name in self.features]

    @property
    def title(self) -> str:
        """What to call it in messages."""
        return f"feature service {self.service!r}" if self.service else "--features"

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
    return _vector(services[name], locked["services"][name], definitions)


def vector_of_features(refs: Sequence[str], definitions: Definitions, *, full_names: bool) -> Vector:
    """The vector of features that are named as `view:feature`, in that order; its `service` is empty.

    Raises:
        Refusal: some are not in the definitions, or named twice, or two columns would have one name; names all.
    """
    views: dict[str, Any] = {view.name: view for view in [*definitions.views, *definitions.on_demand_views]}
    chosen: dict[str, list[str]] = {}
    features: list[list[str]] = []
    problems = []
    for ref in refs:
        name, _, feature = ref.partition(":")
        known = {field.name: field for field in views[name].features} if name in views else {}
        if name not in views:
            problems.append(f"{ref!r}: there is no feature view {name!r}. There are: {', '.join(sorted(views))}.")
        elif feature not in known:
            problems.append(f"{ref!r}: the feature view {name!r} has no feature {feature!r}. It has: {', '.join(known)}.")
        elif feature in chosen.setdefault(name, []):
            problems.append(f"{ref!r} is named twice. Name it once.")
        else:
            chosen[name].append(feature)
            features.append([name, feature, str(known[feature].dtype)])
    if not problems:
        service = FeatureService(name="", features=[views[name][names] for name, names in chosen.items()])
        described = {"features": features, "sha256": service_sha256(features), "full_feature_names": full_names}
        vector = _vector(service, described, definitions)
        names = [*vector.names, *vector.keys]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not twice:
            return vector
        remedy = "Leave one out." if full_names else "Add --full-feature-names."
        problems = [f"two columns would be called {name!r}. {remedy}" for name in twice]
    raise Refusal(f"--features: {' '.join(problems)}", problems=problems)


def _vector(service: FeatureService, described: Mapping[str, Any], definitions: Definitions) -> Vector:
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

    for projection in service.feature_view_projections:
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
    features = [(view, feature) for view, feature, _ in described["features"]]
    return Vector(
        service=service.name,
        sha256=described["sha256"],
        features=features,
        full_names=described.get("full_feature_names", False),
        dtypes=_dtypes(parts, computed),
        parts=parts,
        computed=computed,
        keys=_keys(service.name, parts),
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
    of = f"feature service {service!r}: " if service else ""
    for part in parts:
        for column in part.view.entity_columns:
            asked = part.keys[column.name]
            if str(keys.setdefault(asked, column.dtype)) != str(column.dtype):
                raise Refusal(
                    f"{of}the key {asked} is {keys[asked]} in one view and {column.dtype} in {part.view.name!r}. "
                    "A key has one type: correct the views' fields."
                )
    return keys
