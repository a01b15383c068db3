"""What a live Kubernetes object says about the inputs it was made from: the basis of drift detection.

The API server fills in defaults, rewrites quantities and lets controllers write; none of that is drift. Drift is a field
we set that has another value now, or a field somebody else has set: not us, not the control plane.
"""

import base64
import binascii
import copy
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from sandbox.providers import diff, wire
from sandbox.providers.api_server import FIELD_MANAGER, Object

# Managers whose writes are the cluster doing its work, on any distribution the sandbox may be pointed at.
_CONTROL_PLANE = re.compile(
    r"kube-(controller-manager|scheduler|apiserver|proxy)|kubelet|kubelite|k3s|rke2|eks.*|aws-.*|cloud-controller-manager"
    r"|.*-provisioner|coredns|cluster-autoscaler"
)
_OURS = re.compile(rf"{re.escape(FIELD_MANAGER)}|pulumi.*")
_BOOKKEEPING_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration",)

# Below these, a text or number is a quantity: `1000m` and `1`, `0.5` and `500m` are the same. Elsewhere the dry run decides.
_QUANTITY_PARENTS = frozenset({"limits", "requests", "capacity", "hard", "overhead", "sizeLimit", "averageValue"})
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(n|u|m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_POWERS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

# What identifies an element of a list of maps, in the order in which to try.
_IDENTITIES = (("name",), ("mountPath",), ("containerPort",), ("port",), ("ip",), ("topologyKey",), ("key",), ("type",))

_SERVER_METADATA = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
]


def body(inputs: Mapping[str, Any]) -> Object:
    """What is sent to the API server: no nulls, no status, a Secret's texts as data."""
    sent: Object = _without_nulls(wire.reveal(inputs))
    sent.pop("status", None)
    if sent.get("kind") == "Secret" and "stringData" in sent:
        # Applied as stringData it would have two owners, and a removed key would stay.
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in sent.pop("stringData").items()}
        sent["data"] = {**(sent.get("data") or {}), **encoded}
    return sent


