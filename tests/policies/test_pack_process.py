"""The pack as the engine runs it: a process of its own, asked over gRPC, in which nothing of the tests helps."""

import os
import subprocess
import sys
from dataclasses import replace

import grpc
import pytest
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from feast_eks_policies import RULES
from feast_eks_policies.configuration import environments, level, options
from feast_eks_policies.rule import ResourceRule
from feast_eks_policies.values import UNKNOWN
from tests.infra.engine import PROJECT, STACKS, run_program, stack_config
from tests.policies.recording import Recording, record, to_wire

LEVELS = {
    "advisory": analyzer_pb2.ADVISORY,
    "mandatory": analyzer_pb2.MANDATORY,
    "disabled": analyzer_pb2.DISABLED,
    "remediate": analyzer_pb2.REMEDIATE,
}


@pytest.fixture(scope="module")
def pack():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("PULUMI_")}
    command = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(PROJECT / "policies")]
    with subprocess.Popen(command, cwd=PROJECT / "policies", env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            port = process.stdout.readline().strip()
            assert port.isdigit(), f"the first line must be the port, it is {port!r}: {process.stderr.read().decode() if not port else ''}"
            channel = grpc.insecure_channel(f"127.0.0.1:{int(port)}", options=[("grpc.max_send_message_length", 100 << 20)])
            yield analyzer_pb2_grpc.AnalyzerStub(channel)
            channel.close()
        finally:
            process.kill()


def configure(pack, environment):
    """As the engine does: the options that a configuration leaves out come from the schema."""
    config = environments().get(environment, {})
    pack.Configure(
        analyzer_pb2.ConfigureAnalyzerRequest(
            policyConfig={
                rule.name: analyzer_pb2.PolicyConfig(
                    enforcementLevel=LEVELS[level(rule.name, config)],
                    properties=to_wire(rule.settings(options(rule.name, config))),
                )
                for rule in RULES
            }
        )
    )


def ask(pack, recording):
    """Everything the pack says about a program: (rule, level, message)."""
    diagnostics = [diagnostic for request in recording.requests for diagnostic in pack.Analyze(request).diagnostics]
    diagnostics += pack.AnalyzeStack(recording.stack_request()).diagnostics
    return [(d.policyName, analyzer_pb2.EnforcementLevel.Name(d.enforcementLevel), d.message) for d in diagnostics]


def program(stack):
    return record(lambda: run_program(stack_config(stack), stack=stack, preview=True), stack=stack)


def bucket(**props):
    request = analyzer_pb2.AnalyzeRequest(
        type="aws:s3/bucket:Bucket",
        name="history",
        urn="urn:pulumi:dev::feast-eks::aws:s3/bucket:Bucket::history",
        properties=json_format.ParseDict(props, struct_pb2.Struct()),
    )
    return Recording(requests=[request])


def test_it_tells_the_engine_of_every_rule(pack):
    info = pack.GetAnalyzerInfo(empty_pb2.Empty())
    told = {policy.name: policy for policy in info.policies}
    assert set(told) == {rule.name for rule in RULES}
    for rule in RULES:
        policy = told[rule.name]
        assert policy.enforcementLevel == analyzer_pb2.MANDATORY
        assert analyzer_pb2.PolicySeverity.Name(policy.severity) == f"POLICY_SEVERITY_{rule.severity.upper()}"
        assert policy.remediation_steps == rule.remedy
        assert policy.framework.specification == ", ".join(rule.controls)
        assert set(json_format.MessageToDict(policy.configSchema.properties)) == set(rule.options)
        is_resource_rule = policy.policy_type == analyzer_pb2.POLICY_TYPE_RESOURCE
        assert is_resource_rule == isinstance(rule, ResourceRule)


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_passes_at_its_own_levels(pack, stack):
    configure(pack, stack)
    said = ask(pack, program(stack))
    assert [finding for finding in said if finding[1] == "MANDATORY"] == []
    assert [finding for finding in said if "can't run policy" in finding[2]] == [], "an unknown value ended a rule"


def test_it_says_the_same_as_the_rules_themselves(pack):
    configure(pack, None)
    recording = program("dev")
    said = sorted((rule, message) for rule, _, message in ask(pack, recording))
    rules = {rule.name: rule for rule in RULES}
    expected = sorted((v.rule, f"{rules[v.rule].description}\n{v.message}\n{rules[v.rule].remedy}") for v in recording.violations())
    assert said == expected
    assert said


def test_without_a_configuration_everything_is_strict(pack):
    pack.Configure(analyzer_pb2.ConfigureAnalyzerRequest())
    said = ask(pack, bucket(forceDestroy=True))
    assert {(rule, enforcement) for rule, enforcement, _ in said} >= {("s3-not-destroyable", "MANDATORY"), ("required-tags", "MANDATORY")}


def test_a_disabled_rule_is_silent_and_an_advisory_one_advises(pack):
    configure(pack, "dev")
    assert "s3-not-destroyable" not in {rule for rule, _, _ in ask(pack, bucket(forceDestroy=True))}
    configure(pack, "staging")
    staging = program("staging")
    assert ("s3-logging", "ADVISORY") in {(rule, enforcement) for rule, enforcement, _ in ask(pack, staging)}


def test_an_unknown_value_hides_no_finding_beside_it(pack):
    pack.Configure(analyzer_pb2.ConfigureAnalyzerRequest())
    request = Recording(requests=[replaced(bucket().requests[0], {"bucket": UNKNOWN, "forceDestroy": True, "tags": UNKNOWN})])
    said = ask(pack, request)
    assert any("forceDestroy" in message for _, _, message in said)
    assert not any("can't run policy" in message for _, _, message in said)


def test_a_secret_is_never_quoted(pack):
    pack.Configure(analyzer_pb2.ConfigureAnalyzerRequest())
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "canary-password"}
    environment = {"name": "a", "env": [{"name": "DB_PASSWORD", "value": secret}, {"name": "DSN", "value": "redis://u:canary-password@h"}]}
    pod = analyzer_pb2.AnalyzeRequest(
        type="kubernetes:core/v1:Pod",
        name="pod",
        urn="urn:pulumi:dev::feast-eks::kubernetes:core/v1:Pod::pod",
        properties=json_format.ParseDict({"spec": {"containers": [environment]}}, struct_pb2.Struct()),
    )
    said = ask(pack, Recording(requests=[pod]))
    assert "no-plain-secret" in {rule for rule, _, _ in said}
    assert not any("canary" in message for _, _, message in said)


def test_the_parts_of_a_bucket_are_found_over_the_wire(pack):
    configure(pack, "prod")
    recording = program("prod")
    without = [r for r in recording.outputs if not r.type.endswith(":BucketPublicAccessBlock")]
    said = ask(pack, Recording(outputs=without))
    assert {rule for rule, _, _ in said} == {"s3-public-access-blocked"}
    unnamed = [replace(r, props={**r.props, "bucket": UNKNOWN}) if r.type.startswith("aws:s3/") else r for r in recording.outputs]
    assert ask(pack, Recording(outputs=unnamed)) == [], "in a first preview only references say what belongs to a bucket"


def replaced(request, props):
    copy = analyzer_pb2.AnalyzeRequest()
    copy.CopyFrom(request)
    copy.properties.CopyFrom(to_wire(props))
    return copy
