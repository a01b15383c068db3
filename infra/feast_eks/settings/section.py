"""What every part of a stack file has in common: it is strict, closed, immutable, and says why it is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """Values that do not go together: the key to change (relative to its section), the rule, and what to do."""

    key: str
    rule: str
    remedy: str


class Section(BaseModel):
    """A part of a stack file: strict about types, closed to unknown keys, immutable once read."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    def contradictions(self) -> Iterator[Contradiction]:
        """What is wrong between the keys of this section, each of which is right by itself."""
        yield from ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if found := list(self.contradictions()):
            raise PydanticCustomError("contradictions", "its keys agree with each other", {"contradictions": found, "section": self})
        return self

    def chosen(self, *keys: str) -> list[str]:
        """Those of the keys that the stack file sets."""
        return [key for key in keys if key in self.model_fields_set]


def broken_rule(rule: str, remedy: str) -> PydanticCustomError:
    """The error of one value."""
    # The text must not be taken for a template.
    return PydanticCustomError("rule", "{rule}", {"rule": rule, "remedy": remedy})
