"""Stand-in for `pulumi-kubernetes`: the Pulumi engine on one side, server-side apply on a real API server on the other.

Promises: previews are dry runs; an object is done when it works, and when it does not the error says why; what the
program says about a live object can be compared with it (drift); the content of a Secret is never in the clear.
"""

# ruff: noqa: D102, N802, ARG002 - gRPC names the methods and their arguments; the engine documents them

import contextlib
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from sandbox.providers import chart, diff, live, plugin, readiness, replacement, scaling, wire
from sandbox.providers.api_server import FIELD_MANAGER, NO_SUCH_KIND, ApiError, ApiServer, Object, Unreachable, load_kubeconfig
from sandbox.providers.awaiting import NotReady, Wait
from sandbox.providers.plugin import InvalidInput, ProviderError, Unhealthy

Answer = TypeVar("Answer")

_DEFAULT_TIMEOUT_SECONDS = 600.0
_AUTONAME_SUFFIX_LENGTH = 8

_SKIP_AWAIT = "pulumi.com/skipAwait"
_TIMEOUT = "pulumi.com/timeoutSeconds"
_REPLACE_UNREADY = "pulumi.com/replaceUnready"
_FIELD_MANAGER = "pulumi.com/patchFieldManager"
_PROPAGATION = "pulumi.com/deletionPropagationPolicy"

_LONGEST_NAME = 253
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
# RBAC names may hold almost anything, such as system:node.
_FREELY_NAMED = frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})


