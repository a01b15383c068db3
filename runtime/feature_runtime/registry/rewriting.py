"""Write into the registry what Feast's apply takes for unchanged and leaves as it was.

Feast compares a service without regard to the order of its views, and an on-demand view without regard to its features,
tags and owner. Their new definitions would never arrive.
"""

from collections.abc import Callable
from typing import Any

from feast import FeatureStore

from feature_runtime.contract import without_tags_of_features
from feature_runtime.definitions.describing import (
    describe_entity,
    describe_on_demand_view,
    describe_service,
    describe_source,
    describe_view,
)
from feature_runtime.definitions.feature_repo import Definitions

MARK = "feast-eks: being rewritten"
"""A description that no object has; an apply that ends while it stands is completed by the next one."""


def rewrite_what_feast_kept(store: FeatureStore, definitions: Definitions) -> None:
    """Replace every object that the registry describes in other words than the feature repo."""
    store.refresh_registry()
    registry, project = store.registry, store.project
    groups: list[tuple[list[Any], list[Any], Callable[[Any], Any], Callable[[Any], Any]]] = [
        (definitions.entities, store.list_entities(), describe_entity, lambda o: registry.apply_entity(o, project)),
        (definitions.sources, store.list_data_sources(), describe_source, lambda o: registry.apply_data_source(o, project)),
        (
            definitions.views,
            [*store.list_batch_feature_views(), *store.list_stream_feature_views()],
            _as_registered(describe_view),
            lambda o: registry.apply_feature_view(o, project),
        ),
        (
            definitions.on_demand_views,
            store.list_on_demand_feature_views(),
            lambda view: without_tags_of_features(describe_on_demand_view(view)),
            lambda o: registry.apply_feature_view(o, project),
        ),
        (
            definitions.services,
            store.list_feature_services(),
            lambda service: describe_service(service, ()),
            lambda o: registry.apply_feature_service(o, project),
        ),
    ]
    for defined, registered, describe, write in groups:
        found = {each.name: each for each in registered}
        for each in defined:
            if each.name in found and describe(each) != describe(found[each.name]):
                _rewrite(each, write)


def _rewrite(defined: Any, write: Callable[[Any], Any]) -> None:
    """Write it twice, first with another description: never is it gone, and its loaded intervals stay."""
    if not hasattr(defined, "description"):
        write(defined)
        return
    description, defined.description = defined.description, MARK
    try:
        write(defined)
    finally:
        defined.description = description
    write(defined)


def _as_registered(describe: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    def described(view: Any) -> dict[str, Any]:
        said = describe(view)
        return said | {"ttl_seconds": said["ttl_seconds"] or 0}

    return described
