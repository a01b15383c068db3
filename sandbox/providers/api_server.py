"""One Kubernetes API server: server-side apply, read, delete, and sentences instead of status codes."""

import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from sandbox.providers import login
from sandbox.providers.login import LoginError
from sandbox.providers.plugin import InvalidInput, ProviderError

FIELD_MANAGER = "feast-eks-sandbox"
NO_SUCH_KIND = "NoSuchKind"
Object = dict[str, Any]

# Kinds of the built-in API that live outside namespaces; any other kind is looked up at the server.
_CLUSTER_SCOPED = frozenset(
    [
        "APIService",
        "CSIDriver",
        "CSINode",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "FlowSchema",
        "IngressClass",
        "MutatingWebhookConfiguration",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "PriorityLevelConfiguration",
        "RuntimeClass",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    ]
)
_BUILT_IN_GROUPS = ("apps", "autoscaling", "batch", "policy")


class Unreachable(ProviderError):
    """Nothing answers where the kubeconfig says the API server is."""


class ApiError(ProviderError):
    """The API server's own refusal."""

    def __init__(self, status: int, message: str, reason: str = "", causes: tuple[str, ...] = ()) -> None:
        super().__init__(message + "".join(f"\n  {cause}" for cause in causes))
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Kubeconfig:
    """Where the kubeconfig is from, its content, and which of its contexts is meant."""

    origin: str
    content: dict[str, Any]
    context: str

    @property
    def server(self) -> str:
        """The address of the API server."""
        cluster = self._named("contexts", self.context).get("context", {}).get("cluster", "")
        return str(self._named("clusters", cluster).get("cluster", {}).get("server", ""))

    @property
    def namespace(self) -> str:
        """The namespace that the context chooses."""
        return str(self._named("contexts", self.context).get("context", {}).get("namespace") or "default")

    @property
    def login(self) -> Mapping[str, Any]:
        """The command that the context's user logs in with; empty where the kubeconfig itself has the credentials."""
        return self._named("users", self._user).get("user", {}).get("exec") or {}

    def logged_in(self) -> dict[str, Any]:
        """The content with credentials in the place of the command for getting them. Raises LoginError."""
        if not self.login:
            return dict(self.content)
        user = {"name": self._user, "user": login.credentials(self.login)}
        return {**self.content, "users": [user]}

    @property
    def _user(self) -> str:
        return str(self._named("contexts", self.context).get("context", {}).get("user", ""))

    def _named(self, section: str, name: str) -> dict[str, Any]:
        return next((entry for entry in self.content.get(section) or [] if entry.get("name") == name), {})

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """The kubeconfig as a file for tools that want one; readable by us alone."""
        if "\n" not in self.origin and Path(self.origin).is_file():
            yield Path(self.origin)
            return
        with tempfile.NamedTemporaryFile("w", suffix=".kubeconfig") as file:
            yaml.safe_dump(self.content, file)
            file.flush()
            yield Path(file.name)


def load_kubeconfig(value: str | Mapping[str, Any] | None, context: str | None) -> Kubeconfig:
    """From a provider input (text, path or map), else $KUBECONFIG, else ~/.kube/config. Raises InvalidInput."""
    origin = "the provider's kubeconfig"
    text = value
    if not value:
        text = os.environ.get("KUBECONFIG") or "~/.kube/config"
    if isinstance(text, str) and "\n" not in text and not text.lstrip().startswith(("{", "apiVersion:")):
        path = Path(text.split(os.pathsep)[0]).expanduser()
        origin = str(path)
        try:
            text = path.read_text()
        except OSError as error:
            raise InvalidInput("kubeconfig", f"{path} cannot be read: {error.strerror}") from None
    if isinstance(text, str):
        try:
            text = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InvalidInput("kubeconfig", f"{origin} is not YAML") from None
    if not isinstance(text, Mapping) or not text.get("clusters"):
        raise InvalidInput("kubeconfig", f"{origin} is not a kubeconfig: it names no clusters")
    content = dict(text)
    chosen = context or content.get("current-context") or ""
    names = [entry.get("name") for entry in content.get("contexts") or []]
    if chosen not in names:
        known = ", ".join(map(str, names)) or "none"
        raise InvalidInput("context", f"{origin} has no context {chosen!r}; it has {known}")
    return Kubeconfig(origin, content, chosen)


