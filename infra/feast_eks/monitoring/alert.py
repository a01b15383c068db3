"""One alert: when it fires, what it means, and where its remedy is written down.

Pure.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

Severity = Literal["critical", "warning", "info"]


RUNBOOK = "docs/operations.md"
"""In this project; every alert is a heading of it."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A condition that somebody must hear of.

    `minutes` is how long the expression holds before the alert fires. `summary` says what is wrong in one sentence,
    `description` what it means for whoever reads features. Both may use Prometheus' template language.
    critical: features are wrong, missing, or soon will be. warning: it gets there if nobody acts. info: good to know.
    """

    name: str
    severity: Severity
    minutes: int
    expr: str
    summary: str
    description: str

    @property
    def anchor(self) -> str:
        """Where the runbook's heading of this name is found, as GitHub makes anchors."""
        return self.name.lower()

    def to_rule(self, runbook_url: str | None) -> dict[str, Any]:
        """The rule as a PrometheusRule holds it, with a link to its runbook where that is published."""
        page = {"runbook_url": f"{runbook_url}#{self.anchor}"} if runbook_url else {"runbook": f"{RUNBOOK}#{self.anchor}"}
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": f"{self.minutes}m",
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                **page,
            },
        }


def series(metric: str, **labels: str) -> str:
    """A metric with these labels; a value that starts with "~" is a regular expression."""
    # A string of PromQL is written as one of JSON is.
    quoted = partial(json.dumps, ensure_ascii=False)
    matchers = [f"{key}=~{quoted(value[1:])}" if value.startswith("~") else f"{key}={quoted(value)}" for key, value in labels.items()]
    return f"{metric}{{{','.join(matchers)}}}"


def newly_counted(counter: str, window: str) -> str:
    """Whether a counter rose within a window, even if it appeared with its first count.

    `increase()` does not see the first sample of a series, and Redis reports an error only once there is one.
    """
    return f"increase({counter}[{window}]) > 0 or ({counter} unless {counter} offset {window})"


def group(name: str, alerts: Iterable[Alert], runbook_url: str | None) -> dict[str, Any]:
    """A group of a PrometheusRule."""
    return {"name": name, "rules": [alert.to_rule(runbook_url) for alert in alerts]}
