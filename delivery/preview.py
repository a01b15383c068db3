"""What a preview says, in plain values: changes, policy findings and errors.

Two forms are read, whichever the text is: the one document of `pulumi preview --json`, and the lines of the engine's
event log (`--event-log`), which have the policies' findings too. Nothing in either is trusted to be there or to be of
its type: what is missing or odd is left out, and a text that is neither makes a Preview that is not `readable`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from delivery.values import Property, parse_path, property_changes

GROUPS = {
    "create": "create",
    "update": "update",
    "delete": "delete",
    "replace": "replace",
    "create-replacement": "replace",
    "delete-replaced": "replace",
    "discard-replaced": "replace",
    "import": "import",
    "import-replacement": "replace",
    "read-replacement": "replace",
}
UNSEEN = frozenset({"same", "read", "read-discard", "refresh", "discard", "remove-pending-replace", ""})
STRONGEST = ("replace", "delete", "update", "import", "create")
STACK = "pulumi:pulumi:Stack"
MARKUP = re.compile(r"<\{%[^%]*%\}>")
HIDDEN_TYPES = ("kubernetes:core/v1:Secret", "random:", "aws:secretsmanager", "aws:ssm/parameter")


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to one resource: `operation` is create, update, delete, replace, import, or a word of the engine that is new to us."""

    operation: str
    type: str
    name: str
    urn: str
    properties: tuple[Property, ...] = ()
    forced_by: tuple[str, ...] = ()
    unprotected: bool = False
    custom: bool = True

    @property
    def kind(self) -> str:
        """`StatefulSet` of `kubernetes:apps/v1:StatefulSet`."""
        return self.type.rpartition(":")[2]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a policy says about a resource, and what to do about it if it says that too."""

    policy: str
    level: str
    resource: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """All that a preview said."""

    changes: tuple[Change, ...] = ()
    findings: tuple[Finding, ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What the program itself warns of; not what the engine and providers say about resources."""
    unchanged: int = 0
    readable: bool = True

    def of(self, *operations: str) -> list[Change]:
        """The changes of these operations, in the engine's order."""
        return [change for change in self.changes if change.operation in operations]


def read_preview(text: str) -> Preview:
    """The preview in either form; anything else gives one that is not readable."""
    documents = _documents(text)
    steps = list(_steps(documents))
    findings = [finding for event in documents if (finding := _finding(_dict(event.get("policyEvent"))))]
    errors = list(dict.fromkeys(_errors(documents)))
    known = {"steps", "changeSummary", "diagnostics", "duration", "config"}
    return Preview(
        changes=tuple(_changes(steps)),
        findings=tuple(dict.fromkeys(findings)),
        errors=tuple(errors),
        warnings=tuple(dict.fromkeys(_warnings(documents))),
        unchanged=_unchanged(documents, steps),
        readable=any(known & document.keys() or "summaryEvent" in document or "preludeEvent" in document for document in documents),
    )


def name_of(urn: Any) -> str:
    """The name that the program gave, of `urn:pulumi:stack::project::type$type::name`; a chart's objects without the chart's prefix."""
    name = str(urn or "").rpartition("::")[2] if "::" in str(urn or "") else str(urn or "")
    return name.rpartition("/")[2] if name.count("/") == 1 and ":" in name else name


def _documents(text: str) -> list[dict[str, Any]]:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return [document for line in text.splitlines() if (document := _document(line))]
    return [item for item in (whole if isinstance(whole, list) else [whole]) if isinstance(item, dict)]


def _document(line: str) -> dict[str, Any]:
    try:
        return _dict(json.loads(line))
    except (ValueError, RecursionError):
        return {}