def state(live: Object, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs kept in the state: the live object, with everything secret marked."""
    kept = copy.deepcopy(live)
    kept.get("metadata", {}).pop("managedFields", None)
    return mark_secret_data(wire.conceal(kept, inputs))


def without_assigned(found: Object, sent: Object) -> Object:
    """A dry run's result, with what the server would assign anew for the real object marked as not known yet."""
    previewed = {key: value for key, value in copy.deepcopy(found).items() if key != "status"}
    for field in ("uid", "resourceVersion", "creationTimestamp"):
        previewed["metadata"][field] = wire.UNKNOWN
    if previewed.get("kind") == "Service":
        for field in ("clusterIP", "clusterIPs"):
            if field in previewed["spec"] and field not in sent.get("spec", {}):
                previewed["spec"][field] = wire.UNKNOWN
    return previewed


def mark_secret_data(item: dict[str, Any]) -> dict[str, Any]:
    """A Secret's content is secret even where the program did not say so."""
    if item.get("kind") != "Secret":
        return item
    marked = dict(item)
    for field in ("data", "stringData"):
        if field in marked and not isinstance(marked[field], wire.Secret) and marked[field] is not None:
            value = wire.reveal(marked[field])
            wire.remember_secret(value)
            marked[field] = wire.Secret(value)
    return marked


def inputs_now(inputs: Mapping[str, Any], live: Object, normal: Object | None = None) -> dict[str, Any]:
    """The inputs that would produce the live object.

    `normal` is what the API server makes of `inputs` (a dry run), where it was asked: what it has in common with the live
    object is no drift, however it is written.
    """
    live = _comparable(live, inputs)
    normal = None if normal is None else _comparable(normal, inputs)
    projected = _project(dict(inputs), live, normal, ())
    assert isinstance(projected, dict)
    for fields in _foreign_fields(live):
        projected = _with_owned(projected, live, fields)
    for annotation in _BOOKKEEPING_ANNOTATIONS:
        annotations = projected.get("metadata", {}).get("annotations")
        if isinstance(annotations, dict) and annotation not in (_annotations(inputs)):
            annotations.pop(annotation, None)
            if not annotations and "annotations" not in inputs.get("metadata", {}):
                projected["metadata"].pop("annotations")
    return mark_secret_data(projected)


def imported_inputs(live: Object) -> dict[str, Any]:
    """Inputs for an object that no program has described yet: all of it but what the server wrote."""
    kept = {key: value for key, value in copy.deepcopy(live).items() if key != "status"}
    for field in _SERVER_METADATA:
        kept["metadata"].pop(field, None)
    return mark_secret_data(kept)


def left_behind(old: Mapping[str, Any], new: Mapping[str, Any], live: Object) -> list[dict[str, Any]]:
    """JSON patch operations for what the program no longer wants but a foreign manager still holds.

    Server-side apply removes only what we own, so a label added by hand would outlive every update.
    """
    foreign: dict[str, Any] = {}
    for fields in _foreign_fields(live):
        foreign = _with_owned(foreign, live, fields)
    pointers = []
    for path, kind in diff.changes(wire.reveal(old), wire.reveal(new)):
        pointer = _pointer(path, wire.reveal(old), live, foreign) if kind == "DELETE" else None
        if pointer is not None:
            pointers.append(pointer)
    # From the back, so that removing a list element does not move the next one to be removed.
    pointers.sort(key=lambda pointer: [(isinstance(part, int), part) for part in pointer], reverse=True)
    return [{"op": "remove", "path": "".join(f"/{_escaped(part)}" for part in pointer)} for pointer in pointers]


def made_by_us(live: Object) -> bool:
    """Whether a sandbox run created this object, this one or an earlier one."""
    return any(_OURS.fullmatch(entry.get("manager", "")) for entry in live["metadata"].get("managedFields") or [])


def same_quantity(one: Any, other: Any) -> bool:
    """Whether two quantities are the same amount, however they are written."""
    first, second = _quantity(one), _quantity(other)
    return first is not None and first == second


# --- Projection -------------------------------------------------------------------------------------------------------


def _project(wanted: Any, live: Any, normal: Any, path: tuple[str, ...]) -> Any:
    if wanted is None:  # "whatever the server chooses"
        return None
    if isinstance(wanted, wire.Secret):
        return wire.Secret(_project(wanted.value, live, normal, path))
    if normal is not None and normal == live:
        return wanted
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        normals = normal if isinstance(normal, Mapping) else {}
        projected = {}
        for key, value in wanted.items():
            if not path and key in ("status", "apiVersion", "kind"):
                projected[key] = value
            elif key in live:
                projected[key] = _project(value, live[key], normals.get(key), (*path, key))
            elif _is_empty(value) or (normal is not None and key not in normals):
                projected[key] = value
        return projected
    if isinstance(wanted, list) and isinstance(live, list):
        return _project_list(wanted, live, normal if isinstance(normal, list) else None, path)
    return wanted if _same(wanted, live, path) else wire.conceal(live, wanted)


def _project_list(wanted: list[Any], live: list[Any], normal: list[Any] | None, path: tuple[str, ...]) -> Any:
    identity = _identity(wanted, live)
    if identity is not None:
        alive, expected = _by(identity, live), _by(identity, normal or [])
        return [
            _project(item, alive[_key(identity, item)], expected.get(_key(identity, item)), path)
            for item in wanted
            if _key(identity, item) in alive
        ]
    if len(wanted) == len(live):
        normals = normal if normal is not None and len(normal) == len(live) else [None] * len(live)
        return [_project(item, alive, norm, path) for item, alive, norm in zip(wanted, live, normals, strict=True)]
    return wire.conceal(live, wanted)


def _same(wanted: Any, live: Any, path: tuple[str, ...]) -> bool:
    if wanted == live and isinstance(wanted, bool) == isinstance(live, bool):
        return True
    if path and path[0] == "metadata":
        return False
    is_quantity = any(part in _QUANTITY_PARENTS for part in path)
    return is_quantity and same_quantity(wanted, live)


def _is_empty(value: Any) -> bool:
    """What the API server leaves out: nulls, zero values, and containers of nothing else."""
    if isinstance(value, wire.Secret):
        return _is_empty(value.value)
    if isinstance(value, Mapping):
        return all(_is_empty(item) for item in value.values())
    return value is None or value in ("", 0, [])


def _comparable(live: Object, inputs: Mapping[str, Any]) -> Object:
    """The live object in the form of the inputs: a Secret's data as texts where the inputs give texts."""
    texts = wire.reveal(inputs.get("stringData")) if inputs.get("kind") == "Secret" else None
    if not texts:
        return live
    data = dict(live.get("data") or {})
    shown = {**live, "stringData": {}, "data": data}
    for key in texts:
        if key in data:
            shown["stringData"][key] = _text(data.pop(key))
    for entry in (managed := copy.deepcopy(live["metadata"].get("managedFields") or [])):
        fields = entry.get("fieldsV1") or {}
        # A text somebody else wrote is compared above; as data it would be counted twice.
        held = {key: below for key, below in fields.get("f:data", {}).items() if key[2:] not in texts and key != "."}
        fields.pop("f:data", None)
        if held:
            fields["f:data"] = held
    shown["metadata"] = {**live["metadata"], "managedFields": managed}
    return shown


def _text(encoded: str) -> str:
    try:
        return base64.b64decode(encoded).decode()
    except (binascii.Error, UnicodeDecodeError):
        return encoded


# --- Fields of other managers -----------------------------------------------------------------------------------------


def _foreign_fields(live: Object) -> Iterator[dict[str, Any]]:
    for entry in live["metadata"].get("managedFields") or []:
        manager = entry.get("manager", "")
        if _OURS.fullmatch(manager) or _CONTROL_PLANE.fullmatch(manager):
            continue
        fields = {key: value for key, value in (entry.get("fieldsV1") or {}).items() if key != "f:status"}
        if fields:
            yield fields


def _with_owned(target: Any, live: Any, fields: Mapping[str, Any]) -> Any:
    """`target` and in addition the live values of `fields` (the fieldsV1 format) that it does not have."""
    if isinstance(target, wire.Secret):
        return wire.Secret(_with_owned(target.value, live, fields))
    if isinstance(live, Mapping):
        return _with_owned_fields(target, live, fields)
    if isinstance(live, list):
        return _with_owned_elements(target, live, fields)
    return target


def _with_owned_fields(target: Any, live: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    grown = dict(target) if isinstance(target, Mapping) else {}
    for key, below in fields.items():
        name = key[2:]
        if key.startswith("f:") and name in live:
            value = _owned_value(grown.get(name), live[name], below)
            if value is not None:
                grown[name] = value
    return grown


def _with_owned_elements(target: Any, live: list[Any], fields: Mapping[str, Any]) -> list[Any]:
    elements = list(target) if isinstance(target, list) else []
    for key, below in fields.items():
        if key.startswith("v:"):
            value = json.loads(key[2:])
            if value in live and value not in elements:
                elements.append(value)
        elif key.startswith("k:"):
            _with_owned_element(elements, live, json.loads(key[2:]), below)
    return elements


def _owned_value(present: Any, live: Any, fields: Mapping[str, Any]) -> Any:
    below = {key: value for key, value in fields.items() if key != "."}
    if below:
        grown = _with_owned(present, live, below)
        return grown if grown or present is not None else None
    if present is not None or ("." in fields and isinstance(live, list | dict)):  # "." alone owns an empty container
        return present
    return live


def _with_owned_element(elements: list[Any], live: list[Any], identity: Mapping[str, Any], fields: Any) -> None:
    def is_it(item: Any) -> bool:
        # The server fills in part of an identity, such as a port's protocol.
        return isinstance(item, Mapping) and all(item.get(key, value) == value for key, value in identity.items())

    alive = next((item for item in live if is_it(item)), None)
    if alive is None:
        return
    below = {key: value for key, value in fields.items() if key != "."}
    for index, element in enumerate(elements):
        if is_it(element):
            elements[index] = _with_owned(element, alive, below)
            return
    elements.append({**identity, **_with_owned({}, alive, below)})


def _pointer(path: diff.Path, old: Any, live: Any, foreign: Any) -> list[str | int] | None:
    """Where a path of the old inputs is in the live object, if a foreign manager holds it there."""
    pointer: list[str | int] = []
    for part in path:
        if isinstance(part, int):
            if not all(isinstance(side, list) for side in (old, live, foreign)):
                return None
            old = old[part]
            position, held = _position(old, live), _position(old, foreign)
            if position is None or held is None:
                return None
            live, foreign = live[position], foreign[held]
            pointer.append(position)
        else:
            if not all(isinstance(side, Mapping) and part in side for side in (old, live, foreign)):
                return None
            old, live, foreign = old[part], live[part], foreign[part]
            pointer.append(part)
    return pointer


def _position(element: Any, elements: list[Any]) -> int | None:
    if element in elements:
        return elements.index(element)
    identity = _identity([element], elements)
    if identity is None:
        return None
    keys = [_key(identity, item) for item in elements]
    wanted = _key(identity, element)
    return keys.index(wanted) if wanted in keys else None


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


# --- Small things -----------------------------------------------------------------------------------------------------


def _identity(*lists: list[Any]) -> tuple[str, ...] | None:
    """The fields that tell the elements of all these lists apart."""
    for fields in _IDENTITIES:
        for elements in lists:
            plain = [wire.reveal(element) for element in elements]
            if not all(isinstance(element, Mapping) and all(f in element for f in fields) for element in plain):
                break
            keys = [_key(fields, element) for element in plain]
            if len(set(keys)) != len(keys):
                break
        else:
            return fields
    return None


def _key(identity: tuple[str, ...], element: Any) -> tuple[str, ...]:
    plain = wire.reveal(element)
    return tuple(str(plain[field]) for field in identity)


def _by(identity: tuple[str, ...], elements: list[Any]) -> dict[tuple[str, ...], Any]:
    return {_key(identity, element): element for element in elements}


def _quantity(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, unit = match.groups()
    try:
        amount = Decimal(number)
    except ArithmeticError:
        return None
    if unit in _BINARY_POWERS:
        return amount * (Decimal(2) ** _BINARY_POWERS[unit])
    return amount.scaleb(_POWERS.get(unit, 0))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def _annotations(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return (item.get("metadata") or {}).get("annotations") or {}
