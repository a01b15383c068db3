"""What each environment asks of the cluster, computed from its stack file and what the program makes of it.

Resources, not money: prices differ by region, contract and month. `docs/costs.md` is written from this.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from feast_eks import definitions, image_check, scheduled_loads, skew_probe, smoke_test
from feast_eks.addresses import FEATURE_SERVER_NAME
from feast_eks.online_store import online_store_values
from feast_eks.registry import registry_values
from feast_eks.settings import SECRET_KEYS, MaterializationSettings, Settings, SkewProbeSettings
from feast_eks.workload import Object

STACKS = ("local", "dev", "staging", "prod")
STACK_DIRECTORY = Path(__file__).resolve().parents[2] / "stacks"
PREFIX = "feast-eks:"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Pods of one kind: how many, and what each of them requests. `most_pods` is more where something scales."""

    name: str
    pods: int
    most_pods: int
    cpu_millicores: int
    memory_mib: int
    storage_gib: int = 0


def parts(settings: Settings) -> list[Part]:
    """What runs all the time."""
    monitored = settings.monitoring.enabled
    server = settings.feature_server
    found = [
        Part(
            name=FEATURE_SERVER_NAME,
            pods=server.min_replicas,
            most_pods=server.max_replicas,
            cpu_millicores=server.cpu_millicores,
            memory_mib=server.memory_mib,
        )
    ]
    if settings.online_store.mode != "external":
        values = online_store_values(settings.online_store, monitored_from=settings.monitoring.namespace if monitored else None)
        if settings.online_store.mode == "sentinel":
            found.append(_of_chart("Redis with Sentinel", settings.online_store.replicas, values, "replica", "sentinel", "metrics"))
        else:
            found.append(_of_chart("Redis", 1, values, "master", "metrics"))
    if settings.registry.mode != "external":
        values = registry_values(settings.registry, monitored=monitored)
        found.append(_of_chart("PostgreSQL", 1, values, "primary", "metrics"))
        if settings.registry.mode == "replication":
            found.append(_of_chart("PostgreSQL read replicas", settings.registry.read_replicas, values, "readReplicas", "metrics"))
    return found


def runs(settings: Settings) -> list[Part]:
    """What comes and goes: with an update, and every night."""
    one_off = {
        "image check": image_check.RESOURCES,
        "registry roles, gate, apply": definitions.RESOURCES,
        "smoke test": smoke_test.RESOURCES,
    }
    found = [Part(name=n, pods=1, most_pods=1, cpu_millicores=r.cpu_millicores, memory_mib=r.memory_mib) for n, r in one_off.items()]
    scheduled: dict[str, MaterializationSettings | SkewProbeSettings] = {scheduled_loads.NAME: settings.materialization}
    if settings.skew_probe.enabled:
        scheduled[skew_probe.NAME] = settings.skew_probe
    found += [Part(name=n, pods=1, most_pods=1, cpu_millicores=s.cpu_millicores, memory_mib=s.memory_mib) for n, s in scheduled.items()]
    return found


def costs_page() -> str:
    """The whole page."""
    sections = [section for stack in STACKS for section in _section(stack, stack_settings(stack))]
    return "\n".join([HEADER, *sections, FOOTER])


def stack_settings(stack: str) -> Settings:
    """A stack's settings, without what else its file holds and without looking for the files that they name."""
    config = yaml.safe_load((STACK_DIRECTORY / f"Pulumi.{stack}.yaml").read_text())["config"]
    values = {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}
    return Settings.model_validate({key: value for key, value in values.items() if key not in SECRET_KEYS})


def _of_chart(name: str, pods: int, values: Object, *containers: str) -> Part:
    """The pods of a chart: `containers` are the values' keys that hold a container each; one that is switched off has no resources."""
    asked = [values[key] for key in containers]
    requests = [container["resources"]["requests"] for container in asked if "resources" in container]
    volumes = [container["persistence"]["size"] for container in asked if "persistence" in container]
    return Part(
        name=name,
        pods=pods,
        most_pods=pods,
        cpu_millicores=sum(_quantity(request["cpu"], "m") for request in requests),
        memory_mib=sum(_quantity(request["memory"], "Mi") for request in requests),
        storage_gib=sum(_quantity(size, "Gi") for size in volumes),
    )


def _quantity(text: str, unit: str) -> int:
    return int(text.removesuffix(unit))


