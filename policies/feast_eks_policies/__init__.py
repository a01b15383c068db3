"""Rules that refuse what would harm a feature store, grouped by the harm, whoever wrote the program."""

from feast_eks_policies import (
    access,
    availability,
    deployment,
    durability,
    durability_aws,
    encryption,
    exposure,
    exposure_aws,
    identity,
    images,
    integrity,
    jobs,
    network,
    online_store,
    pods,
    secrets,
    serving,
    workloads,
)
from feast_eks_policies.rule import Rule, policies

HARMS = {
    "exposure": "Somebody reads or reaches what they must not.",
    "encryption": "Data can be read by whoever holds the disk or the wire.",
    "identity": "A stolen identity can do more than its work.",
    "workloads": "A pod breaks out, starves others, or never comes back.",
    "durability": "Data or the service is gone after a mistake or the loss of a machine.",
    "integrity": "What runs, or what a model receives, is not what was meant.",
}
"""What the rules are against, worst first."""

_MODULES = (
    exposure_aws,
    exposure,
    network,
    secrets,
    encryption,
    identity,
    access,
    pods,
    workloads,
    jobs,
    availability,
    online_store,
    durability_aws,
    durability,
    images,
    serving,
    integrity,
    deployment,
)

RULES: tuple[Rule, ...] = tuple(
    sorted((rule for module in _MODULES for rule in module.RULES), key=lambda rule: list(HARMS).index(rule.harm))
)
"""Every rule, by harm."""

POLICIES = policies(RULES)
