"""Whether a source still produces rows: how old its newest one may be, and how old it is.

A run that finds nothing new is no success by itself. A feature that nobody computes any more would be served, the same
for ever, while every night reports that all is well.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from feast import FeatureView

from feature_runtime.refusal import Refusal

TAG = "freshness_hours"


def freshness_bound(view: FeatureView) -> timedelta | None:
    """How old the newest row of the view's source may be: the tag `freshness_hours`, else the ttl, else no bound.

    Raises:
        Refusal: the tag is no number above zero.
    """
    text = view.tags.get(TAG)
    if text is None:
        return view.ttl or None
    try:
        hours = float(text)
    except ValueError:
        hours = 0
    if not 0 < hours < float("inf"):
        raise Refusal(
            f"the feature view {view.name!r} has the tag {TAG}={text!r}: it must be a number of hours above 0, "
            "the age that the newest row of its source may reach."
        )
    return timedelta(hours=hours)


@dataclass(frozen=True, kw_only=True)
class DeadSource:
    """A source whose newest row is older than its view's bound."""

    view: str
    source: str
    newest: datetime | None
    age: timedelta | None
    bound: timedelta

    def __str__(self) -> str:
        if self.newest is None:
            newest = "it has no row"
        else:
            newest = f"its newest row is of {self.newest.isoformat()}, {_hours(self.age)} before the end of the window"
        return f"the source of the feature view {self.view!r} ({self.source}) has stopped: {newest}, and the bound is {_hours(self.bound)}"


def dead_source(view: FeatureView, source: str, newest: datetime | None, *, end: datetime) -> DeadSource | None:
    """The source, if its newest row is too old at `end`."""
    bound = freshness_bound(view)
    age = end - newest if newest else None
    if bound is None or (age is not None and age <= bound):
        return None
    return DeadSource(view=view.name, source=source, newest=newest, age=age, bound=bound)


def _hours(duration: timedelta | None) -> str:
    return f"{(duration or timedelta()).total_seconds() / 3600:.1f} h"
