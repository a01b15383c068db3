"""What runs the runtime image: the feature server, materialization, the skew probe and the smoke test."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from feast_eks.settings.rules import CronSchedule
from feast_eks.settings.schedule import longest_gap, shortest_gap
from feast_eks.settings.section import Contradiction, Section

SERVER_MIB = 320
"""A feature server that answers small requests: Feast with its libraries, and the definitions. 240 were measured."""

AT_ONCE = 10
"""Requests of the largest size that a server has memory for at the same time."""

KIB_PER_ENTITY = 1
"""What an entity of such a request takes until it is answered; half of that was measured, with six features."""

COPIES_OF_A_BODY = 4
"""A body is text, and then values."""


class FeatureServerSettings(Section):
    """The Deployment that answers with feature vectors. A pod is one process: to serve more, have more pods."""

    min_replicas: int = Field(default=2, ge=1, le=500, description="Fewest pods; 2 survive a node.")
    max_replicas: int = Field(default=10, ge=1, le=500, description="Most pods.")
    requests_per_second_per_replica: int = Field(default=500, ge=1, le=100000, description="Request rate at which a pod is added.")
    max_entities: int = Field(default=1000, ge=1, le=100000, description="Most entities in one request; more are refused with 413.")
    max_body_kib: int = Field(default=1024, ge=1, le=65536, description="Largest body of a request, KiB; a larger one is refused with 413.")
    on_not_found: Literal["answer", "refuse"] = Field(
        default="answer", description="An unknown entity: null with the status NOT_FOUND, or a refusal (404)."
    )
    on_outside_max_age: Literal["answer", "refuse"] = Field(
        default="answer", description="A value older than its view's ttl: null with the status OUTSIDE_MAX_AGE, or a refusal (422)."
    )
    cpu_millicores: int = Field(default=500, ge=10, le=64000, description="CPU request, thousandths of a core; more than 1000 lies idle.")
    memory_mib: int = Field(
        default=512, ge=384, le=65536, description="Memory request and limit, MiB; larger max_entities and max_body_kib need more."
    )

    def contradictions(self) -> Iterator[Contradiction]:
        """Room between fewest and most, and memory for the largest requests."""
        if self.min_replicas > self.max_replicas:
            yield Contradiction(
                key="min_replicas",
                rule=f"min_replicas ({self.min_replicas}) is at most max_replicas ({self.max_replicas})",
                remedy="lower the first or raise the second",
            )
        largest_kib = KIB_PER_ENTITY * self.max_entities + COPIES_OF_A_BODY * self.max_body_kib
        if (needed := SERVER_MIB + AT_ONCE * largest_kib // 1024) > self.memory_mib:
            yield Contradiction(
                key="memory_mib",
                rule=f"requests of {self.max_entities} entities and {self.max_body_kib} KiB need {needed} MiB, "
                f"memory_mib is {self.memory_mib}",
                remedy="raise memory_mib, or lower max_entities or max_body_kib",
            )


class MaterializationSettings(Section):
    """The job that carries values from the offline to the online store."""

    schedule: CronSchedule = Field(default="0 2 * * *", description="Cron expression, UTC.")
    late_data_hours: int = Field(default=24, ge=0, le=720, description="How far each run reaches back for rows that arrived late, hours.")
    deadline_minutes: int = Field(default=120, ge=1, le=1440, description="A run that takes longer is ended, minutes.")
    cpu_millicores: int = Field(default=500, ge=10, le=64000, description="CPU request, thousandths of a core.")
    memory_mib: int = Field(default=1024, ge=512, le=524288, description="Memory request and limit, MiB, whatever the number of rows.")

    def contradictions(self) -> Iterator[Contradiction]:
        """Runs do not overlap."""
        yield from _runs_end(self.schedule, self.deadline_minutes, "materialize less often")

    def apart(self, schedule: str) -> "MaterializationSettings":
        """The same by another schedule, for views that are loaded apart: a run ends a minute before the next begins, at the latest."""
        minutes = max(1, int(shortest_gap(schedule).total_seconds()) // 60 - 1)
        return self.model_copy(update={"schedule": schedule, "deadline_minutes": min(self.deadline_minutes, minutes)})

    @property
    def margin_seconds(self) -> int:
        """How long a value must last to survive one missed run and a second one at its deadline."""
        return int((2 * longest_gap(self.schedule)).total_seconds()) + self.deadline_minutes * 60


class SkewProbeSettings(Section):
    """The job that compares what is served with the history, at sampled entities."""

    enabled: bool = Field(default=True, description="Without it nothing notices that served values are not those of the history.")
    schedule: CronSchedule = Field(default="0 4 * * *", description="Cron expression, UTC; best when materialization has ended.")
    sample: int = Field(default=1000, ge=1, le=1000000, description="Entities that are compared, chosen at random in every run.")
    tolerated_ratio: float = Field(
        default=0.0, ge=0, le=1, description="Share of compared values that may differ; the alert FeastFeaturesSkewed fires above it."
    )
    deadline_minutes: int = Field(default=60, ge=1, le=1440, description="A run that takes longer is ended, minutes.")
    cpu_millicores: int = Field(default=250, ge=10, le=64000, description="CPU request, thousandths of a core.")
    memory_mib: int = Field(default=1024, ge=512, le=524288, description="Memory request and limit, MiB.")

    def contradictions(self) -> Iterator[Contradiction]:
        """Runs do not overlap."""
        yield from _runs_end(self.schedule, self.deadline_minutes, "probe less often")


class SmokeTestSettings(Section):
    """Which vectors must come back, from every replica, before a deployment counts."""

    entities: dict[str, list[int | str]] = Field(
        default_factory=dict, description="Join key to values, e.g. {employee_id: [101, 202]}; sampled from the data when left out."
    )

    def contradictions(self) -> Iterator[Contradiction]:
        """Every entity has a value for every join key."""
        lengths = {len(values) for values in self.entities.values()}
        if len(lengths) > 1 or 0 in lengths:
            yield Contradiction(
                key="entities", rule="as many values for every join key, at least one", remedy="e.g. {employee_id: [101, 202]}"
            )


def _runs_end(schedule: str, deadline_minutes: int, otherwise: str) -> Iterator[Contradiction]:
    """A run ends before the next begins: that one would be left out, not delayed."""
    if deadline_minutes * 60 >= (gap := shortest_gap(schedule)).total_seconds():
        yield Contradiction(
            key="deadline_minutes",
            rule=f"a run ends before the next begins, {gap.total_seconds() / 60:g} minutes later by the schedule {schedule!r}",
            remedy=f"lower deadline_minutes, or {otherwise}",
        )