class Kubernetes(plugin.Provider):
    """The provider; one process serves one provider resource, so one cluster."""

    package = "kubernetes"

    def __init__(self, engine: plugin.Engine) -> None:
        super().__init__(engine)
        self._api: ApiServer | None = None
        self._namespace = "default"
        self._mutable: frozenset[str] = frozenset()
        self._warned_unreachable = False
        self._failures: list[str] = []

    # --- The provider resource itself ---

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        marked = wire.read(request.news)
        inputs = wire.reveal(marked)
        failures = []
        if _flag(inputs, "renderYamlToDirectory"):
            failures.append(InvalidInput("renderYamlToDirectory", "the sandbox's provider does not render to files"))
        if not wire.has_unknown([inputs.get("kubeconfig"), inputs.get("context")]):
            try:
                load_kubeconfig(inputs.get("kubeconfig"), inputs.get("context"))
            except InvalidInput as failure:
                # Only what was given can be judged: without a kubeconfig the program may never use this provider.
                if inputs.get("kubeconfig"):
                    failures.append(failure)
        return plugin.check_response(marked, failures)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = (wire.reveal(wire.read(side)) for side in (request.old_inputs, request.news))
        found = dict(diff.changes(old, new))
        other = _other_cluster(old, new)
        return diff.response(found, lambda path: other and path[0] in ("kubeconfig", "context", "clusterIdentifier"))

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = wire.reveal(wire.read(request.args))
        kubeconfig = load_kubeconfig(inputs.get("kubeconfig"), inputs.get("context"))
        self._api = ApiServer(kubeconfig)
        self._namespace = inputs.get("namespace") or kubeconfig.namespace
        self._mutable = frozenset(
            kind for kind, option in (("ConfigMap", "enableConfigMapMutable"), ("Secret", "enableSecretMutable")) if _flag(inputs, option)
        )
        return super().Configure(request, context)

    @property
    def api(self) -> ApiServer:
        if self._api is None:
            raise ProviderError("the Kubernetes provider is used before it is configured")
        return self._api

    # --- Resources ---

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = wire.read(request.news)
        failures = list(_problems(inputs, request.urn))
        if failures:
            return plugin.check_response(inputs, failures)
        api_version, kind = _kind_of(request.urn)
        inputs = {"apiVersion": api_version, "kind": kind, **inputs}
        metadata = dict(inputs.get("metadata") or {})
        if not metadata.get("name") and not metadata.get("generateName"):
            try:
                metadata["name"] = _auto_name(request)
            except InvalidInput as failure:
                return plugin.check_response(inputs, [failure])
            metadata["annotations"] = {**(metadata.get("annotations") or {}), replacement.AUTONAMED: "true"}
        if not metadata.get("namespace") and self.api.is_namespaced(api_version, kind):
            metadata["namespace"] = self._namespace
        return plugin.check_response(live.mark_secret_data({**inputs, "metadata": metadata}))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = (wire.reveal(wire.read(side)) for side in (request.old_inputs, request.news))
        found = dict(diff.changes(old, new))
        replaces = replacement.replaces(new, mutable=self._mutable)
        if self._is_unready_job(new):
            found[("status",)] = "UPDATE"

            def replaces_unready(path: diff.Path) -> bool:
                return path == ("status",) or rules(path)

            rules, replaces = replaces, replaces_unready
        return diff.response(found, replaces, delete_before_replace=replacement.delete_first(old, new))

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = wire.read(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=wire.write(self._preview(request.urn, inputs, new=True)))
        found = self._apply_new(live.body(inputs))
        return provider_pb2.CreateResponse(id=_id(found), properties=wire.write(self._ready_state(request, inputs, found)))

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = wire.read(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=wire.write(self._preview(request.urn, inputs, new=False)))
        found = self._apply(live.body(inputs))
        if leftovers := live.left_behind(wire.read(request.old_inputs), inputs, found):
            found = self.api.patch(found, leftovers)
        found = scaling.handed_back(self.api, found, inputs)
        return provider_pb2.UpdateResponse(properties=wire.write(self._ready_state(request, inputs, found)))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = wire.read(request.inputs)
        known = bool(inputs.get("kind"))
        item = live.body(inputs) if known else _item_of(request.urn, request.id)
        found = self.api.get(item)
        if found is None:
            return provider_pb2.ReadResponse(id="")
        if not known:
            inputs = live.imported_inputs(found)
            return provider_pb2.ReadResponse(id=_id(found), inputs=wire.write(inputs), properties=wire.write(live.state(found, inputs)))
        now = live.inputs_now(inputs, found)
        if wire.reveal(now) != wire.reveal(inputs):
            # Something looks different: ask the server how it writes our inputs before calling that drift.
            now = live.inputs_now(inputs, found, self._normal(item))
        now = scaling.with_drift(self.api, found, now)
        state = live.state(found, inputs)
        failure = self._failure(inputs, found)
        if failure:
            raise Unhealthy(failure, resource_id=_id(found), state=state, inputs=now)
        return provider_pb2.ReadResponse(id=_id(found), inputs=wire.write(now), properties=wire.write(state))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        item = wire.reveal(wire.read(request.old_inputs)) or wire.reveal(wire.read(request.properties))
        if not item.get("kind"):
            item = _item_of(request.urn, request.id)
        propagation = {"background": "Background", "orphan": "Orphan"}.get(str(_annotation(item, _PROPAGATION)).lower(), "Foreground")
        self._talk(lambda: self.api.delete(item, propagation))
        self._wait(item, request.urn, _timeout(request, item)).until_gone()
        return empty_pb2.Empty()

    def Construct(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.type != chart.TYPE:
            raise ProviderError(f"the sandbox's Kubernetes provider has no {request.type}; it has {chart.TYPE}")
        return chart.construct(request, self.api, self.engine, self.version, self._namespace)

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        raise ProviderError(f"the sandbox's Kubernetes provider has no function {request.tok}")

    # --- Doing it ---

    def _preview(self, urn: str, inputs: dict[str, Any], *, new: bool) -> dict[str, Any]:
        """What the object would become; without values it needs, without its namespace or without the cluster: the inputs."""
        if wire.has_unknown(inputs):
            return inputs
        body = live.body(inputs)
        try:
            found = self.api.apply(body, dry_run=True, manager=_manager(body))
        except Unreachable as error:
            if not self._warned_unreachable:
                self._warned_unreachable = True
                self.engine.warning(urn, f"{error} This preview is not checked by the API server.")
            return inputs
        except ApiError as error:
            # What it lives in, or its kind, may be part of this very preview.
            if error.reason == NO_SUCH_KIND:
                self.engine.warning(urn, f"{error}. This preview takes it that this very update does.")
            if error.status == HTTPStatus.NOT_FOUND or _is_immutable(error):
                return inputs
            raise
        return live.state(live.without_assigned(found, body) if new else found, inputs)

    def _apply(self, body: Object) -> Object:
        return self._talk(lambda: self.api.apply(body, manager=_manager(body)))

    def _apply_new(self, body: Object) -> Object:
        """Creates an object, over whatever an interrupted run may have left of it."""
        existing = self._talk(lambda: self.api.get(body))
        if existing is not None and _must_go_first(existing):
            self._remove(body)
        try:
            return self._apply(body)
        except ApiError as error:
            if not (_is_immutable(error) and existing is not None and live.made_by_us(existing)):
                raise
        self._remove(body)
        return self._apply(body)

    def _remove(self, item: Object) -> None:
        self.api.delete(item)
        self._wait(item, "", _DEFAULT_TIMEOUT_SECONDS).until_gone()

    def _ready_state(self, request: Any, inputs: dict[str, Any], found: Object) -> dict[str, Any]:
        """The state to keep, once the object is ready. Raises Unhealthy, with what there is, when it is not."""
        revealed = wire.reveal(inputs)
        if _annotation(revealed, _SKIP_AWAIT) == "true" or not readiness.is_awaited(revealed):
            return live.state(found, inputs)
        try:
            ready = self._wait(found, request.urn, _timeout(request, revealed)).until_ready()
        except (NotReady, Unreachable) as error:
            latest = found
            with contextlib.suppress(ProviderError):  # then the state of a moment ago is the best there is
                latest = self.api.get(found) or found
            raise Unhealthy(str(error), resource_id=_id(found), state=live.state(latest, inputs), inputs=inputs) from None
        return live.state(ready, inputs)

    def _wait(self, item: Object, urn: str, timeout: float) -> Wait:
        return Wait(
            self.api,
            item,
            timeout=timeout,
            cancelled=self.cancelled,
            report=lambda message: self.engine.status(urn, message),
            failures=self._failures,
        )

    def _talk(self, operation: Callable[[], Answer]) -> Answer:
        """One request, repeated where the API server says that it is only not ready for it yet."""
        for pause in (0.5, 1.0, 2.0, 4.0, 0.0):
            try:
                return operation()
            except ApiError as error:
                transient = error.status in (429, 502, 503, 504) or error.reason == "ServerTimeout"
                # A kind whose definition was applied a moment ago, an account its controller has yet to make.
                late = error.reason == NO_SUCH_KIND or "no API token found" in str(error)
                if not pause or not (transient or late) or self.cancelled.wait(pause):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _normal(self, body: Object) -> Object | None:
        try:
            return self.api.apply(body, dry_run=True, manager=_manager(body))
        except (ApiError, Unreachable):
            return None

    def _failure(self, inputs: dict[str, Any], found: Object) -> str:
        """Why a live object does not work, for a refresh; nothing for one that works or is on its way."""
        if _annotation(wire.reveal(inputs), _SKIP_AWAIT) == "true":
            return ""
        state = readiness.assess(found, self.api)
        return "" if state.ready or not state.failed else f"{found['kind']} {_id(found)} {state.message}"

    def _is_unready_job(self, new: Mapping[str, Any]) -> bool:
        if new.get("kind") != "Job" or _annotation(new, _REPLACE_UNREADY) != "true" or wire.has_unknown(new["metadata"]):
            return False
        try:
            found = self.api.get(new)
        except (ApiError, Unreachable):
            return False  # a diff must be possible without the cluster
        return found is not None and not readiness.assess(found, self.api).ready


# --- Inputs -----------------------------------------------------------------------------------------------------------


def _problems(inputs: Mapping[str, Any], urn: str) -> Iterator[InvalidInput]:
    """What can be said about the inputs without asking the server."""
    api_version, kind = _kind_of(urn)
    for field, expected in (("kind", kind), ("apiVersion", api_version)):
        given = inputs.get(field, expected)
        if given != expected and not wire.is_unknown(given):
            yield InvalidInput(field, f"is {given!r}, but the resource's type says {expected!r}")
    metadata = inputs.get("metadata", {})
    if isinstance(metadata, wire.Secret | str) or metadata is None:
        return
    if not isinstance(metadata, Mapping):
        yield InvalidInput("metadata", f"must be a map, not {metadata!r}")
        return
    yield from _name_problems(metadata, kind)
    for field in ("labels", "annotations"):
        yield from _text_problems(f"metadata.{field}", metadata.get(field))
    if kind in ("ConfigMap", "Secret"):
        for field in ("data", "stringData"):
            yield from _text_problems(field, inputs.get(field))


def _name_problems(metadata: Mapping[str, Any], kind: str) -> Iterator[InvalidInput]:
    for field in ("name", "namespace"):
        name = metadata.get(field)
        if name is None or wire.is_unknown(name) or isinstance(name, wire.Secret):
            continue
        if not isinstance(name, str) or not name:
            yield InvalidInput(f"metadata.{field}", f"must be a name, not {name!r}")
        elif kind not in _FREELY_NAMED and (len(name) > _LONGEST_NAME or not _OBJECT_NAME.fullmatch(name)):
            yield InvalidInput(
                f"metadata.{field}",
                f"{name!r} is no Kubernetes name: small letters, digits, '-' and '.', at most 253, "
                "beginning and ending with a letter or digit",
            )


def _text_problems(path: str, texts: Any) -> Iterator[InvalidInput]:
    if not isinstance(texts, Mapping):
        return
    for key, value in texts.items():
        if value is not None and not isinstance(value, str | wire.Secret):
            shown = "true" if value is True else "false" if value is False else value
            yield InvalidInput(diff.render((*path.split("."), key)), f'must be a text; write "{shown}" in quotes')


def _auto_name(request: Any) -> str:
    """The object's name where the program gives none: kept while the object lives, new for its replacement."""
    previous = wire.reveal(wire.read(request.olds)).get("metadata") or {}
    if previous.get("name") and (previous.get("annotations") or {}).get(replacement.AUTONAMED) == "true":
        return str(previous["name"])
    name = plugin.resource_name(request.urn)
    if request.HasField("autonaming"):
        options = provider_pb2.CheckRequest.AutonamingOptions
        if request.autonaming.mode == options.DISABLE:
            raise InvalidInput("metadata.name", "is missing, and the project disables automatic names")
        if request.autonaming.proposed_name:
            return str(request.autonaming.proposed_name)
    seed = request.randomSeed or request.urn.encode()
    return f"{name}-{hashlib.sha256(seed).hexdigest()[:_AUTONAME_SUFFIX_LENGTH]}"


def _kind_of(urn: str) -> tuple[str, str]:
    """`apps/v1`, `Deployment` of the type `kubernetes:apps/v1:Deployment`; the core group is spelled out in types."""
    _, api_version, kind = plugin.resource_type(urn).split(":")
    return api_version.removeprefix("core/"), kind


def _item_of(urn: str, resource_id: str) -> Object:
    api_version, kind = _kind_of(urn)
    namespace, _, name = resource_id.rpartition("/")
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace or None}}


