"""Programs that use none of our components, under the real engine: every rule is heard, and names the resource that breaks it."""

import re
import shutil

import pytest
import yaml

from tests.conftest import PROJECT
from tests.policies.bypass import table

CASES = {"aws": table.AWS, "kubernetes": table.KUBERNETES}
CONTEXT = "feast-dev"


@pytest.fixture(scope="module", params=CASES)
def heard(request, cloud, tmp_path_factory):
    """What the pack says in a preview without a configuration: {(rule, resource)}, and the whole text."""
    directory = tmp_path_factory.mktemp(request.param)
    shutil.copy(PROJECT / "tests" / "policies" / "bypass" / f"{request.param}.py", directory / "__main__.py")
    runtime = {"name": "python", "options": {"toolchain": "pip", "virtualenv": str(PROJECT / ".venv")}}
    (directory / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "bypass", "runtime": runtime}))
    (directory / "unverified").mkdir()
    (directory / "unverified" / "Chart.yaml").write_text("apiVersion: v2\nname: unverified\nversion: 1.0.0\n")
    endpoint = cloud.env["AWS_ENDPOINT_URL"]
    endpoints = [dict.fromkeys(("s3", "sts", "iam", "kms"), endpoint)]
    (directory / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": {"bypass:endpoints": endpoints}}))
    kubeconfig = yaml.safe_load(cloud.kubeconfig.read_text())
    kubeconfig["contexts"].append({**kubeconfig["contexts"][0], "name": CONTEXT})
    (directory / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    (directory / "kubeconfig").chmod(0o600)
    (directory / "state").mkdir()
    variables = {
        "PULUMI_BACKEND_URL": f"file://{directory}/state",
        "PULUMI_CONFIG_PASSPHRASE": "",
        "KUBECONFIG": str(directory / "kubeconfig"),
    }
    selected = cloud.run("pulumi", "stack", "init", "dev", cwd=directory, **variables)
    assert selected.returncode == 0, selected.stdout
    preview = cloud.run(
        "pulumi",
        "preview",
        "--stack",
        "dev",
        "--color",
        "never",
        "--suppress-outputs",
        "--policy-pack",
        str(PROJECT / "policies"),
        cwd=directory,
        **variables,
    )
    assert preview.returncode != 0, preview.stdout
    found = re.findall(r"\[mandatory\] \[severity: \w+\]\s+([\w-]+)\s+\(([^)]*): ([^()]+)\)", preview.stdout)
    return CASES[request.param], {(rule, resource) for rule, _, resource in found}, preview.stdout


def test_every_rule_names_the_resource_that_breaks_it(heard):
    expected, found, said = heard
    missing = {(rule, resource) for rule, resource in expected.items()} - found
    assert not missing, said


def test_no_rule_breaks_down_or_goes_silent(heard):
    _, _, said = heard
    assert "itself failed" not in said
    assert "can't run policy" not in said, "a rule met an unknown value and went silent"


def test_no_message_quotes_a_secret(heard):
    _, _, said = heard
    assert "canary" not in said
