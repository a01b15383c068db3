"""The sandbox's own `aws`: it hands on the credentials of the sandbox's kubeconfig, and can do nothing else."""

import base64
import json
import subprocess

import pytest
import yaml

from sandbox import aws_command

VERSION = "client.authentication.k8s.io/v1beta1"
GET_TOKEN = ("eks", "get-token", "--cluster-name", "feast-dev")


@pytest.fixture
def aws(tmp_path):
    """Installs it for a user of a kubeconfig, and gives what runs it."""

    def install(**user):
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        document = {"contexts": [context], "users": [{"name": "u", "user": user}], "current-context": "c"}
        (tmp_path / "config").write_text(yaml.safe_dump(document))
        program = aws_command.install(tmp_path / "bin", tmp_path / "config")
        return lambda *arguments: subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    return install


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"token": "t"}, {"token": "t"}),
        (
            {"client-certificate-data": base64.b64encode(b"C").decode(), "client-key-data": base64.b64encode(b"K").decode()},
            {"clientCertificateData": "C", "clientKeyData": "K"},
        ),
    ],
)
def test_the_credentials_of_the_kubeconfig_are_handed_on(aws, user, expected):
    done = aws(**user)(*GET_TOKEN, "--region", "eu-west-1", "--output", "json")

    credential = json.loads(done.stdout)
    assert (credential["kind"], credential["apiVersion"]) == ("ExecCredential", VERSION)
    assert credential["status"].pop("expirationTimestamp").endswith("Z")
    assert credential["status"] == expected


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["s3", "ls"], "can only do `eks get-token`, not `s3 ls`"),
        (["eks", "get-token"], "--cluster-name"),
        ([*GET_TOKEN, "--frobnicate"], "--frobnicate"),
    ],
)
def test_what_it_cannot_do_is_refused(aws, arguments, reason):
    done = aws(token="t")(*arguments)

    assert done.returncode != 0
    assert reason in done.stderr


def test_a_user_with_nothing_to_hand_on_is_named(aws):
    done = aws(username="me")(*GET_TOKEN)

    assert done.returncode != 0
    assert "neither a token nor a certificate" in done.stderr
