"""What the server counts, in plain integers; they become Prometheus's metrics only when somebody asks for them."""

import socket
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from feature_runtime.serving.answer import STATUS_NAMES

BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OUTCOMES = ("success", "refused", "error")
ENDPOINTS = ("/get-online-features", "/feast.serving.ServingService/GetOnlineFeatures")
RELOADS = ("loaded", "unchanged", "refused", "failed")


class _Endpoint:
    """Requests of one endpoint by outcome, and how long they took."""

    __slots__ = ("buckets", "outcomes", "seconds")

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


@dataclass(slots=True)
class ServingState:
    """What the gauges show of the rest of the server, read when they are asked for."""

    project: str = ""
    contracts: dict[str, str] = field(default_factory=dict)
    online_store_up: Callable[[], bool] = lambda: False
    loaded_until: dict[str, float] = field(default_factory=dict)
    """Per view, the end of its last load, in seconds since 1970."""
    newest_event: dict[str, float] = field(default_factory=dict)
    skew: dict[str, float] = field(default_factory=dict)
    compared_at: dict[str, float] = field(default_factory=dict)
    """Per service, when the skew probe last compared it, in seconds since 1970."""


class Metrics(Collector):
    """The counters, and the gauges made from `state`."""

    def __init__(self) -> None:
        # From the start with zeros: a rate does not see the first sample of a series.
        self._endpoints = {name: _Endpoint() for name in ENDPOINTS}
        self._statuses: dict[str, list[int]] = {}
        self._reloads = dict.fromkeys(RELOADS, 0)
        self.state = ServingState()

    def observe(self, endpoint: str, outcome: str, seconds: float) -> None:
        """Count a request: `outcome` is success, refused (the client's mistake) or error (ours)."""
        counted = self._endpoints.get(endpoint)
        if counted is None:
            counted = self._endpoints[endpoint] = _Endpoint()
        counted.outcomes[outcome] += 1
        counted.buckets[bisect_left(BUCKETS, seconds)] += 1
        counted.seconds += seconds

    def statuses(self, tally: dict[str, list[int]]) -> None:
        """Add how many cells of each view had each status."""
        for view, counts in tally.items():
            total = self._statuses.get(view)
            if total is None:
                self._statuses[view] = list(counts)
            else:
                for status, count in enumerate(counts):
                    total[status] += count

    def reload(self, result: str) -> None:
        """Count a look at the registry."""
        self._reloads[result] += 1

    def serve(self, port: int) -> Callable[[], None]:
        """Answer GET /metrics in a thread of its own; returns what stops it."""
        registry = CollectorRegistry()
        registry.register(self)
        # Every address, of both families where the kernel has both.
        address = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  the network policy decides who reaches it
        server, thread = start_http_server(port, addr=address, registry=registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def collect(self) -> Iterator[Any]:
        """All metrics as they are now."""
        requests = CounterMetricFamily("feast_feature_server_request", "Requests by endpoint and outcome.", labels=["endpoint", "status"])
        latency = HistogramMetricFamily(
            "feast_feature_server_request_latency_seconds", "Seconds from the last byte of a request to its answer.", labels=["endpoint"]
        )
        for name, endpoint in list(self._endpoints.items()):
            for outcome, count in endpoint.outcomes.items():
                requests.add_metric([name, outcome], count)
            total, buckets = 0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), endpoint.buckets, strict=True):
                total += count
                buckets.append((bound, total))
            latency.add_metric([name], buckets, endpoint.seconds)
        yield requests
        yield latency
        statuses = CounterMetricFamily(
            "feast_online_features_status", "Values answered, by view and status.", labels=["feature_view", "status"]
        )
        for view, counts in list(self._statuses.items()):
            for status, count in zip(STATUS_NAMES, counts, strict=True):
                statuses.add_metric([view, status.lower()], count)
        yield statuses
        reloads = CounterMetricFamily("feast_feature_server_registry_reload", "Looks at the registry, by result.", labels=["result"])
        for result, count in self._reloads.items():
            reloads.add_metric([result], count)
        yield reloads
        yield from self._gauges()

    def _gauges(self) -> Iterator[Any]:
        state, now = self.state, time.time()
        up = GaugeMetricFamily("feast_feature_server_online_store_up", "1 while Redis answers.")
        up.add_metric([], float(state.online_store_up()))
        yield up
        contract = GaugeMetricFamily(
            "feast_feature_contract_info", "The contract that a service is answered by.", labels=["feature_service", "sha256"]
        )
        for service, sha256 in state.contracts.items():
            contract.add_metric([service, sha256], 1)
        yield contract
        for name, what, label, values in (
            ("feast_feature_freshness_seconds", "Since the end of the view's last load.", "feature_view", _ages(state.loaded_until, now)),
            ("feast_feature_data_age_seconds", "Since the view's newest event.", "feature_view", _ages(state.newest_event, now)),
            ("feast_feature_skew_ratio", "Of the values compared, how many differ from the history.", "feature_service", state.skew),
            (
                "feast_feature_skew_age_seconds",
                "Since the service was compared with the history.",
                "feature_service",
                _ages(state.compared_at, now),
            ),
        ):
            gauge = GaugeMetricFamily(name, what, labels=[label, "project"])
            for key, value in values.items():
                gauge.add_metric([key, state.project], value)
            yield gauge


def _ages(moments: dict[str, float], now: float) -> dict[str, float]:
    return {name: now - moment for name, moment in moments.items()}