def _steps(documents: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Steps of both forms, in the words of the first."""
    for document in documents:
        yield from (step for step in _list(document.get("steps")) if isinstance(step, dict))
        metadata = _dict(_dict(document.get("resourcePreEvent")).get("metadata"))
        if metadata:
            yield {
                "op": metadata.get("op"),
                "urn": metadata.get("urn"),
                "type": metadata.get("type"),
                "oldState": metadata.get("old"),
                "newState": metadata.get("new"),
                "replaceReasons": metadata.get("keys"),
                "detailedDiff": metadata.get("detailedDiff"),
            }


def _changes(steps: Iterable[dict[str, Any]]) -> Iterator[Change]:
    """One change for each resource, though a replacement is told in up to three steps."""
    by_urn: dict[str, list[dict[str, Any]]] = {}
    for number, step in enumerate(steps):
        by_urn.setdefault(str(step.get("urn") or f"::step {number}"), []).append(step)
    for urn, told in by_urn.items():
        operations = {_operation(step) for step in told}
        operation = next((known for known in STRONGEST if known in operations), "")
        operation = operation or next((other for other in sorted(operations) if other not in UNSEEN), "")
        if operation == "create" and "delete" in operations:
            operation = "replace"
        said = max(told, key=lambda step: (_operation(step) == operation, bool(step.get("detailedDiff")), bool(step.get("oldState"))))
        change = _change(urn, operation, said)
        if operation or change.unprotected:
            yield change


def _change(urn: str, operation: str, step: dict[str, Any]) -> Change:
    old, new = _dict(step.get("oldState")), _dict(step.get("newState"))
    kind = str(step.get("type") or new.get("type") or old.get("type") or urn.rpartition("::")[0].rpartition("::")[2].rpartition("$")[2])
    guarded = old.get("protect") is True or old.get("retainOnDelete") is True
    return Change(
        operation=operation,
        type=kind,
        name=name_of(urn),
        urn=urn,
        properties=() if operation in ("create", "delete") or kind == STACK else tuple(_properties(step, old, new, kind)),
        forced_by=tuple(str(path) for path, diff in _dict(step.get("detailedDiff")).items() if "replace" in _kind(diff)),
        unprotected=bool(guarded and new and not new.get("protect") and not new.get("retainOnDelete")),
        custom=(new or old).get("custom") is not False,
    )


def _properties(step: dict[str, Any], old: dict[str, Any], new: dict[str, Any], kind: str) -> Iterator[Property]:
    before, after = _dict(old.get("inputs")), _dict(new.get("inputs"))
    hidden = kind.startswith(HIDDEN_TYPES)
    paths = [parse_path(str(path)) for path in _dict(step.get("detailedDiff"))] or [()]
    seen = set()
    for path in paths:
        for found in property_changes(before, after, path, hidden=hidden):
            if found not in seen:
                seen.add(found)
                yield found


def _operation(step: dict[str, Any]) -> str:
    word = step.get("op")
    word = word if isinstance(word, str) else ""
    return GROUPS.get(word, "" if word in UNSEEN else word)


def _kind(diff: Any) -> str:
    return str(_dict(diff).get("kind") or _dict(diff).get("diffKind") or "")


def _finding(event: dict[str, Any]) -> Finding | None:
    if not event:
        return None
    # The policy's description comes first, then the violation, and with our own rules the remedy last.
    description, *violation = str(event.get("message") or "").strip().split("\n")
    message, remedy = (violation[:-1], violation[-1]) if len(violation) > 1 else (violation or [description], "")
    urn = event.get("resourceUrn")
    return Finding(
        policy=str(event.get("policyName") or "unnamed policy"),
        level=str(event.get("enforcementLevel") or "unknown level"),
        resource="" if f":{STACK}:" in str(urn) or not urn else name_of(urn),
        message=" ".join(message),
        remedy=remedy,
    )


def _errors(documents: Iterable[dict[str, Any]]) -> Iterator[str]:
    for document in documents:
        yield from (message for message, _ in _diagnostics(document, "error"))
        if failure := _dict(document.get("errorEvent")).get("error"):
            yield str(failure).strip()


def _warnings(documents: Iterable[dict[str, Any]]) -> Iterator[str]:
    """What the program warns of, which is about no resource but the stack."""
    for document in documents:
        yield from (message for message, urn in _diagnostics(document, "warning") if not urn or f"::{STACK}::" in urn)


def _diagnostics(document: dict[str, Any], severity: str) -> Iterator[tuple[str, str]]:
    """(message, URN of what it is about)."""
    for diagnostic in (_dict(item) for item in [*_list(document.get("diagnostics")), document.get("diagnosticEvent")]):
        if diagnostic.get("severity") == severity and (message := str(diagnostic.get("message") or "").strip()):
            yield MARKUP.sub("", message).removeprefix(f"{severity}: ").strip(), str(diagnostic.get("urn") or "")


def _unchanged(documents: Iterable[dict[str, Any]], steps: list[dict[str, Any]]) -> int:
    for document in documents:
        summary = _dict(document.get("changeSummary") or _dict(document.get("summaryEvent")).get("resourceChanges"))
        if isinstance(same := summary.get("same"), int):
            return same
    return sum(step.get("op") == "same" for step in steps)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
