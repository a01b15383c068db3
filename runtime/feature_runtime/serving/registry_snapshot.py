"""What can be served, in plain data: from the registry as Feast has it, in the order of the contract."""

from typing import Any

from feast import FeatureStore
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.on_demand_feature_view import OnDemandFeatureView

from feature_runtime.contract import seconds, service_sha256, training_only
from feature_runtime.definitions.loadable import changes_values
from feature_runtime.definitions.unenforced import REMEDY, permissions_problem, registered_permissions
from feature_runtime.refusal import Refusal
from feature_runtime.registry.rebuilding import why_not_rebuilt
from feature_runtime.serving import on_demand
from feature_runtime.serving.drafting import make_question
from feature_runtime.serving.question import Description, PlanRefused


def describe(store: FeatureStore, contract: dict[str, Any]) -> tuple[Description, list[OnDemandFeatureView]]:
    """The description that a plan is made of, and the views to compute: those without problems.

    Every service of the contract must be in the registry with its features and their types; its order is the
    contract's. Other services of the registry are served as the registry has them.

    Raises:
        PlanRefused: the registry does not have what the contract promises, naming every difference; or it has permissions.
    """
    _refuse_permissions(store)
    versioning = store.config.registry.enable_online_feature_view_versioning
    views: dict[str, Any] = {}
    unserved: dict[str, str] = {}
    computed = []
    kinds = (store.list_batch_feature_views, store.list_stream_feature_views, store.list_label_views)
    for view in [view for views_of in kinds for view in views_of(allow_cache=True)]:
        if reason := _why_not(view) or changes_values(view):
            unserved[view.name] = reason
        else:
            views[view.name] = stored_view(view, compute_versioned_name(view, versioning))
    join_keys = {name: view["join_keys"] for name, view in views.items()}
    for view in store.list_on_demand_feature_views(allow_cache=True):
        if reason := _why_not(view) or _sourceless(view, views, unserved) or "; ".join(on_demand.problems(view, join_keys)):
            unserved[view.name] = reason
        else:
            views[view.name] = computed_view(view)
            computed.append(view)
    registered = {
        service.name: service_as_asked(service) for service in store.registry.list_feature_services(store.project, allow_cache=True)
    }
    for_training = training_only(contract)
    served = {name: service for name, service in contract["services"].items() if name not in for_training}
    wrong = _differences(served, registered, views, unserved)
    if wrong:
        raise PlanRefused("the registry cannot serve the contract: " + "; ".join(wrong))
    description = {
        "project": store.project,
        "definitions_sha256": contract["definitions_sha256"],
        "entity_key_version": store.config.entity_key_serialization_version,
        "views": views,
        "services": {},
        "unserved": unserved,
    }
    for name, service in registered.items():
        if name in for_training:
            unserved[name] = for_training[name]
        elif name in served:
            description["services"][name] = service | served[name]
        elif isinstance(found := _service(description, service), str):
            unserved[name] = found
        else:
            description["services"][name] = found
    return description, computed


def _refuse_permissions(store: FeatureStore) -> None:
    try:
        permissions = sorted(permission.name for permission in registered_permissions(store, allow_cache=True))
    except Refusal as refusal:
        raise PlanRefused(str(refusal).rstrip(".")) from None
    if permissions:
        raise PlanRefused(f"{permissions_problem(permissions, 'Apply definitions without them: that removes them')}. {REMEDY.rstrip('.')}")


def _version(view: Any) -> int:
    return getattr(view, "current_version_number", 0) or 0


def _why_not(view: Any) -> str | None:
    if not getattr(view, "enabled", True):
        return "it is disabled in the registry"
    if not getattr(view, "online", True):
        return "it is not online: nothing loads it"
    return why_not_rebuilt(view) or None


def _sourceless(view: OnDemandFeatureView, views: dict[str, Any], unserved: dict[str, str]) -> str | None:
    for source in view.source_feature_view_projections.values():
        if source.name not in views:
            return f"its source view {source.name!r} is not served: {unserved.get(source.name, 'the registry does not have it')}"
    return None


def stored_view(view: Any, stored_as: str) -> dict[str, Any]:
    """A loaded view as a plan has it; `stored_as` is its name within the keys of the online store."""
    ttl = getattr(view, "ttl", None)
    return {
        "kind": "stored",
        "stored_as": stored_as,
        "join_keys": [[column.name, str(column.dtype)] for column in view.entity_columns if column.name != DUMMY_ENTITY_ID],
        "features": [[field.name, str(field.dtype)] for field in view.features],
        "ttl_seconds": seconds(ttl) if ttl else 0,
        "version": _version(view),
    }


def computed_view(view: OnDemandFeatureView) -> dict[str, Any]:
    """An on-demand view as a plan has it."""
    return on_demand.describe(view) | {
        "sources": {
            projection.name: {
                "view": projection.name,
                "asked_as": projection.name_to_use(),
                "join_key_map": dict(projection.join_key_map),
            }
            for projection in view.source_feature_view_projections.values()
        },
        "version": _version(view),
    }


def service_as_asked(service: Any) -> dict[str, Any]:
    """The features of a service as `[view as it is asked, feature]`, and which views those are."""
    return {
        "features": [
            [projection.name_to_use(), feature.name] for projection in service.feature_view_projections for feature in projection.features
        ],
        "projections": {
            projection.name_to_use(): {"view": projection.name, "join_key_map": dict(projection.join_key_map)}
            for projection in service.feature_view_projections
        },
    }


def _differences(services: dict[str, Any], registered: dict[str, Any], views: dict[str, Any], unserved: dict[str, str]) -> list[str]:
    wrong = []
    for name, locked in services.items():
        service = registered.get(name)
        if service is None:
            wrong.append(f"the feature service {name!r} is not in the registry")
            continue
        for asked_as, feature, dtype in locked["features"]:
            if [asked_as, feature] not in service["features"]:
                wrong.append(f"{name!r} in the registry does not have {asked_as}:{feature}")
                continue
            view = service["projections"][asked_as]["view"]
            if view not in views:
                wrong.append(f"the view {view!r} of {name!r} is not served: {unserved.get(view, 'the registry does not have it')}")
            elif (found := _type(views[view], feature)) != dtype:
                wrong.append(f"{asked_as}:{feature} is a {found} in the registry, a {dtype} in the contract")
    return wrong


def _service(description: Description, service: dict[str, Any]) -> dict[str, Any] | str:
    """A service of the registry alone, as the registry has it; or why it cannot be answered."""
    views = description["views"]
    for asked_as, feature in service["features"]:
        view = service["projections"][asked_as]["view"]
        if view not in views:
            return f"its view {view!r} is not served: {description['unserved'].get(view, 'the registry does not have it')}"
        if _type(views[view], feature) is None:
            return f"its view {view!r} has no feature {feature!r}"
    try:
        make_question(description, service["features"], service["projections"], full_names=True, service=None, sha256=None)
    except PlanRefused as refused:
        return str(refused)
    features = [
        [asked_as, feature, _type(views[service["projections"][asked_as]["view"]], feature)] for asked_as, feature in service["features"]
    ]
    return service | {"features": features, "sha256": service_sha256(features)}


def _type(view: dict[str, Any], feature: str) -> str | None:
    found: str | None = dict(view["features"]).get(feature)
    return found
