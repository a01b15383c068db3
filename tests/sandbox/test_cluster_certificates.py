"""Certificates: whole or absent, and good for what each component does."""

import json
import ssl

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox import addresses as at
from sandbox import certificates


@pytest.fixture
def pki(tmp_path):
    certificates.ensure(tmp_path / "pki", tmp_path / "kubeconfig")
    return tmp_path / "pki"


def certificate(pki, name):
    return x509.load_pem_x509_certificate((pki / f"{name}.crt").read_bytes())


@pytest.mark.parametrize("identity", certificates.SERVERS + certificates.CLIENTS, ids=lambda identity: identity.file)
def test_every_certificate_is_signed_by_the_authority_and_says_who_it_is(pki, identity):
    signed = certificate(pki, identity.file)
    signed.verify_directly_issued_by(certificate(pki, "ca"))
    names = {part.oid: part.value for part in signed.subject}
    assert names[NameOID.COMMON_NAME] == identity.user
    assert names.get(NameOID.ORGANIZATION_NAME, "") == identity.group


def test_no_client_certificate_can_pose_as_a_server(pki):
    for identity in certificates.CLIENTS:
        usage = certificate(pki, identity.file).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_api_server_answers_to_the_addresses_it_is_asked_at(pki):
    names = certificate(pki, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {at.HOST_ADDRESS, at.API_SERVICE_ADDRESS}


def test_keys_belong_to_their_certificates_and_nobody_else_may_read_them(pki):
    for identity in certificates.SERVERS + certificates.CLIENTS:
        ssl.create_default_context().load_cert_chain(pki / f"{identity.file}.crt", pki / f"{identity.file}.key")
        assert (pki / f"{identity.file}.key").stat().st_mode & 0o077 == 0


def test_they_are_made_once(pki, tmp_path):
    before = certificate(pki, "apiserver")
    assert certificates.ensure(pki, tmp_path / "kubeconfig") is False
    assert certificate(pki, "apiserver") == before


def test_a_run_killed_while_making_them_leaves_nothing_that_is_taken_for_whole(tmp_path):
    partial = tmp_path / "pki.partial"
    partial.mkdir()
    (partial / "ca.key").write_text("half a key")
    assert certificates.ensure(tmp_path / "pki", tmp_path / "kubeconfig") is True
    assert "half" not in (tmp_path / "pki" / "ca.key").read_text()
    assert not partial.exists()


def test_a_lost_kubeconfig_is_written_again(pki, tmp_path):
    (tmp_path / "kubeconfig").unlink()
    certificates.ensure(pki, tmp_path / "kubeconfig")
    assert json.loads((tmp_path / "kubeconfig").read_text())["current-context"] == at.CONTEXT
