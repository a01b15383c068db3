"""The cluster's certificate authority, one certificate per component, and their kubeconfigs.

Made once and as a whole: the directory appears only when all of it is there, so a killed run leaves none or all.
"""

import base64
import datetime as dt
import ipaddress
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandbox import addresses as at
from sandbox.state import KUBECONFIG, STATE, write

PKI = STATE / "pki"
VALID = dt.timedelta(days=3650)


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for: its file, Kubernetes user and groups, and for servers the names it answers to."""

    file: str
    user: str
    group: str = ""
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


SERVERS = (
    Identity(
        "apiserver",
        "kube-apiserver",
        names=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{at.CLUSTER_DOMAIN}",
        ),
        addresses=(at.HOST_ADDRESS, at.API_SERVICE_ADDRESS),
    ),
    Identity("kubelet-server", at.NODE, names=(at.NODE,), addresses=(at.NODE_ADDRESS,)),
)
CLIENTS = (
    Identity("admin", "admin", "system:masters"),
    Identity("apiserver-kubelet", "apiserver-kubelet", "system:masters"),
    Identity("controller-manager", "system:kube-controller-manager"),
    Identity("scheduler", "system:kube-scheduler"),
    Identity("proxy", "system:kube-proxy"),
    Identity("dns", "system:coredns"),
    Identity("node", f"system:node:{at.NODE}", "system:nodes"),
)


def ensure(directory: Path = PKI, kubeconfig: Path = KUBECONFIG) -> bool:
    """Make keys, certificates and kubeconfigs unless they exist. Returns whether they had to be made."""
    made = not directory.exists()
    if made:
        partial = directory.with_name(f"{directory.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
        _make_all(partial)
        partial.rename(directory)
    admin = (directory / "admin.kubeconfig").read_text()
    if not kubeconfig.exists() or kubeconfig.read_text() != admin:
        write(kubeconfig, admin)
    return made


def _make_all(directory: Path) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(Identity("ca", "feast-eks-sandbox"), authority_key, None, authority_key)
    _save(directory, "ca", authority_key, authority)
    for identity in SERVERS + CLIENTS:
        key = ec.generate_private_key(ec.SECP256R1())
        _save(directory, identity.file, key, _certificate(identity, key, authority, authority_key))
    for identity in CLIENTS:
        content = _kubeconfig(directory, identity)
        write(directory / f"{identity.file}.kubeconfig", content)
    signing_key = ec.generate_private_key(ec.SECP256R1())
    write(directory / "service-accounts.key", _private(signing_key))
    public = signing_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write(directory / "service-accounts.pub", public)


def _certificate(
    identity: Identity,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate | None,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, identity.user)]
    if identity.group:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.group))
    subject = x509.Name(attributes)
    now = dt.datetime.now(dt.UTC)
    is_authority = authority is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority is None else authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if not is_authority:
        server = bool(identity.addresses)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if server:
            names: list[x509.GeneralName] = [x509.DNSName(name) for name in identity.names]
            names += [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _save(directory: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    write(directory / f"{name}.key", _private(key))
    write(directory / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _kubeconfig(directory: Path, identity: Identity) -> str:
    def encoded(name: str) -> str:
        return base64.b64encode((directory / name).read_bytes()).decode()

    cluster = {"server": at.API_URL, "certificate-authority-data": encoded("ca.crt")}
    user = {
        "client-certificate-data": encoded(f"{identity.file}.crt"),
        "client-key-data": encoded(f"{identity.file}.key"),
    }
    # JSON is YAML: every reader of kubeconfigs takes it, and nothing needs quoting rules.
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": at.CONTEXT, "cluster": cluster}],
            "users": [{"name": identity.user, "user": user}],
            "contexts": [{"name": at.CONTEXT, "context": {"cluster": at.CONTEXT, "user": identity.user}}],
            "current-context": at.CONTEXT,
        },
        indent=2,
    )
