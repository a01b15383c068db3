"""What a client asks, taken literally: every value has the type of its join key, and nothing is ignored.

A request that breaks a rule is refused with every error found: field, value, rule, remedy. Nothing is coerced.
"""

import json
import math
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from feature_runtime.serving.plan import Plan, UnknownFeatures
from feature_runtime.serving.question import EntityColumn, Question

# Errors listed in one answer; a batch of a thousand wrong ids needs no thousand explanations.
MOST_ERRORS = 20
SHOWN_VALUE = 100

KNOWN_FIELDS = ("entities", "feature_service", "features", "full_feature_names", "include_feature_view_version_metadata")
INT32 = 2**31
INT64 = 2**63


class Refused(Exception):
    """The request is the client's mistake: the HTTP status, a sentence, and the errors one by one."""

    def __init__(self, status: int, errors: list[dict[str, Any]], detail: str | None = None) -> None:
        first = errors[0] if errors else {}
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        self.detail = detail or f"{first['field']}: {first['rule']}{more}. {first['remedy']}"
        super().__init__(self.detail)
        self.status = status
        self.errors = errors


@dataclass(slots=True)
class Asked:
    """A valid request: `count` rows; per read of the question one key per row."""

    question: Question
    count: int
    values: dict[str, list[Any]]
    request_data: dict[str, list[Any]]
    keys: list[list[bytes]]
    versions: bool


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object of a request's body; a name given twice is refused, whichever of the two was meant."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, [problem("body", None, f"the body must be JSON: {error}", "Send one JSON object in UTF-8.")]) from None
    if not isinstance(request, dict):
        raise Refused(422, [problem("body", request, "the body must be a JSON object", EXAMPLE)])
    if _may_repeat_a_name(body, request):
        _refuse_repeated_names(body)
    return request


def asked(plan: Plan, request: dict[str, Any], *, max_entities: int, contract: str | None = None) -> Asked:
    """What a request asks, in terms of the plan.

    `contract` is the sha256 that the client expects the service's contract to have.

    Raises:
        Refused: 404 for services, views and features that are not there, 412 for another contract, 413 for too many
            rows, 422 for everything else.
    """
    versions = request.get("include_feature_view_version_metadata", False)
    question = _question(plan, request, versions)
    if contract is not None and contract != question.sha256:
        raise _another_contract(question, contract)
    values, count = _values(question, request.get("entities"), max_entities)
    return Asked(
        question=question,
        count=count,
        values={column.name: values[column.name] for column in question.entities},
        request_data={column.name: values[column.name] for column in question.request_data},
        keys=[
            read.keys.of([values[name] for name in read.columns]) if read.columns else read.keys.of([[""]]) * count
            for read in question.reads
        ],
        versions=versions,
    )


def problem(field: str, value: Any, rule: str, remedy: str) -> dict[str, Any]:
    """One error of a refusal; long values are cut."""
    if isinstance(value, str | list | dict):
        text = value if isinstance(value, str) else _text(value)
        if len(text) > SHOWN_VALUE:
            value = text[:SHOWN_VALUE] + "…"
    return {"field": field, "value": value, "rule": rule, "remedy": remedy}


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # Nested deeper than orjson writes, yet not deeper than it reads.
        return "something nested deeply".ljust(SHOWN_VALUE + 1)


EXAMPLE = 'Send for example {"feature_service": "attrition_model_v1", "entities": {"employee_id": [101, 202]}}.'


def _question(plan: Plan, request: dict[str, Any], versions: Any) -> Question:
    errors = [
        problem(name, request[name], f"a request has no field {name!r}", f"It has {', '.join(KNOWN_FIELDS)}.")
        for name in request
        if name not in KNOWN_FIELDS
    ]
    service, refs = request.get("feature_service"), request.get("features")
    full_names = request.get("full_feature_names", False)
    for name, flag in (("full_feature_names", full_names), ("include_feature_view_version_metadata", versions)):
        if not isinstance(flag, bool):
            errors.append(problem(name, flag, "it must be true or false", "Send true or false, or leave it out."))
    if service is not None and not isinstance(service, str):
        errors.append(problem("feature_service", service, "it must be the name of a feature service", EXAMPLE))
    if refs is not None and not isinstance(refs, list):
        errors.append(problem("features", refs, "it must be a list of names, each `view:feature`", "Send strings such as `view:feature`."))
    elif refs and set(map(type, refs)) != {str}:
        errors += [
            problem(f"features[{position}]", ref, "a feature is named by a string", "Send strings such as `view:feature`.")
            for position, ref in enumerate(refs)
            if not isinstance(ref, str)
        ]
    elif bool(refs) == (service is not None):
        # Feast's own clients send an empty list beside a service, and null beside a list.
        rule = "there must be either a feature_service or features" + (", not both" if refs else "")
        errors.append(problem("feature_service", service, rule, EXAMPLE))
    if errors:
        raise Refused(422, errors[:MOST_ERRORS])
    try:
        return plan.of_features(refs, full_names=full_names) if refs else plan.of_service(service or "", full_names=full_names)
    except UnknownFeatures as unknown:
        raise Refused(unknown.status, unknown.errors[:MOST_ERRORS]) from None


