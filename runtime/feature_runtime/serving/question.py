"""One question: everything about a service, or a list of features, that does not depend on the entities asked for.

It says which keys a request must give, what to read from Redis for them, and which cell of the replies is which column
of the answer. `drafting` makes it.
"""

from dataclasses import dataclass
from typing import Any

from feature_runtime.serving.key_bytes import EntityKeys
from feature_runtime.serving.quick_decoding import Decoder
from feature_runtime.value_types import TYPES

Description = dict[str, Any]
"""What can be served, as plain data: `project`, `views`, `services`, `unserved` (name to reason); made by `registry_snapshot`."""

# What a value of a request can be besides an entity key: the types with one form in JSON.
STRICT_TYPES = frozenset(row.name for row in TYPES.values() if row.request)


class PlanRefused(Exception):
    """The description cannot be served; the message names the view or service and the rule."""


@dataclass(frozen=True, slots=True)
class EntityColumn:
    """A key that a request must give, and the type of its values."""

    name: str
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """One HMGET per row: the event time, then the features of one view. `reply[0]` is the time, `reply[1 + i]` feature i."""

    view: str
    ttl_seconds: float
    columns: tuple[str, ...]
    """The request's entity columns in the order of `keys`; empty for a view without an entity."""
    keys: EntityKeys
    fields: tuple[bytes, ...]
    head: bytes
    tail: bytes
    """The command in Redis's protocol, before and after the length of the key and the key."""


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A feature of the answer: cell `position` of the rows of a read, or of an on-demand view.

    `rows` counts the question's reads, then its on-demand views.
    """

    name: str
    dtype: str
    rows: int
    position: int
    decode: Decoder
    """From the stored bytes to what JSON says."""


@dataclass(frozen=True, slots=True, eq=False)
class OnDemandView:
    """A view to compute, from inputs: (name for the computation, read, position, dtype)."""

    view: str
    inputs: tuple[tuple[str, int, int, str], ...]
    outputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Everything about one service, or list of features, that does not depend on the entities."""

    service: str | None
    sha256: str | None
    entities: tuple[EntityColumn, ...]
    request_data: tuple[EntityColumn, ...]
    reads: tuple[Read, ...]
    columns: tuple[Column, ...]
    on_demand: tuple[OnDemandView, ...]
    metadata: bytes
    metadata_with_versions: bytes
    """The end of the JSON answer."""
    names: frozenset[str]
    """All keys that `entities` of a request must have."""
    row_bytes: int
    """What a row holds until Redis has answered: its commands, and Python's objects."""
