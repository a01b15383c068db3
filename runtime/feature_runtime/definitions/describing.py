"""Feast objects in the words of the contract, wherever they come from: the feature repo, or a registry.

What is described is what models, training and stored values depend on. What has its default is left out, so that the
file stays one that people read.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, OnDemandFeatureView, StreamFeatureView
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_NAME
from feast.permissions.permission import Permission

from feature_runtime.contract import FORMAT_VERSION, Contract, seconds, service_sha256
from feature_runtime.definitions.feature_repo import COPY_PREFIX, OWN_PREFIX, Definitions
from feature_runtime.definitions.file_places import place_of
from feature_runtime.definitions.transformations import sha256_of_source
from feature_runtime.refusal import Refusal
from feature_runtime.repo_files import definitions_sha256

Description = dict[str, Any]
OF_A_COPY = re.compile(rf"/{COPY_PREFIX}\w+/above/")


def contract_of_definitions(repo: Path, definitions: Definitions) -> Contract:
    """The contract that the feature repo's definitions make, as `lock` writes it and `apply` compares it."""
    described = describe(
        project=definitions.project,
        definitions=definitions_sha256(repo),
        entities=definitions.entities,
        sources=definitions.sources,
        views=definitions.views,
        on_demand_views=definitions.on_demand_views,
        services=definitions.services,
        permissions=definitions.permissions,
    )
    described["feast_version"] = feast_version()
    if named := sorted(set(_strings_of_copies(described))):
        raise Refusal(
            f"the definitions write where they lie (`__file__`, the working directory) into {'; '.join(named)}. That is another directory "
            "on each machine. Write it relative to the feature repo, or leave it out."
        )
    return described


def _strings_of_copies(said: Any, path: str = "") -> Iterator[str]:
    """What of a contract holds the name of the copy from which definitions were imported, which no other run has."""
    if isinstance(said, dict):
        for key, value in said.items():
            place = f"{path}.{key}" if path else key
            yield from [f"the name of one of the {path}"] if OF_A_COPY.search(key) else _strings_of_copies(value, place)
    elif isinstance(said, str) and OF_A_COPY.search(said):
        yield path


def feast_version() -> str:
    """Major and minor version of Feast: between these, what it writes may change."""
    return ".".join(version("feast").split(".")[:2])


def describe(
    *,
    project: str,
    definitions: str,
    entities: Iterable[Entity],
    sources: Iterable[DataSource],
    views: Sequence[FeatureView],
    services: Iterable[FeatureService],
    on_demand_views: Sequence[OnDemandFeatureView] = (),
    permissions: Iterable[Permission] = (),
) -> Contract:
    """The contract of Feast objects. `definitions` is their `definitions_sha256`."""
    every_view = [*views, *on_demand_views]
    contract = {
        "format_version": FORMAT_VERSION,
        "project": project,
        "definitions_sha256": definitions,
        "entities": {entity.name: describe_entity(entity) for entity in entities if not entity.name.startswith(OWN_PREFIX)},
        "sources": {source.name: describe_source(source) for source in sources if not source.name.startswith(OWN_PREFIX)},
        "views": {view.name: describe_view(view) for view in views},
        "services": {
            service.name: describe_service(service, whole_views(service, every_view), _asked_keys(service, every_view))
            for service in services
        },
    }
    optional = {
        "on_demand_views": {view.name: describe_on_demand_view(view) for view in on_demand_views},
        "permissions": {permission.name: describe_permission(permission) for permission in permissions},
    }
    return contract | {name: section for name, section in optional.items() if section}


def describe_entity(entity: Entity) -> Description:
    """Its join key and type."""
    return {"join_key": entity.join_key, "value_type": entity.value_type.name, **_documentation(entity)}


def describe_source(source: DataSource) -> Description:
    """Where its rows are, without the environment's bucket, and which columns say when they were true."""
    path = str(getattr(source, "path", None) or "")
    key, location = place_of(path) if path else ("", "")
    table = getattr(source, "table", None) or getattr(source, "query", None)
    schema = getattr(source, "schema", None)
    batch_source = getattr(source, "batch_source", None)
    return {
        "type": type(source).__name__,
        "timestamp_field": source.timestamp_field,
        "created_timestamp_column": source.created_timestamp_column,
        **_set(
            # The bucket is the environment's; which file of it, is the contract's.
            file=key,
            location=location,
            table=str(table) if table else "",
            batch_source=batch_source.name if batch_source else "",
            schema=_fields(schema) if isinstance(schema, list) else [],
            date_partition_column=source.date_partition_column,
            field_mapping=dict(source.field_mapping or {}),
        ),
        **_documentation(source),
    }


def describe_view(view: FeatureView) -> Description:
    """A view that is loaded from a source. `ttl_seconds` is 0 for ever, and null when Feast was given None."""
    stream = isinstance(view, StreamFeatureView)
    return {
        "kind": "stream" if stream else "batch",
        "entities": [name for name in view.entities if name != DUMMY_ENTITY_NAME],
        "entity_columns": _columns(view),
        "features": _fields(view.features),
        "ttl_seconds": seconds(view.ttl) if view.ttl is not None else None,
        "online": view.online,
        "source": view.batch_source.name if view.batch_source else None,
        **_set(
            stream_source=view.stream_source.name if view.stream_source else "",
            settings=_settings(view.features),
            disabled=not view.enabled,
            version="" if view.version == "latest" else view.version,
            transformation_sha256=_transformation(view),
        ),
        **_documentation(view),
    }


