"""How Feast is imported: its type checks take more than half of a verb's start.

Its classes rewrite themselves at every import, to check the types of arguments. The library that does it (typeguard)
means that for development, and leaves it out under `python -O`; which would leave out every `assert` as well. Who
declares features needs the checks, who works with declared ones does not.
"""

from typing import Any

import typeguard


def without_type_checks() -> None:
    """Let Feast's classes be as they are written; to be called before anything imports Feast."""
    typeguard.typechecked = _as_written


def _as_written(target: Any = None, **_options: Any) -> Any:
    return _as_written if target is None else target