def _another_contract(question: Question, contract: str) -> Refused:
    if question.sha256 is None:
        remedy = "Ask for a feature_service, or leave the header out."
        return Refused(412, [problem("header feast-contract", contract, "only a feature service has a contract", remedy)])
    rule = f"the contract of {question.service!r} is {question.sha256}, the client expects {contract}"
    remedy = "The model was made for other features: deploy the model that fits this service, or ask for the service that fits the model."
    return Refused(412, [problem("header feast-contract", contract, rule, remedy)])


def _values(question: Question, entities: Any, max_entities: int) -> tuple[dict[str, list[Any]], int]:
    if not isinstance(entities, dict):
        rule = "it must be an object of lists, one per key" if entities is not None else "it is missing"
        raise Refused(422, [problem("entities", entities, rule, EXAMPLE)])
    errors = [] if entities.keys() == question.names else _wrong_keys(question, entities)
    lists = []
    for column in (*question.entities, *question.request_data):
        values = entities.get(column.name)
        if isinstance(values, list):
            lists.append((column, values))
        elif column.name in entities:
            errors.append(problem(f"entities.{column.name}", values, "it must be a list", "Send a list, also for one entity."))
    count = max((len(values) for _, values in lists), default=1)
    if count > max_entities:
        rule = f"{count} rows are more than the {max_entities} that one request may ask for"
        raise Refused(413, [problem("entities", None, rule, "Ask in several requests, or raise feature_server.max_entities.")])
    if any(len(values) != count for _, values in lists):
        lengths = ", ".join(f"{column.name}: {len(values)}" for column, values in lists)
        errors.append(problem("entities", None, f"the lists must have one length, they have {lengths}", "Send one value per key and row."))
    elif not count:
        errors.append(problem(f"entities.{lists[0][0].name}", [], "the list is empty", "Ask for at least one entity."))
    errors += [error for column, values in lists if not CHECKS[column.dtype].all(values) for error in _wrong_values(column, values)]
    if errors:
        raise Refused(422, errors[:MOST_ERRORS])
    return entities, count


def _wrong_keys(question: Question, entities: dict[str, Any]) -> list[dict[str, Any]]:
    wanted = ", ".join(sorted(question.names)) or "none"
    missing = sorted(question.names - entities.keys())
    unknown = [name for name in entities if name not in question.names]
    return [problem(f"entities.{name}", None, "the key is missing", f"The features asked for need {wanted}.") for name in missing] + [
        problem(f"entities.{name}", entities[name], f"the features asked for have no key {name!r}", f"They need {wanted}.")
        for name in unknown
    ]


def _wrong_values(column: EntityColumn, values: list[Any]) -> list[dict[str, Any]]:
    check = CHECKS[column.dtype]
    return [
        problem(f"entities.{column.name}[{position}]", value, f"it must be {check.rule} ({column.dtype})", check.remedy)
        for position, value in enumerate(values)
        if not check.all([value])
    ]


@dataclass(frozen=True, slots=True)
class _Check:
    """Whether all values of a list are of a type, and the rule in words."""

    all: Callable[[Sequence[Any]], bool]
    rule: str
    remedy: str


def _integers(limit: int) -> Callable[[Sequence[Any]], bool]:
    # `set(map(type, …))` tells booleans from integers, and costs nothing per value.
    return lambda values: not values or (set(map(type, values)) == {int} and -limit <= min(values) and max(values) < limit)


def _floats(values: Sequence[Any]) -> bool:
    return all(type(value) in {int, float} and math.isfinite(value) for value in values)


def _base64(values: Sequence[Any]) -> bool:
    def valid(value: Any) -> bool:
        try:
            return isinstance(value, str) and b64decode(value, validate=True) is not None
        except ValueError:
            return False

    return all(map(valid, values))


NUMBER = "Send a JSON number without quotes, point or exponent."
CHECKS = {
    "Int64": _Check(_integers(INT64), "a whole number of 64 bits", NUMBER),
    "Int32": _Check(_integers(INT32), "a whole number of 32 bits", NUMBER),
    "UnixTimestamp": _Check(_integers(INT64), "a whole number of seconds since 1970", NUMBER),
    "String": _Check(lambda values: not values or set(map(type, values)) == {str}, "a string", "Send a JSON string."),
    "Bytes": _Check(_base64, "bytes in base64", "Send a JSON string in base64."),
    "Bool": _Check(lambda values: not values or set(map(type, values)) == {bool}, "true or false", "Send true or false."),
    "Float32": _Check(_floats, "a number", "Send a JSON number."),
    "Float64": _Check(_floats, "a number", "Send a JSON number."),
}


def _may_repeat_a_name(body: bytes | bytearray, request: dict[str, Any]) -> bool:
    """False when it is certain that no name was given twice: the body has no more colons than names and values account for."""
    colons = len(request)
    for value in request.values():
        if type(value) is dict:
            colons += len(value)
        elif type(value) is list:
            colons += sum(text.count(":") for text in value if type(text) is str)
    # An escape could hide a colon (\u003a), and so let two names look like one.
    return body.count(b":") != colons or b"\\" in body


def _refuse_repeated_names(body: bytes | bytearray) -> None:
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            repeated.extend(sorted({name for name in names if names.count(name) > 1}))
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=note)
    except (ValueError, RecursionError):
        # Valid for one reader, not for the other: nesting too deep, numbers too long.
        raise Refused(400, [problem("body", None, "the body is nested too deeply or holds a number too long", EXAMPLE)]) from None
    if repeated:
        raise Refused(422, [problem(name, None, "the name is given twice", "Give each name once.") for name in repeated[:MOST_ERRORS]])
