"""Values too old to be served, definitions that nobody compared, and a feature server that could do more than serve."""

import re
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

from feast_eks_policies.feature_store_files import contracts, feature_stores, may_mount
from feast_eks_policies.jobs import gaps
from feast_eks_policies.network import directions
from feast_eks_policies.objects import kind, of_kind, pod_labels, selects, together, variable, words
from feast_eks_policies.rule import Context, Finding, Resource, Rule, StackRule
from feast_eks_policies.values import UNKNOWN, as_list, containers, get, items, mapping, pod_specs

_MATERIALIZES = re.compile(r"\bmaterialize(-incremental)?\b")
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_APPLIES = re.compile(r"^(\S*\bfeature-runtime )?apply\b|\bfeast\b[^|;&]*\bapply\b")
_CHECKS = re.compile(r"^(\S*\bfeature-runtime )?check\b.* --against[ =]registry\b")
FASTEST_LOAD_SECONDS = 5
"""From the moment up to which a run reads to the moment when its first values are served, at the least."""
ADMINISTRATORS = ("postgres-password", "redis-password", "replication-password")
"""Keys of the stores' own Secrets, whose users may do everything."""


def _freshness(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    runs = [run for run in of_kind(resources, "CronJob") if _may_materialize(run)]
    for config_map in of_kind(resources, "ConfigMap"):
        for key, contract in contracts(config_map):
            views = {view: mapping(about) for view, about in mapping(contract.get("views")).items() if get(about, "online") is not False}
            own = [run for run in runs if _mounts(run, config_map)]
            if views and not own:
                yield config_map, f"{key}: no CronJob materializes its views: what is served ages for ever"
                continue
            margins = {}
            for view in views:
                loads = [run for run in own if _loads(run, view)]
                if not loads:
                    yield config_map, f"{key}: no CronJob materializes views.{view}: what is served of it ages for ever"
                if known := [margin for run in loads if (margin := _margin(run)) is not None]:
                    margins[view] = min(known)
            yield from ((config_map, f"{key}: {fault}") for fault in _too_short(views))
            for holder, file, store in _stores_beside(config_map, own, resources) if margins else ():
                yield from ((holder, f"{file}: {fault}") for fault in _vanishing(store, views, max(margins.values())))


def _stores_beside(
    config_map: Resource, runs: list[Resource], resources: list[Resource]
) -> Iterator[tuple[Resource, str, Mapping[str, Any]]]:
    """(ConfigMap, key, document) of the feature_store.yaml that goes with a contract: in one ConfigMap with it, else mounted beside it."""
    for holder in [config_map] if any(feature_stores(config_map)) else of_kind(resources, "ConfigMap"):
        if holder is config_map or any(_mounts(run, holder) for run in runs):
            yield from ((holder, file, store) for file, store in feature_stores(holder))


def _loads(run: Resource, view: str) -> bool:
    """Whether a run of materialization may load a view; one that does not say which ones loads all."""
    for _, _, spec in pod_specs(run):
        for container in items(spec.get("containers")):
            if _unspoken(container):
                return True
            said = words(mapping(container))
            if said and not any(_MATERIALIZES.search(word) for word in said):
                continue
            only, without = (_after(said, option) for option in ("--views", "--without"))
            if (not only or view in only) and view not in without:
                return True
    return not any(items(spec.get("containers")) for _, _, spec in pod_specs(run))


def _after(said: list[Any], option: str) -> list[Any]:
    """The arguments of an option: what stands behind it, up to the next one."""
    if option not in said:
        return []
    behind = said[said.index(option) + 1 :]
    return list(takewhile(lambda word: not str(word).startswith("--"), behind))


def _may_materialize(workload: Resource) -> bool:
    specs = [spec for _, _, spec in pod_specs(workload)]
    every = [container for spec in specs for container in items(spec.get("containers"))]
    if not specs or UNKNOWN in every or any(spec.get("containers") is UNKNOWN for spec in specs):
        return True
    spoken = [get(container, key) for container in every for key in ("command", "args")]
    return UNKNOWN in spoken or any(UNKNOWN in items(said) for said in spoken) or any(_MATERIALIZES.search(str(said)) for said in spoken)


def _mounts(workload: Resource, config_map: Resource) -> bool:
    if not together(workload, config_map):
        return False
    if not any(pod_specs(workload)):
        return True
    return any(may_mount(spec, config_map) for _, _, spec in pod_specs(workload))


def _margin(run: Resource) -> float | None:
    """Seconds that a value may have to last: one run missed, and the next at its deadline. None if that is not known."""
    between = gaps(get(run.props, "spec", "schedule"))
    deadline = get(run.props, "spec", "jobTemplate", "spec", "activeDeadlineSeconds", default=0)
    if not between or not isinstance(deadline, int):
        return None
    return 2 * max(between).total_seconds() + deadline


def _too_short(views: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A ttl that ends between two runs may be wanted: the program warns of it."""
    for view, about in views.items():
        ttl = about.get("ttl_seconds")
        # Without one, values count for ever.
        if isinstance(ttl, (int, float)) and (ttl < 0 or (0 < ttl < FASTEST_LOAD_SECONDS and not get(about, "stream_source"))):
            yield f"views.{view}.ttl_seconds is {ttl:g}, below {FASTEST_LOAD_SECONDS}: what is loaded is older when the load has ended"


def _vanishing(store: Mapping[str, Any], views: Mapping[str, Mapping[str, Any]], margin: float) -> Iterator[str]:
    key_ttl = get(store, "online_store", "key_ttl_seconds")
    if not isinstance(key_ttl, (int, float)):
        return
    if key_ttl < margin:
        yield f"online_store.key_ttl_seconds is {key_ttl:g}, below {margin:g}: keys vanish between two runs"
    ttls = {view: about.get("ttl_seconds") for view, about in views.items()}
    for view, ttl in ttls.items():
        if ttl == 0:
            yield f"online_store.key_ttl_seconds ends what views.{view} keeps for ever"
        elif isinstance(ttl, (int, float)) and key_ttl < ttl:
            yield f"online_store.key_ttl_seconds is {key_ttl:g}, below the ttl of views.{view}: values vanish before they are old"


def serves(container: Mapping[str, Any]) -> bool:
    """Whether a container is a feature server, Feast's own or ours."""
    said = words(container)
    return "serve" in said or bool(re.search(r"\bfeast\b[^|;&]*\bserve\b", " ".join(said)))


def _applies(container: Mapping[str, Any]) -> bool:
    said = words(container)
    return "apply" in said or bool(re.search(r"\bfeast\b[^|;&]*\bapply\b", " ".join(said)))


def _gates(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    by_urn = {resource.urn: resource for resource in resources}
    for workload in resources:
        for path, _, spec in pod_specs(workload):
            before = [*_steps(workload, path, spec, "initContainers"), *_steps_of_jobs(workload, by_urn)]
            gates = [(job, place, step) for job, place, step in before if _CHECKS.search(" ".join(words(mapping(step))))]
            for _, place, container in _steps(workload, path, spec, "containers"):
                if not _APPLIES.search(" ".join(words(mapping(container)))):
                    continue
                if not gates and not any(_unspoken(step) for _, _, step in before):
                    yield workload, f"{place} applies definitions that nothing before it compares with what is served"
                writing = {reference for reference in _secret_keys(container).values() if UNKNOWN not in reference}
                for job, gate_place, gate in gates:
                    for setting, reference in _secret_keys(gate).items():
                        if reference in writing:
                            yield job, f"{gate_place}.env[{setting}] is the credential of what it guards: it could write"


Step = tuple[Resource, str, Any]
"""A container that runs to its end: its workload, where it stands there, and what it is."""


def _steps(workload: Resource, path: str, spec: Mapping[str, Any], group: str) -> Iterator[Step]:
    for index, container in enumerate(as_list(spec.get(group))):
        yield workload, f"{path}.{group}[{index}]", container


def _steps_of_jobs(workload: Resource, by_urn: Mapping[str, Resource]) -> Iterator[Step]:
    """What the Jobs run that have ended before a Job begins; what runs more than once begins without them."""
    earlier, awaited = set(), list(workload.dependencies if kind(workload) == "Job" else ())
    while awaited:
        if (urn := awaited.pop()) in earlier or urn not in by_urn:
            continue
        earlier.add(urn)
        job = by_urn[urn]
        awaited += job.dependencies
        if kind(job) == "Job" and get(job.props, "metadata", "annotations", "pulumi.com/skipAwait") != "true":
            for path, _, spec in pod_specs(job):
                yield from (*_steps(job, path, spec, "initContainers"), *_steps(job, path, spec, "containers"))
            if not any(pod_specs(job)):
                yield job, "spec", UNKNOWN


def _unspoken(container: Any) -> bool:
    """Whether what a container runs is not known."""
    return any(UNKNOWN in (get(container, key), *items(get(container, key))) for key in ("command", "args"))


def _secret_keys(container: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Environment variable to (Secret, key)."""
    found = {}
    for definition in items(container.get("env")):
        if reference := get(definition, "valueFrom", "secretKeyRef"):
            found[str(get(definition, "name"))] = (get(reference, "name"), get(reference, "key"))
    for source in items(container.get("envFrom")):
        if secret := get(source, "secretRef", "name"):
            found[f"envFrom {secret}"] = (secret, "*")
    return found


def _all_containers(resources: list[Resource]) -> Iterator[tuple[Resource, str, Mapping[str, Any], Mapping[str, Any]]]:
    for workload in resources:
        for path, _, spec in pod_specs(workload):
            for within, container in containers(spec):
                yield workload, f"{path}.{within}", spec, container


def _server(resources: list[Resource], context: Context) -> Iterator[Finding]:
    del context
    every = list(_all_containers(resources))
    owner: dict[tuple[Any, Any], str] = {}
    for workload, _, _, container in every:
        if _applies(container):
            owner |= dict.fromkeys(_secret_keys(container).values(), workload.name)
    for workload, path, spec, container in every:
        if not serves(container):
            continue
        for setting, reference in _secret_keys(container).items():
            if reference in owner and UNKNOWN not in reference:
                yield workload, f"{path}.env[{setting}] is the credential of {owner[reference]}: the server could change the registry"
            if reference[1] in ADMINISTRATORS:
                yield workload, f"{path}.env[{setting}] is an administrator's password"
        yield from ((workload, fault) for fault in _schema_mode(path, spec, container, resources))
        if not _has_walls(workload, resources):
            yield workload, f"{path} listens to the whole namespace: no network policy names who may ask these pods"


def _schema_mode(path: str, spec: Mapping[str, Any], container: Mapping[str, Any], resources: list[Resource]) -> Iterator[str]:
    """What the server may do to the registry's tables: `verify` is nothing."""
    for config_map in (each for each in of_kind(resources, "ConfigMap") if may_mount(spec, each)):
        for key, document in feature_stores(config_map):
            if get(document, "registry", "registry_type") != "sql":
                continue
            mode = get(document, "registry", "schema_mode", default="auto")
            if placeholder := _PLACEHOLDER.fullmatch(str(mode)):
                mode = variable(container, placeholder[1])
                if mode not in ("verify", UNKNOWN):
                    yield f"{path}.env[{placeholder[1]}] is {mode or 'missing'}, not verify: every server start writes to the registry"
            elif mode != "verify":
                yield f"{key}: registry.schema_mode is {mode}, not verify, and {path} reads it: every server start writes to the registry"
            if get(document, "auth", "type") == "kubernetes":
                yield f"{key}: auth.type kubernetes accepts tokens that the API server has rejected"


def _has_walls(workload: Resource, resources: list[Resource]) -> bool:
    labels = pod_labels(workload)
    for policy in of_kind(resources, "NetworkPolicy"):
        spec = get(policy.props, "spec")
        selector = get(spec, "podSelector", default={})
        narrow = selector is UNKNOWN or bool(get(selector, "matchLabels") or get(selector, "matchExpressions"))
        if narrow and "Ingress" in directions(policy) and together(policy, workload) and selects(selector, labels):
            return True
    return False


RULES: tuple[Rule, ...] = (
    StackRule(
        name="ttl-vs-schedule",
        description="Views are materialized, their values count when they arrive, and keys outlive a run that fails.",
        harm="integrity",
        severity="critical",
        remedy="materialize the view, raise its ttl, and key_ttl_seconds to two gaps of the schedule and one deadline at least",
        check=_freshness,
    ),
    StackRule(
        name="feast-apply-gated",
        description="Definitions are compared with what models receive before they are applied.",
        harm="integrity",
        severity="critical",
        remedy="depend on a Job that runs `check --against registry` as the read-only identity CHECK, or run that in an init container",
        check=_gates,
    ),
    StackRule(
        name="feast-server-hardened",
        description="The feature server reads, as itself, and answers only who is named.",
        harm="exposure",
        severity="high",
        remedy="give it credentials of its own (identity SERVE), schema_mode verify, and a NetworkPolicy that selects it",
        check=_server,
    ),
)
