"""Sends the pods and claims of some namespaces to the fake nodes: a mutating webhook, served by this process.

The workloads themselves stay as they were written: only what the controllers make of them is given the toleration and the node
selector, as an administrator's admission controller would do it.
"""

import base64
import datetime as dt
import ipaddress
import json
import ssl
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.fake_nodes import objects
from sandbox.fake_nodes.objects import FAKE, ONLY_FAKE
from sandbox.fake_nodes.volumes import STORAGE_CLASS
from sandbox.kubectl import Kubectl, Object

_HOST = "127.0.0.1"  # the API server is on this machine
_NAME = "fake-nodes.feast-eks.local"


@contextmanager
def sent_to_fake_nodes(kubectl: Kubectl, namespaces: Sequence[str]) -> Iterator[None]:
    """While this is entered, pods made in the namespaces are for fake nodes only, and their default volumes too."""
    default = next(
        (
            str(item["metadata"]["name"])
            for item in kubectl.get("storageclasses")["items"]
            if (item["metadata"].get("annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
        ),
        "",
    )
    key, certificate = _certificate()
    server = _Server((_HOST, 0), _Handler)
    server.default_class = default
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        pair = Path(directory, "pair.pem")
        pair.touch(mode=0o600)
        pair.write_bytes(key + certificate)
        context.load_cert_chain(pair)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, name="fake-nodes-admission", daemon=True)
    thread.start()
    try:
        objects.create(kubectl, _configuration(server.server_port, certificate, namespaces))
        yield
    finally:
        remove(kubectl)
        server.shutdown()
        server.server_close()


def remove(kubectl: Kubectl) -> None:
    """Without its server it would stop every pod."""
    objects.remove(kubectl, "mutatingwebhookconfigurations")


def changes(kind: str, item: Object, default_class: str) -> list[dict[str, Any]]:
    """The JSON patch for a new pod or claim."""
    spec = item["spec"]
    if kind == "Pod":
        selector = {**(spec.get("nodeSelector") or {}), **FAKE}
        tolerations = [*(spec.get("tolerations") or []), {**ONLY_FAKE, "operator": "Equal"}]
        return [
            {"op": "add", "path": "/spec/nodeSelector", "value": selector},
            {"op": "add", "path": "/spec/tolerations", "value": tolerations},
        ]
    if spec.get("volumeName") or spec.get("storageClassName", default_class) != default_class:
        return []
    return [{"op": "add", "path": "/spec/storageClassName", "value": STORAGE_CLASS}]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    default_class = ""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        """Answers one AdmissionReview."""
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        patch = changes(request["kind"]["kind"], request["object"], self.server.default_class)
        response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
        if patch:
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        answer = json.dumps({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Says nothing: the API server's log has it."""


def _configuration(port: int, certificate: bytes, namespaces: Sequence[str]) -> Object:
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods", "persistentvolumeclaims"],
        "scope": "Namespaced",
    }
    where = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
    webhook = {
        "name": _NAME,
        "clientConfig": {"url": f"https://{_HOST}:{port}/", "caBundle": base64.b64encode(certificate).decode()},
        "namespaceSelector": {"matchExpressions": [where]},
        "rules": [rule],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",  # else pods of production's size would be tried on the real node
        "timeoutSeconds": 10,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": _NAME},
        "webhooks": [webhook],
    }


def _certificate() -> tuple[bytes, bytes]:
    """A key and the certificate that it signed itself, for as long as a test may run."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(_HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(serialization.Encoding.PEM)
