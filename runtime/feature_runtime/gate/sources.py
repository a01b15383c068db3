"""Rules about data sources: which rows a view is loaded from, and when these were true."""

from collections.abc import Iterator

from feature_runtime.gate.comparison import Comparison, Description
from feature_runtime.gate.rule import BREAKING, WARNING, Hit, rule

TIME = ("timestamp_field", "created_timestamp_column", "date_partition_column", "field_mapping")


@rule(
    "F050",
    "a view is loaded from another file, folder or table",
    WARNING,
    but="breaking when that is outside the offline store",
    why="the values of every entity change, and no version shows it",
    remedy="Make sure that both hold the same columns with the same meaning, and load the view again.",
)
def moved(c: Comparison) -> Iterator[Hit]:
    """Another place of the rows."""
    for view, source, before, after in _pairs(c):
        if _place(before) != _place(after):
            places = [next(filter(None, _place(said)), "none") for said in (before, after)]
            # A path of one machine never reaches the cluster, which refuses it.
            outside = "://" in after.get("location", "") and before.get("location") != after["location"]
            reason = f"{view} was loaded from {places[0]}, is now from {places[1]}"
            yield Hit(f"sources.{source}", reason, BREAKING if outside else WARNING)


@rule(
    "F051",
    "the columns of time, or the mapping of columns, of a source change",
    BREAKING,
    why="which value was true at which time is decided by them, in training and in loading",
    remedy="Add a new source and a new view that uses it.",
)
def times_changed(c: Comparison) -> Iterator[Hit]:
    """Other columns that say when a row was true and when it was written, or other names of columns."""
    for view, source, before, after in _pairs(c):
        for key in TIME:
            if before.get(key) != after.get(key):
                yield Hit(f"sources.{source}", f"the {key} of {source} ({view}) was {before.get(key)!r}, is now {after.get(key)!r}")


@rule(
    "F052",
    "a source changes its kind",
    WARNING,
    why="another engine reads it, with types of its own",
    remedy="Compare the values of both before models see them.",
)
def kind_changed(c: Comparison) -> Iterator[Hit]:
    """Another class of source; or a view that is fed by a stream now, or no longer."""
    for view, source, before, after in _pairs(c):
        if before["type"] != after["type"]:
            yield Hit(f"sources.{source}", f"{source} ({view}) was a {before['type']}, is now a {after['type']}")
    for name, before, after in c.kept("views"):
        if before.get("stream_source") != after.get("stream_source") and before["kind"] == after["kind"]:
            yield Hit(f"views.{name}", f"the stream of {name} was {before.get('stream_source')}, is now {after.get('stream_source')}")


@rule(
    "F053",
    "a source lacks a column that a view asks for, or has it in another type",
    BREAKING,
    why="materialization fails",
    remedy="Add the column to the data first. `check` looks with --sources; `apply` always does.",
)
def columns_missing(c: Comparison) -> Iterator[Hit]:
    """What was found in the sources themselves, where they were looked into."""
    for view, problem in c.source_problems:
        yield Hit(f"views.{view}", problem)


def _place(source: Description) -> tuple[str | None, ...]:
    # Older locks give what lies elsewhere a file, too: the last part of its address.
    return source.get("location") or source.get("file"), source.get("table"), source.get("batch_source")


def _pairs(c: Comparison) -> Iterator[tuple[str, str, Description, Description]]:
    """(view, its source now, that source before, after), for views that stay; each pair of sources once."""
    seen = set()
    for name, before, after in c.kept("views"):
        names = before.get("source"), after.get("source")
        old, new = c.old.section("sources").get(names[0] or ""), c.new.section("sources").get(names[1] or "")
        if names not in seen and (old or new):
            seen.add(names)
            nothing: Description = {"type": None}
            yield name, str(names[1] or names[0]), old or nothing, new or nothing
