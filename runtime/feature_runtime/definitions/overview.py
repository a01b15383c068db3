"""What a feature repo comes to, in one screen: what is served under which names, only trained on, ignored, and better written down."""

from collections.abc import Iterator, Sequence
from typing import Any

from feature_runtime.contract import Contract, offline_views, vector_names
from feature_runtime.definitions.feature_repo import Definitions
from feature_runtime.definitions.file_places import LOCAL_REMEDY, local_sources

LINES, NAMES = 8, 6
"""Of each section so many lines are shown, and in each line so many names; the others are counted."""

SERVICELESS = (
    'there is no feature service. m_v1 = FeatureService(name="m_v1", features=[…]) would give a model its contract: features in an order',
    "that the gate keeps, that the smoke test and the skew probe compare with the history, and that train-set takes by the service's name",
)


def overview(contract: Contract, definitions: Definitions) -> str:
    """Text of at most some 50 lines, however large the repo is."""
    titled: dict[str, list[str]] = {
        "served, by feature service": list(_services(contract, trained=False)),
        'served in no feature service, asked for as "features": ["view:feature"]': list(_without_service(contract)),
        "only for training sets: not online, so nothing loads it": list(_trained(contract)),
        "ignored": list(_ignored(definitions)),
        "only on this machine, which the cluster does not have and refuses": list(_local(definitions)),
        "better written down: it is only in contract.lock.json, or not at all": list(_unsaid(definitions)),
    }
    said = [f"project {contract['project']}: {_counted(contract)}"]
    for title, lines in titled.items():
        if lines:
            said += [f"{title}:", *(f"  {line}" for line in _some(lines, LINES, "lines"))]
    if not contract["services"]:
        said += SERVICELESS
    return "\n".join(said)


def _counted(contract: Contract) -> str:
    parts = {"feature services": "services", "feature views": "views", "on-demand views": "on_demand_views", "entities": "entities"}
    return ", ".join(f"{len(contract.get(section, {}))} {name}" for name, section in parts.items())


def _services(contract: Contract, *, trained: bool) -> Iterator[str]:
    for name, service in contract["services"].items():
        if bool(offline_views(contract, service)) is trained:
            full = ", with full_feature_names" if service.get("full_feature_names") else ""
            yield f"{name}{_by(contract, service)}{full}: {_names(vector_names(service))}"


def _by(contract: Contract, service: dict[str, Any]) -> str:
    asked = _asked(contract, service)
    return f" by {_names(asked)}" if asked else ""


def _without_service(contract: Contract) -> Iterator[str]:
    taken = {_view(service, label) for service in contract["services"].values() for label, *_ in service["features"]}
    for name, view in _every_view(contract).items():
        if name not in taken and not offline_views(contract, _alone(name, view)):
            yield f"{name}{_by(contract, _alone(name, view))}: {_names([f'{name}:{feature}' for feature, _ in view['features']])}"


def _trained(contract: Contract) -> Iterator[str]:
    for line in _services(contract, trained=True):
        yield f"feature service {line}"
    if names := [name for name, view in contract["views"].items() if not _online(view)]:
        yield f"feature views {_names(names)}"


def _ignored(definitions: Definitions) -> Iterator[str]:
    if labels := [view.name for view in definitions.label_views]:
        yield f"label views {_names(labels)}: nothing here loads or serves labels; give them to train-set as a file"
    if streams := sorted({view.stream_source.name for view in definitions.views if view.stream_source}):
        yield f"streams and pushes of {_names(streams)}: their views are loaded from the batch source"
    if logged := [service.name for service in definitions.services if service.logging_config]:
        yield f"feature logging of {_names(logged)}: nothing is logged"
    vectors = [f"{view.name}:{field.name}" for view in definitions.views for field in view.features if field.vector_index]
    if vectors:
        yield f"vector_index of {_names(vectors)}: served as lists, not searched"


def _local(definitions: Definitions) -> Iterator[str]:
    if local := local_sources(definitions.sources):
        yield f"{_names(local)}. {LOCAL_REMEDY}"


def _unsaid(definitions: Definitions) -> Iterator[str]:
    of_origin: dict[tuple[str, str], list[str]] = {}
    for one in definitions.completed:
        of_origin.setdefault((one.line, one.origin), []).append(one.of)
    for (line, origin), views in sorted(of_origin.items(), key=lambda item: -len(item[1])):
        yield f"{line} in {_names(views)} (taken from {origin})"
    nameless = sorted(source.name for source in definitions.sources if source.name == str(getattr(source, "path", None)))
    if nameless:
        yield f"name= of the sources {_names(nameless)}: the path is their name, so another path is another source"
    if endless := [view.name for view in definitions.views if view.ttl is None]:
        yield f"ttl=timedelta(0) of {_names(endless)}: ttl is None, values count for ever"


def _every_view(contract: Contract) -> dict[str, Any]:
    return {**contract["views"], **contract.get("on_demand_views", {})}


def _alone(name: str, view: dict[str, Any]) -> dict[str, Any]:
    """A view as a service would have it that takes nothing else."""
    return {"features": [[name, *feature] for feature in view["features"]]}


def _view(service: dict[str, Any], label: str) -> str:
    return str(service.get("aliases", {}).get(label, label)).partition("@")[0]


def _reads(contract: Contract, service: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """(view, how its join keys are called) of each view that is read for a service, and its on-demand views' among them."""
    for label in dict.fromkeys(label for label, *_ in service["features"]):
        view = _view(service, label)
        if view in contract["views"]:
            yield view, service.get("join_key_maps", {}).get(label, {})
        for source in contract.get("on_demand_views", {}).get(view, {}).get("sources", {}).values():
            if "view" in source:
                yield source["view"], source.get("join_key_map", {})


def _asked(contract: Contract, service: dict[str, Any]) -> list[str]:
    """What a request must carry: join keys, and data for on-demand views."""
    keys = [
        renamed.get(key, key)
        for view, renamed in _reads(contract, service)
        for key, _ in contract["views"].get(view, {}).get("entity_columns", [])
    ]
    computed = [contract.get("on_demand_views", {}).get(_view(service, label), {}) for label, *_ in service["features"]]
    data = [name for view in computed for source in view.get("sources", {}).values() for name, _ in source.get("request", [])]
    return list(dict.fromkeys([*keys, *data]))


def _online(view: dict[str, Any]) -> bool:
    return bool(view.get("online", True)) and not view.get("disabled", False)


def _names(names: Sequence[str]) -> str:
    return ", ".join(_some(names, NAMES))


def _some(items: Sequence[str], most: int, what: str = "") -> list[str]:
    if len(items) <= most:
        return list(items)
    return [*items[: most - 1], f"… and {len(items) - most + 1} more {what}".rstrip()]
