"""What a client asks, taken literally: every value has the type of its join key, and nothing is ignored.

A request that breaks a rule is refused with every error found: field, value, rule, remedy. Nothing is coerced.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from feature_runtime.serving.body import EXAMPLE
from feature_runtime.serving.plan import Plan
from feature_runtime.serving.question import EntityColumn, Question
from feature_runtime.serving.refused import Refused, first_of, listed, problem, shown
from feature_runtime.value_types import TYPES

KNOWN_FIELDS = ("entities", "feature_service", "features", "full_feature_names", "include_feature_view_version_metadata")


@dataclass(slots=True)
class Asked:
    """A valid request: `count` rows; per read of the question one key per row."""

    question: Question
    count: int
    values: dict[str, list[Any]]
    request_data: dict[str, list[Any]]
    keys: list[list[bytes]]
    versions: bool


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


def _question(plan: Plan, request: dict[str, Any], versions: Any) -> Question:
    unknown = [name for name in request if name not in KNOWN_FIELDS]
    errors = first_of(_unknown_fields(request, unknown)) if unknown else []
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
        errors += first_of(
            problem(f"features[{position}]", ref, "a feature is named by a string", "Send strings such as `view:feature`.")
            for position, ref in enumerate(refs)
            if not isinstance(ref, str)
        )
    elif bool(refs) == (service is not None):
        # Feast's own clients send an empty list beside a service, and null beside a list.
        rule = "there must be either a feature_service or features" + (", not both" if refs else "")
        errors.append(problem("feature_service", service, rule, EXAMPLE))
    if errors:
        raise Refused(422, first_of(errors))
    return plan.of_features(refs, full_names=full_names) if refs else plan.of_service(service or "", full_names=full_names)


def _unknown_fields(request: dict[str, Any], names: list[str]) -> Iterator[dict[str, Any]]:
    for name in names:
        yield problem(shown(name), request[name], f"a request has no field {shown(name)!r}", f"It has {', '.join(KNOWN_FIELDS)}.")


def _another_contract(question: Question, contract: str) -> Refused:
    if question.sha256 is None:
        remedy = "Ask for a feature_service, or leave the header out."
        return Refused(412, [problem("header feast-contract", contract, "only a feature service has a contract", remedy)])
    rule = f"the contract of {question.service!r} is {question.sha256}, the client expects {shown(contract)}"
    remedy = "The model was made for other features: deploy the model that fits this service, or ask for the service that fits the model."
    return Refused(412, [problem("header feast-contract", contract, rule, remedy)])


def _values(question: Question, entities: Any, max_entities: int) -> tuple[dict[str, list[Any]], int]:
    if not isinstance(entities, dict):
        rule = "it must be an object of lists, one per key" if entities is not None else "it is missing"
        raise Refused(422, [problem("entities", entities, rule, EXAMPLE)])
    errors = [] if entities.keys() == question.names else first_of(_wrong_keys(question, entities))
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
    errors += [
        error for column, values in lists if not CHECKS[column.dtype].all(values) for error in first_of(_wrong_values(column, values))
    ]
    if errors:
        raise Refused(422, first_of(errors))
    return entities, count


def _wrong_keys(question: Question, entities: dict[str, Any]) -> Iterator[dict[str, Any]]:
    wanted = listed(sorted(question.names)) or "none"
    for name in sorted(question.names - entities.keys()):
        yield problem(f"entities.{name}", None, "the key is missing", f"The features asked for need {wanted}.")
    for name, values in entities.items():
        if name not in question.names:
            rule = f"the features asked for have no key {shown(name)!r}"
            yield problem(f"entities.{shown(name)}", values, rule, f"They need {wanted}.")


def _wrong_values(column: EntityColumn, values: list[Any]) -> Iterator[dict[str, Any]]:
    check = CHECKS[column.dtype]
    for position, value in enumerate(values):
        if not check.all([value]):
            yield problem(f"entities.{column.name}[{position}]", value, f"it must be {check.rule} ({column.dtype})", check.remedy)


CHECKS = {row.name: row.request for row in TYPES.values() if row.request}