class ApiServer:
    """Speaks to one API server; safe to use from many threads."""

    def __init__(self, kubeconfig: Kubeconfig) -> None:
        self.kubeconfig = kubeconfig
        self._client = _connected(kubeconfig)
        self._discovered: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    # --- Objects ---

    def get(self, item: Mapping[str, Any]) -> Object | None:
        """The live object, or None where it (or its kind) does not exist."""
        path = self.path(item)
        return self.get_path(path) if path else None

    def get_path(self, path: str, **query: str) -> Object | None:
        """What is at a path, or None where nothing is."""
        try:
            return self.request("GET", path, query=query)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def apply(self, item: Object, *, dry_run: bool = False, manager: str = FIELD_MANAGER) -> Object:
        """Server-side apply: creates or takes over. Raises ApiError, also for a kind that the server does not have."""
        path = self.path(item)
        if path is None:
            raise ApiError(HTTPStatus.NOT_FOUND, self._no_such_kind(item), NO_SUCH_KIND)
        query = {"fieldManager": manager, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        return self.request("PATCH", path, query=query, body=item, content_type="application/apply-patch+yaml")

    def patch(self, item: Mapping[str, Any], operations: list[dict[str, Any]]) -> Object:
        """A JSON patch."""
        path = self.path(item)
        assert path is not None
        return self.request(
            "PATCH",
            path,
            query={"fieldManager": FIELD_MANAGER},
            body=operations,
            content_type="application/json-patch+json",
        )

    def delete(self, item: Mapping[str, Any], propagation: str = "Foreground") -> None:
        """Asks for the deletion; an object that is gone already is fine."""
        path = self.path(item)
        if path is None:
            return
        try:
            self.request("DELETE", path, body={"propagationPolicy": propagation})
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def items(self, path: str, **query: str) -> list[Object]:
        """The items of a list; none where the kind does not exist."""
        found = self.get_path(path, **query)
        return list((found or {}).get("items") or [])

    def log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int) -> str:
        """The last lines of a container, or nothing where it has none."""
        query = {"container": container, "tailLines": str(lines), "previous": str(previous).lower()}
        try:
            return self._send("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query=query).decode(errors="replace")
        except (ApiError, Unreachable):
            return ""

    # --- Kinds ---

    def is_namespaced(self, api_version: str, kind: str) -> bool:
        """Whether a kind lives in namespaces; one that the server does not know (yet) is taken to."""
        group = api_version.rpartition("/")[0]
        if kind in _CLUSTER_SCOPED:
            return False
        if not group or group in _BUILT_IN_GROUPS or group.endswith(".k8s.io"):
            return True
        try:
            resource = self._resource(api_version, kind)
        except Unreachable:
            return True
        return resource is None or bool(resource["namespaced"])

    def path(self, item: Mapping[str, Any]) -> str | None:
        """Where an object is, or None where the server does not have its kind."""
        resource = self._resource(str(item["apiVersion"]), str(item["kind"]))
        if resource is None:
            return None
        metadata = item["metadata"]
        prefix = _group_path(str(item["apiVersion"]))
        if resource["namespaced"]:
            prefix += f"/namespaces/{metadata.get('namespace') or self.kubeconfig.namespace}"
        return f"{prefix}/{resource['name']}/{metadata['name']}"

    def version(self) -> str:
        """The version of Kubernetes, such as `v1.35.4`."""
        return str(self.request("GET", "/version")["gitVersion"])

    def api_versions(self) -> list[str]:
        """Every group/version and group/version/Kind, as charts ask for them."""
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        found = []
        for path in ("/api", "/apis"):
            for group in self.request("GET", path, accept=accept).get("items", []):
                name = group["metadata"].get("name", "")
                for version in group["versions"]:
                    api_version = f"{name}/{version['version']}" if name else version["version"]
                    found.append(api_version)
                    kinds = {resource["responseKind"]["kind"] for resource in version.get("resources", [])}
                    found += [f"{api_version}/{kind}" for kind in sorted(kinds)]
        return found

    def _no_such_kind(self, item: Mapping[str, Any]) -> str:
        message = f"the cluster {self.kubeconfig.server} has no kind {item.get('kind')} in {item.get('apiVersion')}"
        group = str(item.get("apiVersion")).rpartition("/")[0]
        built_in = not group or group in _BUILT_IN_GROUPS or group.endswith(".k8s.io")
        return message if built_in else f"{message}; install the CustomResourceDefinition that brings it, or do without what needs it"

    def _resource(self, api_version: str, kind: str) -> dict[str, Any] | None:
        with self._lock:
            known = self._discovered.get(api_version)
        if known is None or kind not in known:  # a CRD may have arrived since
            answer = self.get_path(_group_path(api_version)) or {}
            known = {entry["kind"]: entry for entry in answer.get("resources", []) if "/" not in entry["name"]}
            with self._lock:
                self._discovered[api_version] = known
        return known.get(kind)

    # --- Requests ---

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """One request and its JSON answer. Raises ApiError or Unreachable."""
        answer = json.loads(self._send(method, path, query=query, body=body, content_type=content_type, accept=accept) or b"{}")
        return dict(answer)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> bytes:
        def send() -> tuple[int, bytes]:
            connection = self._client
            prepared = connection.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            try:
                answer = connection.call_api(*prepared, _request_timeout=(5, 60)).response
                return int(answer.status), bytes(answer.data)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Unreachable(self._unreachable(error)) from None

        status, content = send()
        if status == HTTPStatus.UNAUTHORIZED and self.kubeconfig.login:
            # What a command gives is good for minutes; an update may take longer.
            self._client = _connected(self.kubeconfig)
            status, content = send()
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise _api_error(status, content, self.kubeconfig)
        return content

    def _unreachable(self, error: Exception) -> str:
        reason = getattr(error, "reason", None) or error
        detail = re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", str(reason).rpartition("> ")[2]) or type(error).__name__
        return (
            f"the Kubernetes API server {self.kubeconfig.server} (context {self.kubeconfig.context} of "
            f"{self.kubeconfig.origin}) does not answer: {detail.rstrip('.')}. "
            "Start it (the sandbox's own: `make up`) or choose another context."
        )


def _connected(kubeconfig: Kubeconfig) -> client.ApiClient:
    """A client with valid credentials. Raises InvalidInput."""
    settings = client.Configuration()
    try:
        content = kubeconfig.logged_in()
        config.load_kube_config_from_dict(content, context=kubeconfig.context, client_configuration=settings)
    except (LoginError, ConfigException, TypeError, KeyError, ValueError) as error:
        raise InvalidInput("kubeconfig", f"{kubeconfig.origin} cannot be used: {error}") from None
    settings.connection_pool_maxsize = 64  # one per awaited object
    settings.retries = urllib3.Retry(total=2, connect=1, read=False, status=0, backoff_factor=0.2)
    return client.ApiClient(settings)


def _group_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _api_error(status: int, content: bytes, kubeconfig: Kubeconfig) -> ApiError:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = {"message": content.decode(errors="replace")[:500]}
    message = str(answer.get("message") or f"HTTP status {status}")
    if status == HTTPStatus.UNAUTHORIZED:
        message = f"the API server {kubeconfig.server} does not accept the credentials of {kubeconfig.origin}"
    causes = (answer.get("details") or {}).get("causes") or []
    named = tuple(
        f"{cause['field']}: {cause.get('message', '')}" for cause in causes if cause.get("field") and cause["field"] not in message
    )
    return ApiError(status, message, str(answer.get("reason") or ""), named)