def _section(stack: str, settings: Settings) -> Iterator[str]:
    yield f"\n## {stack}\n"
    yield "| what | pods | CPU each | memory each | volume each |"
    yield "|---|---|---|---|---|"
    for part in (running := parts(settings)):
        pods = f"{part.pods}" if part.pods == part.most_pods else f"{part.pods} to {part.most_pods}"
        yield _row(part.name, pods, part.cpu_millicores, part.memory_mib, part.storage_gib)
    least, most = _total(running, "pods"), _total(running, "most_pods")
    yield _row("**together, at least**", least["pods"], least["cpu_millicores"], least["memory_mib"], least["storage_gib"])
    if most != least:
        yield _row("**together, at most**", most["pods"], most["cpu_millicores"], most["memory_mib"], most["storage_gib"])
    for part in runs(settings):
        yield _row(f"{part.name}, while it runs", part.pods, part.cpu_millicores, part.memory_mib, part.storage_gib)
    yield ""
    yield _of_aws(settings)


def _row(name: str, pods: Any, cpu_millicores: int, memory_mib: int, storage_gib: int) -> str:
    storage = f"{storage_gib} GiB" if storage_gib else ""
    return f"| {name} | {pods} | {cpu_millicores / 1000:g} | {memory_mib} MiB | {storage} |"


def _total(running: list[Part], count: str) -> dict[str, int]:
    total = {key: sum(getattr(part, count) * getattr(part, key) for part in running) for key in ("cpu_millicores", "memory_mib")}
    # Volumes do not come and go with a scale-out: only stores have them.
    return total | {"pods": sum(getattr(part, count) for part in running), "storage_gib": sum(p.pods * p.storage_gib for p in running)}


def _of_aws(settings: Settings) -> str:
    if settings.offline_store.endpoint_url:
        return "In AWS: nothing; the bucket is in an S3-compatible store."
    days = f"versions that were overwritten stay for {settings.offline_store.noncurrent_days} days"
    key = "one KMS key" if settings.offline_store.encryption == "kms" and not settings.offline_store.kms_key_arn else "no key of its own"
    return f"In AWS: one S3 bucket ({days}), {key}, and roles and associations, which are free."


HEADER = """\
# What it costs

Written from the stack files by `make docs`; do not edit.

Resources, not money: prices differ by region, contract and month, and a table of them would be wrong next year.
Requests are what the scheduler reserves; memory is limited to its request, CPU is not limited.
The size of a stack is changed in its file: [operations.md](operations.md#change-a-size)."""

FOOTER = """
## From resources to money

Take the prices of your region from the AWS Pricing Calculator, or what your cluster really costs from your bill.

- **CPU and memory**: what a node costs per month, divided by its allocatable CPU (or memory, whichever is used up first),
  times what is requested above.
  Kubelet and daemon sets take their part of a node first: `kubectl describe node` shows what is *Allocatable* and what is requested.
  On Fargate, round every pod up to the next size that is offered.
- **Volumes**: GiB times the price of gp3 per GiB and month. More IOPS or throughput than gp3's base are not asked for.
- **Bucket**: GiB times the price of S3 Standard, and the same for overwritten versions:
  one full file a night and 90 days of versions are 90 files.
  Requests hardly count.
- **KMS**: the price of a key per month. Its requests are few, because the bucket has a bucket key.
- **Traffic**: pods in different zones pay for what they exchange.
  A request for features is a few kilobytes; count those whose caller or Redis is in another zone than the replica that answers.
  S3 in the same region is free through a gateway endpoint, and not through a NAT gateway.
- **Metrics**: a managed Prometheus charges for samples.

What is not in the tables, because it is the cluster's: the EKS control plane, load balancers, NAT gateways, Prometheus, logs,
the container registry, and the bucket of the state.

## Sizes to begin with

- **Redis** holds one hash per entity, in which all of its views lie.
  Load a sample, compare `used_memory` before and after, and multiply.
  `memory_mib` is that divided by 0.6, with room to grow: Redis may fill 60 % of it.
- **Materialization** reads one view after the other, in batches: its memory does not grow with the rows.
  What does not fit lies on the node's disk meanwhile, up to the uncompressed size of the rows that a run loads.
- **Feature server**: `requests_per_second_per_replica` is where a replica is added, not the most that it can do.
- **dev** asks for little, but asks for it always. To pay nothing, destroy it: what it holds is made up.
"""
