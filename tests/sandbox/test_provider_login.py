"""Logging in with the command of a kubeconfig: what is taken from it, and what is said when it fails."""

import base64
import json

import pytest

from sandbox import aws_command
from sandbox.providers import login
from sandbox.providers.api_server import ApiServer, load_kubeconfig
from sandbox.providers.plugin import InvalidInput

VERSION = "client.authentication.k8s.io/v1beta1"


@pytest.fixture
def command(tmp_path):
    """Makes a program that prints, complains and ends as the test says, and the `exec` section that names it."""

    def make(prints="", complains="", status=0):
        program = tmp_path / "login"
        program.write_text(f"#!/bin/sh\ncat <<'E'\n{prints}\nE\necho '{complains}' >&2\nexit {status}\n")
        program.chmod(0o755)
        return {"apiVersion": VERSION, "command": str(program)}

    return make


def credential(**status):
    return json.dumps({"apiVersion": VERSION, "kind": "ExecCredential", "status": status})


def test_a_token_is_taken(command):
    assert login.credentials(command(credential(token="the-token"))) == {"token": "the-token"}


def test_a_certificate_is_taken_in_the_form_of_a_kubeconfig(command):
    found = login.credentials(command(credential(clientCertificateData="CERTIFICATE", clientKeyData="KEY")))

    assert {name: base64.b64decode(value) for name, value in found.items()} == {
        "client-certificate-data": b"CERTIFICATE",
        "client-key-data": b"KEY",
    }


def test_the_command_is_told_which_form_is_wanted_and_gets_its_environment(tmp_path):
    program = tmp_path / "login"
    program.write_text(
        '#!/bin/sh\nprintf "%s" "{\\"status\\": {\\"token\\": \\"$CLUSTER $1\\"}}"; echo "$KUBERNETES_EXEC_INFO" > ' + f"{tmp_path}/info\n"
    )
    program.chmod(0o755)
    settings = {"apiVersion": VERSION, "command": str(program), "args": ["get-token"], "env": [{"name": "CLUSTER", "value": "feast"}]}

    assert login.credentials(settings) == {"token": "feast get-token"}
    assert json.loads((tmp_path / "info").read_text())["apiVersion"] == VERSION


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ({"complains": "no such cluster", "status": 255}, "failed: no such cluster"),
        ({"prints": "Welcome!"}, "what it prints is no ExecCredential"),
        ({"prints": credential()}, "what it prints is no ExecCredential"),
        ({"prints": "[]"}, "what it prints is no ExecCredential"),
        ({"prints": credential(clientCertificateData="only the half")}, "what it prints is no ExecCredential"),
    ],
)
def test_a_login_that_fails_says_why_and_shows_nothing_that_was_printed(command, does, reason):
    with pytest.raises(login.LoginError, match=reason) as failed:
        login.credentials(command(**does))

    assert "Welcome" not in str(failed.value)
    assert "half" not in str(failed.value)


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(login.LoginError, match=r"'aws-of-nobody', with which its user logs in, is not on PATH"):
        login.credentials({"apiVersion": VERSION, "command": "aws-of-nobody"})


def kubeconfig(**user):
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    document = {"clusters": [cluster], "contexts": [context], "users": [{"name": "u", "user": user}], "current-context": "c"}
    return json.dumps(document)


def test_a_failed_login_is_a_problem_of_the_kubeconfig_and_not_an_anonymous_request(command):
    broken = load_kubeconfig(kubeconfig(exec=command(complains="expired", status=1)), None)

    with pytest.raises(InvalidInput, match=r"the provider's kubeconfig cannot be used: .* expired"):
        ApiServer(broken)


# --- The sandbox's own `aws` ------------------------------------------------------------------------------------------


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
def test_our_aws_hands_on_the_credentials_of_the_kubeconfig(tmp_path, user, expected):
    (tmp_path / "config").write_text(kubeconfig(**user))
    program = aws_command.install(tmp_path / "bin", tmp_path / "config")
    arguments = ["eks", "get-token", "--cluster-name", "feast-dev", "--region", "eu-west-1", "--output", "json"]

    found = aws_command.credential(tmp_path / "config", VERSION)["status"]

    assert found.pop("expirationTimestamp").endswith("Z")
    assert found == expected
    assert login.credentials({"apiVersion": VERSION, "command": str(program), "args": arguments})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["s3", "ls"], "can only do `eks get-token`, not `s3 ls`"),
        (["eks", "get-token"], "--cluster-name"),
        (["eks", "get-token", "--cluster-name", "c", "--frobnicate"], "--frobnicate"),
    ],
)
def test_our_aws_refuses_what_it_cannot_do(tmp_path, arguments, reason):
    (tmp_path / "config").write_text(kubeconfig(token="t"))
    program = aws_command.install(tmp_path / "bin", tmp_path / "config")

    with pytest.raises(login.LoginError, match=reason):
        login.credentials({"apiVersion": VERSION, "command": str(program), "args": arguments})


def test_our_aws_says_when_there_is_nothing_to_hand_on(tmp_path):
    (tmp_path / "config").write_text(kubeconfig(username="me"))
    program = aws_command.install(tmp_path / "bin", tmp_path / "config")

    with pytest.raises(login.LoginError, match="neither a token nor a certificate"):
        login.credentials({"apiVersion": VERSION, "command": str(program), "args": ["eks", "get-token", "--cluster-name", "c"]})