def describe_on_demand_view(view: OnDemandFeatureView) -> Description:
    """A view that is computed when it is asked for: from which columns, and the digest of the code that does it."""
    inputs: dict[str, Any] = {
        projection.name_to_use(): {
            "view": projection.name,
            "features": _fields(projection.features),
            **_set(join_key_map=dict(projection.join_key_map or {})),
        }
        for projection in view.source_feature_view_projections.values()
    }
    inputs |= {name: {"request": _fields(source.schema)} for name, source in view.source_request_sources.items()}
    return {
        "features": _fields(view.features),
        "sources": inputs,
        "mode": str(view.mode),
        **_set(
            transformation_sha256=_transformation(view),
            entities=[name for name in view.entities or [] if name != DUMMY_ENTITY_NAME],
            entity_columns=_columns(view),
            singleton=view.singleton,
            write_to_online_store=view.write_to_online_store,
            aggregations=[str(aggregation) for aggregation in view.aggregations],
            settings=_settings(view.features),
            disabled=not view.enabled,
        ),
        **_documentation(view),
    }


def describe_service(service: FeatureService, whole: Iterable[str], keys: Iterable[str] = ()) -> Description:
    """The vector: `[view, feature, type]` in the order in which a model receives them, and the digest of that.

    `whole` are views that it takes without saying which of their features, `keys` what it is asked for by. Where two of all these
    have one name the vector has `full_feature_names`.
    """
    projections = service.feature_view_projections
    features = [
        [projection.name_to_use(), feature.name, str(feature.dtype)] for projection in projections for feature in projection.features
    ]
    names = [*(name for _, name, _ in features), *keys]
    return {
        "features": features,
        "sha256": service_sha256(features),
        **_set(
            aliases={
                projection.name_to_use(): projection.name for projection in projections if projection.name_to_use() != projection.name
            },
            join_key_maps={p.name_to_use(): dict(p.join_key_map) for p in projections if p.join_key_map},
            whole_views=sorted(whole),
            precompute_online=service.precompute_online,
            full_feature_names=len(set(names)) < len(names),
        ),
        **_documentation(service),
    }


def whole_views(service: FeatureService, views: Sequence[FeatureView | OnDemandFeatureView]) -> list[str]:
    """The views that a service takes as they are; Feast shares the view's own list of features with it then."""
    lists = {id(kept) for view in views for kept in (view.features, view.projection.features)}
    return [projection.name_to_use() for projection in service.feature_view_projections if id(projection.features) in lists]


def _asked_keys(service: FeatureService, views: Sequence[FeatureView | OnDemandFeatureView]) -> set[str]:
    """The join keys that a request for a service has."""
    named = {view.name: view for view in views}
    read = [
        source
        for projection in service.feature_view_projections
        for source in getattr(named.get(projection.name), "source_feature_view_projections", {"": projection}).values()
        if source.name in named
    ]
    return {source.join_key_map.get(name, name) for source in read for name, _ in _columns(named[source.name])}


def describe_permission(permission: Permission) -> Description:
    """Who may do what to which objects; sorted, since their order means nothing."""
    policy = permission.policy
    return {
        "types": sorted(kind.__name__ for kind in permission.types),
        "name_patterns": sorted(permission.name_patterns),
        "actions": sorted(action.name for action in permission.actions),
        "policy": {
            "type": type(policy).__name__ if policy is not None and not isinstance(policy, type) else "AllowAll",
            **{key: sorted(value) for key, value in sorted(vars(policy).items()) if isinstance(value, list)},
        },
        **_set(required_tags=dict(permission.required_tags or {})),
    }


def _fields(fields: Iterable[Field]) -> list[list[str]]:
    return [[field.name, str(field.dtype)] for field in fields]


def _columns(view: FeatureView | OnDemandFeatureView) -> list[list[str]]:
    return _fields(column for column in view.entity_columns if not column.name.startswith(OWN_PREFIX))


def _settings(fields: Iterable[Field]) -> dict[str, Any]:
    """What features say beyond name and type."""
    said = {
        field.name: _set(
            vector_index=field.vector_index,
            vector_length=field.vector_length,
            vector_search_metric=field.vector_search_metric or "",
            tags=dict(sorted(field.tags.items())),
        )
        for field in fields
    }
    return {name: settings for name, settings in said.items() if settings}


def _transformation(view: Any) -> str:
    transformation = getattr(view, "feature_transformation", None)
    if transformation is None:
        return ""
    return sha256_of_source(getattr(transformation, "udf_string", "") or "", getattr(transformation, "udf", None))


def _documentation(described: Any) -> dict[str, Any]:
    return _set(
        description=getattr(described, "description", "") or "",
        owner=getattr(described, "owner", "") or "",
        tags=dict(sorted((getattr(described, "tags", None) or {}).items())),
    )


def _set(**values: Any) -> dict[str, Any]:
    """Those that are not empty, 0 or false."""
    return {name: value for name, value in values.items() if value}
