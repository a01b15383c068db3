"""Generated stack files: each is refused with reasons before anything registers, or makes a program that its policies accept."""

import collections
import json
import re

import pulumi
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from feast_eks_policies import configuration
from tests.infra.engine import run_program, stack_config
from tests.infra.stack_files import stack_files
from tests.policies.recording import record
from tests.soak import counts

FILES = counts(1_000, soak=10_000)
PARTS = 4
ENVIRONMENTS = configuration.environments()


def at(config, *path):
    """A value of a stack file, None where nothing was written."""
    for name in path:
        config = config.get(name) if isinstance(config, dict) else None
    return config


def images(config):
    return [
        at(config, store, image) or {} for store in ("registry", "online_store") for image in ("image", "sentinel_image", "exporter_image")
    ]


def by_tag(config):
    return not all(image.get("digest") for image in [*images(config), config["runtime_image"]])


def of_others(config):
    return not all("dkr.ecr" in image.get("repository", "docker.io") for image in [*images(config), config["runtime_image"]])


def unprotected(config):
    return config.get("protect_data") is False


# What the settings allow and an environment's policies refuse: each rule, with what somebody chose to deserve it.
CHOSEN = {
    "account-region-pinned": lambda config: not at(config, "aws", "account_id"),
    "iam-permissions-boundary": lambda config: not at(config, "aws", "permissions_boundary_arn"),
    "required-tags": lambda config: len(config.get("tags") or {}) < 5,
    "image-digest": by_tag,
    "image-registry-allowed": of_others,
    "s3-encryption-kms": lambda config: at(config, "offline_store", "encryption") == "s3",
    "s3-logging": lambda config: not at(config, "offline_store", "log_bucket"),
    "s3-not-destroyable": unprotected,
    "aws-data-protected": unprotected,
    "stateful-protected": unprotected,
    "redis-ha-prod": lambda config: at(config, "online_store", "mode") in (None, "standalone"),
    "external-stores-tls": lambda config: any(at(config, store, "external", "tls") is False for store in ("registry", "online_store")),
    "postgres-ha-prod": lambda config: at(config, "registry", "mode") in (None, "standalone"),
    "replicas-hpa-consistent": lambda config: (
        at(config, "feature_server", "min_replicas") == 1
        or at(config, "feature_server", "max_replicas") == (at(config, "feature_server", "min_replicas") or 2)
    ),
}


@pytest.mark.parametrize("part", [pytest.param(part, marks=pytest.mark.xdist_group(f"stack_files_{part}")) for part in range(PARTS)])
def test_any_stack_file_is_refused_with_reasons_or_makes_a_program_that_passes_the_policies(part):
    outcomes = collections.Counter()

    @seed(part)  # the same files every time: a file that fails today fails tomorrow
    @settings(
        max_examples=FILES // PARTS,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(generated=stack_files())
    def judge(generated):
        outcomes["generated"] += 1
        outcomes[judged(*generated)] += 1

    judge()
    # A generator that makes only wrong files, or only right ones, proves nothing.
    assert outcomes["generated"] >= FILES // PARTS
    assert outcomes["accepted"] >= FILES // PARTS // 25
    assert outcomes["refused"] >= FILES // PARTS // 2


def judged(stack, config):
    """Whether a stack file was accepted or refused; either must be for good reasons."""
    whole = {key: value for key, value in stack_config(stack).items() if not key.startswith("feast-eks:")}
    whole |= {f"feast-eks:{key}": value for key, value in config.items()}
    try:
        recording = record(lambda: run_program(whole, stack=stack), stack=stack)
    except pulumi.RunError as refusal:
        assert refusal.engine.registrations == [], "a refused file registered something"
        problems = re.findall(r"^  \d+\. (.+?): .*\n      rule:   (.+)\n      remedy: (.+)$", str(refusal), re.MULTILINE)
        said = re.search(r": (\d+) problems?, nothing was changed", str(refusal))
        assert said, refusal
        assert len(problems) == int(said[1]), f"a problem without path, rule or remedy: {refusal}"
        return "refused"
    found = [v for v in recording.violations(ENVIRONMENTS[stack]) if v.level == "mandatory"]
    unexpected = [str(v) for v in found if not (v.rule in CHOSEN and CHOSEN[v.rule](config))]
    assert not unexpected, json.dumps(config)
    return "accepted"
