"""Markdown that holds other people's text: it never becomes markup, a mention, a link or HTML.

Text that is not ours goes into code spans and fences and nowhere else, because there GitHub interprets nothing: no
`@name` notifies anybody, no `#1` links, no `<` opens a tag. What could end the span or the fence is taken out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from delivery.redaction import redact

LIMIT = 60_000
"""Characters of a comment; GitHub refuses more than 65,536."""
SPAN = 160
LINE = 400
BLOCK_LINES = 60
CONTEXT = 1_000
"""Characters after the shown ones that are looked at, to know a secret that begins among these."""
# Control characters, invisible ones and those that turn the direction of text: what is read must be what is there.
UNREADABLE = re.compile(
    r"[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def code(text: object, limit: int = SPAN) -> str:
    """The text as one code span of at most `limit` characters and one line."""
    line = " ".join(_readable(str(text)[: limit + CONTEXT]).split()).replace("`", "'")
    return f"`{_cut(line, limit) or '(empty)'}`"


def fence(lines: Iterable[str], language: str = "") -> str:
    """The lines as a fenced block, each cut to a length, and their number too."""
    text = _readable("\n".join(lines)).replace("```", "'''")
    shown = [_cut(line, LINE) for line in text.split("\n")]
    if len(shown) > BLOCK_LINES:
        shown = [*shown[: BLOCK_LINES - 1], f"… {len(shown) - BLOCK_LINES + 1} more lines"]
    return "\n".join([f"```{language}", *shown, "```"])


def count(number: int, thing: str, things: str = "") -> str:
    """`1 feature`, `7 features`."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"


@dataclass
class Section:
    """A heading and the blocks below it, most important first; blocks are never cut in two."""

    title: str
    blocks: list[str] = field(default_factory=list)
    cut: int = 0

    def __bool__(self) -> bool:
        return bool(self.blocks or self.cut)

    def __str__(self) -> str:
        more = [f"- … and {self.cut} more, cut to fit a comment; the log of the run has them"] if self.cut else []
        heading = [f"#### {self.title}\n"] if self.title else []
        return "\n".join([*heading, *self.blocks, *more])


def fit(head: str, sections: Sequence[Section], tail: str, limit: int = LIMIT) -> str:
    """The whole comment, cut from the end of the last section that has anything until it fits.

    `sections` are in the order of their importance; `head` and `tail` are short and always kept.
    """
    while len(text := "\n\n".join([head, *(str(section) for section in sections if section), tail]) + "\n") > limit:
        longest = next((section for section in reversed(sections) if section.blocks), None)
        if longest is None:
            return _cut(head, limit)
        # Many at once: the blocks of a large comment are counted in thousands.
        surplus = len(text) - limit
        while longest.blocks and surplus > 0:
            surplus -= len(longest.blocks.pop())
            longest.cut += 1
    return text


def _readable(text: object) -> str:
    return redact(UNREADABLE.sub("", str(text).replace("\r\n", "\n").replace("\r", "\n")))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
