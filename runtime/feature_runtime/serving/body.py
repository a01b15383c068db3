"""The body of a request: one JSON object in which no name is given twice."""

import json
from collections import Counter
from typing import Any

import orjson

from feature_runtime.serving.refused import MOST_ERRORS, Refused, problem, shown

EXAMPLE = 'Send for example {"feature_service": "attrition_model_v1", "entities": {"employee_id": [101, 202]}}.'


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
        named = dict(pairs)
        if len(named) < len(pairs):
            repeated.extend(sorted(name for name, times in Counter(name for name, _ in pairs).items() if times > 1))
        return named

    try:
        json.loads(body, object_pairs_hook=note)
    except (ValueError, RecursionError):
        # Valid for one reader, not for the other: nesting too deep, numbers too long.
        raise Refused(400, [problem("body", None, "the body is nested too deeply or holds a number too long", EXAMPLE)]) from None
    if repeated:
        raise Refused(
            422, [problem(shown(name), None, "the name is given twice", "Give each name once.") for name in repeated[:MOST_ERRORS]]
        )
