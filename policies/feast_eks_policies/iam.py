"""Reading IAM documents: policies of identities, of buckets and keys, and the trust of roles."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from feast_eks_policies.values import UNKNOWN, as_list, leaves, mapping, parsed

ACCOUNT_IN_ARN = re.compile(r"arn:[a-z-]+:(?:iam|sts)::(\d{12}):")
UNKNOWN_VALUE = "not known yet"
ACCOUNT = re.compile(r"\d{12}")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement; `where` is its place in the document, for messages. Values that are not known yet are left out."""

    where: str
    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    principals: tuple[tuple[str, str], ...]
    condition: Any
    inverted: tuple[str, ...]
    """Which of NotAction, NotResource and NotPrincipal it has."""
    known: bool
    """Whether all of it is known."""

    def asks(self, operators: str, key: str) -> list[str]:
        """The values that the condition demands of a key with an operator whose name matches the pattern; none if it does not ask."""
        if self.condition is UNKNOWN:
            return [UNKNOWN_VALUE]
        return [
            str(value).lower() if isinstance(value, bool) else str(value)
            for operator, keys in mapping(self.condition).items()
            if re.fullmatch(operators, operator, re.IGNORECASE)
            for name, values in ({key: UNKNOWN_VALUE} if keys is UNKNOWN else mapping(keys)).items()
            if name == key or re.fullmatch(key, name, re.IGNORECASE)
            for value in as_list(values)
        ]

    @property
    def for_anyone(self) -> bool:
        """Whether its principal is everybody in the world."""
        return any(value == "*" for _, value in self.principals)

    def acts(self, pattern: str) -> list[str]:
        """Its actions that match a regular expression, whatever their case."""
        return [action for action in self.actions if re.fullmatch(pattern, action, re.IGNORECASE)]


def is_document(value: Any) -> bool:
    """Whether the value can be read as an IAM document; an unknown one cannot."""
    return isinstance(parsed(value), Mapping)


def statements(document: Any) -> Iterator[Statement]:
    """The statements of a document given as JSON text or as a mapping; none where it is unknown."""
    for index, each in enumerate(as_list(mapping(parsed(document)).get("Statement"))):
        statement = {"Effect": UNKNOWN, "Condition": UNKNOWN} if each is UNKNOWN else each
        if isinstance(statement, Mapping):
            yield Statement(
                where=f"Statement[{index}]",
                allows=statement.get("Effect") == "Allow",
                actions=_texts(as_list(statement.get("Action"))),
                resources=_texts(as_list(statement.get("Resource"))),
                principals=tuple(_principals(statement.get("Principal"))),
                condition=statement.get("Condition") or {},
                inverted=tuple(key for key in ("NotAction", "NotResource", "NotPrincipal") if key in statement),
                known=all(leaf is not UNKNOWN for _, leaf in leaves(statement)),
            )


def account_of(principal: str) -> str | None:
    """The account of an AWS principal, if its text says it."""
    if found := ACCOUNT_IN_ARN.match(principal):
        return found[1]
    return principal if ACCOUNT.fullmatch(principal) else None


def _texts(values: list[Any]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def _principals(principal: Any) -> Iterator[tuple[str, str]]:
    if isinstance(principal, str):
        yield "AWS", principal
    for kind, values in mapping(principal).items():
        for value in _texts(as_list(values)):
            yield kind, value