def _id(item: Object) -> str:
    metadata = item["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])


def _annotation(item: Mapping[str, Any], name: str) -> Any:
    return ((item.get("metadata") or {}).get("annotations") or {}).get(name)


def _manager(body: Object) -> str:
    return str(_annotation(body, _FIELD_MANAGER) or FIELD_MANAGER)


def _timeout(request: Any, item: Mapping[str, Any]) -> float:
    """Custom timeouts win over the annotation."""
    if request.timeout:
        return float(request.timeout)
    try:
        return float(_annotation(item, _TIMEOUT) or _DEFAULT_TIMEOUT_SECONDS)
    except ValueError:
        return _DEFAULT_TIMEOUT_SECONDS


def _flag(inputs: Mapping[str, Any], name: str) -> bool:
    """Provider inputs that are no strings arrive as JSON."""
    return inputs.get(name) not in (None, False, "", "false")


def _other_cluster(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the objects of the old configuration are somewhere else, so that all of them have to be made again."""
    if old.get("clusterIdentifier") or new.get("clusterIdentifier"):
        return old.get("clusterIdentifier") != new.get("clusterIdentifier")
    if wire.has_unknown(new):
        return False
    try:
        servers = [load_kubeconfig(side.get("kubeconfig"), side.get("context")).server for side in (old, new)]
    except InvalidInput:
        return False  # without the old kubeconfig there is no telling
    return servers[0] != servers[1]


def _must_go_first(existing: Object) -> bool:
    """What is being deleted would vanish under the new object; a failed Job of ours would fail the new one at once."""
    if existing["metadata"].get("deletionTimestamp"):
        return True
    failed = existing["kind"] == "Job" and any(
        condition["type"] == "Failed" and condition["status"] == "True"
        for condition in (existing.get("status") or {}).get("conditions") or []
    )
    return failed and live.made_by_us(existing)


def _is_immutable(error: ApiError) -> bool:
    text = str(error)
    return error.status == HTTPStatus.UNPROCESSABLE_ENTITY and ("immutable" in text or "Forbidden: updates to" in text)


def main() -> None:
    """Serves the plugin until the engine is done with it."""

    def register(server: grpc.Server, engine: plugin.Engine) -> threading.Event:
        provider = Kubernetes(engine)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
        return provider.cancelled

    plugin.serve(register)


if __name__ == "__main__":
    main()
