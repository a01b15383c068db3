"""The stand-in charts rendered with what the program passes to them, for the tests of the charts."""

import copy
import subprocess
from pathlib import Path

import yaml

from feast_eks.online_store import online_store_values
from feast_eks.registry import registry_values
from feast_eks.settings import OnlineStoreSettings, RegistrySettings

CHARTS = Path(__file__).resolve().parents[2] / "sandbox/charts"
IMAGE = {"registry": "localhost", "repository": "feast-eks/data-stores", "tag": "1", "digest": ""}
RELEASE = {"redis": "feast-redis", "postgresql": "feast-postgresql"}
PRODUCTION = {
    "redis": lambda: online_store_values(OnlineStoreSettings(mode="sentinel", replicas=3), monitored_from="monitoring"),
    "postgresql": lambda: registry_values(RegistrySettings(mode="replication"), monitored=True),
}


def values_of(chart: str) -> dict:
    """What the program passes to the chart for one node."""
    values = online_store_values(OnlineStoreSettings()) if chart == "redis" else registry_values(RegistrySettings())
    return copy.deepcopy(values | {"image": IMAGE})


def production_values_of(chart: str) -> dict:
    """What the program passes to the chart in production: Sentinel or read replicas, and exporters."""
    values = copy.deepcopy(PRODUCTION[chart]() | {"image": IMAGE})
    for container in ("sentinel", "metrics"):
        if container in values:
            values[container] |= {"image": IMAGE}
    return values


def changed(chart: str, path: str, value, *, of=values_of) -> dict:
    """The program's values with one of them changed; `path` has dots."""
    values = of(chart)
    *parents, last = path.split(".")
    target = values
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = value
    return values


def selector_of(chart: str, component: str | None = None) -> dict:
    labels = {"app.kubernetes.io/instance": RELEASE[chart], "app.kubernetes.io/name": chart}
    return labels | ({"app.kubernetes.io/component": component} if component else {})


class Helm:
    """Runs `helm template` on a stand-in chart, or on the chart at another location."""

    def __init__(self, cloud, namespace: str = "feast", location: Path | None = None):
        self._cloud = cloud
        self._namespace = namespace
        self._location = location

    def template(self, chart: str, values: dict, *options: str) -> subprocess.CompletedProcess[str]:
        """The process, with what it printed."""
        return subprocess.run(
            [
                "helm",
                "template",
                RELEASE[chart],
                self._location or CHARTS / chart,
                "--namespace",
                self._namespace,
                "--values",
                "-",
                *options,
            ],
            env=self._cloud.env,
            input=yaml.safe_dump(values),
            capture_output=True,
            text=True,
            check=False,
        )

    def render(self, chart: str, values: dict | None = None) -> dict[tuple[str, str], dict]:
        """The objects of a chart by kind and name."""
        done = self.template(chart, values_of(chart) if values is None else values)
        assert done.returncode == 0, done.stderr
        objects = [each for each in yaml.safe_load_all(done.stdout) if each]
        return {(each["kind"], each["metadata"]["name"]): each for each in objects}
