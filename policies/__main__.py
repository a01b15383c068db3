"""The policy pack: `pulumi preview --policy-pack policies --policy-pack-config policies/config/<stack>.json`."""

from pulumi_policy import EnforcementLevel, PolicyPack

from feast_eks_policies import POLICIES

PolicyPack("feast-eks", policies=POLICIES, enforcement_level=EnforcementLevel.MANDATORY)
