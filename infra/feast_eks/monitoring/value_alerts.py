"""When to call somebody about what models receive: old values, other values than the history's, or another vector than agreed.

Pure. The feature servers export all of it; the records that they read are written by materialization and by the skew probe.
"""

import re
from collections.abc import Mapping

from feast_eks.monitoring.alert import Alert, series
from feast_eks.monitoring.scraping import FEATURE_SERVER_JOB


def value_alerts(
    namespace: str, *, renewed_within_seconds: int, apart: Mapping[str, int], data_age_bounds: Mapping[str, int]
) -> list[Alert]:
    """Alerts about age, and about what replicas promise.

    `renewed_within_seconds` is the longest time between two ends of materialization, `apart` the same of the feature views that have
    a schedule of their own. `data_age_bounds` maps a feature view to how
    old its newest value may be, seconds; views that may grow old for ever are left out.
    """

    def server(metric: str, **labels: str) -> str:
        return series(metric, namespace=namespace, job=FEATURE_SERVER_JOB, **labels)

    renewed, newest = server("feast_feature_freshness_seconds"), "feast_feature_data_age_seconds"
    too_old = [f"max by (feature_view) ({server(newest, feature_view=view)}) > {bound}" for view, bound in data_age_bounds.items()]
    others = (
        f"({renewed} unless {server('feast_feature_freshness_seconds', feature_view='~' + '|'.join(map(re.escape, apart)))})"
        if apart
        else renewed
    )
    not_renewed = [f"max by (feature_view) ({others}) > {renewed_within_seconds}"]
    not_renewed += [
        f"max by (feature_view) ({server('feast_feature_freshness_seconds', feature_view=view)}) > {bound}" for view, bound in apart.items()
    ]
    alerts = [
        Alert(
            name="FeastFeaturesNotRenewed",
            severity="critical",
            minutes=10,
            expr=" or ".join(not_renewed),
            summary="The feature view {{ $labels.feature_view }} was last materialized {{ $value | humanizeDuration }} ago.",
            description="What came into its source since then is not served.",
        ),
        Alert(
            name="FeastFreshnessUnknown",
            severity="warning",
            minutes=30,
            expr=f"absent({renewed}) or absent({server(newest)})",
            summary="No feature server says how old its values are.",
            description=(
                "Nothing was ever materialized, or the servers cannot read the records of it. "
                "FeastFeaturesNotRenewed and FeastFeaturesStale cannot fire while this holds."
            ),
        ),
        Alert(
            name="FeastContractsDiffer",
            severity="critical",
            minutes=15,
            expr=f"count by (feature_service) (count by (feature_service, sha256) ({server('feast_feature_contract_info')})) > 1",
            summary="Replicas serve {{ $value }} different vectors under the name {{ $labels.feature_service }}.",
            description="A roll-out does so for a minute. For longer, a model receives now one and now the other.",
        ),
    ]
    if too_old:
        stale = Alert(
            name="FeastFeaturesStale",
            severity="critical",
            minutes=10,
            expr=" or ".join(too_old),
            summary="The newest value of the feature view {{ $labels.feature_view }} is {{ $value | humanizeDuration }} old.",
            description="Its source has stopped producing. Values that are older than their ttl are served as nulls.",
        )
        alerts.append(stale)
    return alerts


def skewed(namespace: str, *, tolerated_ratio: float) -> str:
    """The services of whose compared values more than the tolerated share differ."""
    ratio = series("feast_feature_skew_ratio", namespace=namespace, job=FEATURE_SERVER_JOB)
    return f"max by (feature_service) ({ratio}) > {tolerated_ratio:g}"


def skew_alerts(namespace: str, *, tolerated_ratio: float) -> list[Alert]:
    """Alerts about values that are not those of the history. `tolerated_ratio`: the share of compared ones that may differ."""
    return [
        Alert(
            name="FeastFeaturesSkewed",
            severity="critical",
            minutes=5,
            expr=skewed(namespace, tolerated_ratio=tolerated_ratio),
            summary="{{ $value | humanizePercentage }} of the values served by {{ $labels.feature_service }} are not those of the history.",
            description="Its model receives something else than it was trained on.",
        ),
    ]
