"""Stand-in for `pulumi-aws`: a few types of S3, IAM, KMS and EKS over moto. Never talks to AWS."""

# ruff: noqa: D102, N802, ARG002 - gRPC names the methods and their arguments; the engine documents them

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf import empty_pb2

from sandbox.providers import aws_cloud, aws_eks, aws_iam, aws_kms, aws_s3, diff, plugin, wire
from sandbox.providers.aws_cloud import Cloud, Gone, Inputs, Kind
from sandbox.providers.plugin import InvalidInput, ProviderError
from sandbox.providers.proto import provider_pb2, provider_pb2_grpc

KINDS: Mapping[str, Kind] = {**aws_s3.KINDS, **aws_iam.KINDS, **aws_kms.KINDS, **aws_eks.KINDS}
FUNCTIONS = aws_eks.FUNCTIONS
_AUTONAME_SUFFIX_LENGTH = 7
# In the state: what the stand-in stored, as it was to be read right afterwards.
_WRITTEN = "__written"
# Where every resource may be moved to; the stand-in has one region.
_EVERYWHERE = ("region", "expectedBucketOwner", "__defaults")


class Aws(plugin.Provider):
    """The provider; what it can make is `KINDS`."""

    package = "aws"

    def __init__(self) -> None:
        self._cloud: Cloud | None = None

    @property
    def cloud(self) -> Cloud:
        if self._cloud is None:
            raise ProviderError("the AWS provider is used before it is configured")
        return self._cloud

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        marked = wire.read(request.news)
        failures = []
        if not wire.has_unknown(marked):
            try:
                aws_cloud.configure(wire.reveal(marked))
            except InvalidInput as failure:
                failures.append(failure)
            except ProviderError as error:
                failures.append(InvalidInput("endpoints", str(error)))
        return plugin.check_response(marked, failures)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        inputs = wire.reveal(wire.read(request.args))
        self._cloud = aws_cloud.configure(inputs)
        self._ask(lambda: aws_cloud.require_account(self.cloud, inputs))
        return super().Configure(request, context)

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = plugin.resource_type(request.urn)
        inputs = wire.read(request.news)
        kind = KINDS.get(token)
        if kind is None:
            reason = f"the sandbox's AWS provider has no {token}; it has {', '.join(sorted(KINDS))}"
            return plugin.check_response(inputs, [InvalidInput("", reason)])
        inputs = {**kind.defaults, **inputs, **_written_documents(kind, inputs)}
        if kind.name and inputs.get(kind.name) is None:
            inputs[kind.name] = _auto_name(kind, request)
        return plugin.check_response(inputs, _problems(kind, wire.reveal(inputs)))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind = _kind(request.urn)
        old, new = (wire.reveal(wire.read(side)) for side in (request.old_inputs, request.news))
        found = {
            path: change
            for path, change in diff.changes(old, new)
            if not (path[0] in kind.documents and aws_cloud.same_document(old.get(path[0]), new.get(path[0])))
        }
        state = wire.reveal(wire.read(request.olds))
        # The provider's default tags are no input of the resource, but part of what it is.
        if kind.taggable and not wire.has_unknown(new) and state.get("tagsAll", {}) != aws_cloud.tags_of(self.cloud, new):
            found.setdefault(("tagsAll",), "UPDATE")
        # Two of one name cannot be there at once. Who asks for a replacement of what did not change is not helped, as on AWS.
        replaced = any(path[0] in kind.force_new for path in found)
        same_name = bool(kind.name) and old.get(kind.name) == new.get(kind.name)
        return diff.response(found, lambda path: path[0] in kind.force_new, delete_before_replace=replaced and same_name)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        marked = wire.read(request.properties)
        kind = _kind(request.urn)
        if request.preview:
            return provider_pb2.CreateResponse(properties=wire.write(self._previewed(kind, marked)))
        inputs = wire.reveal(marked)
        resource_id = self._ask(lambda: kind.create(self.cloud, inputs))
        return provider_pb2.CreateResponse(id=resource_id, properties=self._state(kind, resource_id, marked))

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        marked = wire.read(request.news)
        kind = _kind(request.urn)
        if request.preview:
            previewed = {**wire.read(request.olds), **self._previewed(kind, marked)}
            return provider_pb2.UpdateResponse(properties=wire.write(previewed))
        self._ask(lambda: kind.update(self.cloud, request.id, wire.reveal(marked)))
        return provider_pb2.UpdateResponse(properties=self._state(kind, request.id, marked))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind = _kind(request.urn)
        marked = wire.read(request.inputs)
        inputs = wire.reveal(marked)
        if not inputs:
            raise ProviderError(f"the sandbox's AWS provider cannot import {request.id}")
        state = wire.reveal(wire.read(request.properties))
        try:
            live = self._ask(lambda: kind.read(self.cloud, request.id, inputs))
        except Gone:
            return provider_pb2.ReadResponse(id="")
        now = inputs_now(kind, inputs, live, state.get(_WRITTEN))
        return provider_pb2.ReadResponse(
            id=request.id,
            inputs=wire.write(wire.conceal(now, marked)),
            properties=self._state(kind, request.id, wire.conceal(now, marked), written=state.get(_WRITTEN)),
        )

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        kind = _kind(request.urn)
        inputs = wire.reveal(wire.read(request.old_inputs)) or wire.reveal(wire.read(request.properties))
        with contextlib.suppress(Gone):
            self._ask(lambda: kind.delete(self.cloud, request.id, inputs))
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        function = FUNCTIONS.get(request.tok)
        if function is None:
            raise ProviderError(f"the sandbox's AWS provider has no function {request.tok}; it has {', '.join(sorted(FUNCTIONS))}")
        arguments = wire.reveal(wire.read(request.args))
        return provider_pb2.InvokeResponse(**{"return": wire.write(self._ask(lambda: function(self.cloud, arguments)))})

    # --- Parts ---

    def _ask(self, operation: Callable[[], Any]) -> Any:
        try:
            return operation()
        except Exception as error:  # noqa: BLE001 - each is raised
            raise aws_cloud.explain(error) from None

    def _state(self, kind: Kind, resource_id: str, marked: Inputs, *, written: Inputs | None = None) -> Any:
        """The state to keep; `written` is what was to be read right after the last write."""
        inputs = wire.reveal(marked)
        outputs = self._ask(lambda: kind.outputs(self.cloud, resource_id, inputs))
        if written is None:
            written = self._ask(lambda: kind.read(self.cloud, resource_id, inputs))
        outputs[_WRITTEN] = wire.Secret(written) if wire.has_secret(marked) else written
        if kind.taggable:
            outputs["tagsAll"] = aws_cloud.tags_of(self.cloud, inputs)
        return wire.write({**outputs, **marked})

    def _previewed(self, kind: Kind, marked: Inputs) -> Inputs:
        """The inputs, and what of the outputs follows from them: policies want to see ARNs."""
        known: Inputs = {}
        if kind is KINDS["aws:s3/bucket:Bucket"] and not wire.is_unknown(marked["bucket"]):
            known = kind.outputs(self.cloud, wire.reveal(marked["bucket"]), {})
        if kind.taggable and not wire.has_unknown(marked.get("tags")):
            known["tagsAll"] = aws_cloud.tags_of(self.cloud, wire.reveal(marked))
        return {**known, **marked}


def inputs_now(kind: Kind, inputs: Mapping[str, Any], live: Mapping[str, Any], written: Mapping[str, Any] | None = None) -> Inputs:
    """The inputs that would produce what is there now.

    What reads as it did right after it was written is as it was asked for, in whatever form it is stored.
    """
    written = written or {}
    now = {
        name: value
        for name, value in inputs.items()
        if name not in kind.readable or name in live or _is_empty(value) or name not in written
    }
    for name, value in live.items():
        wanted = inputs.get(name)
        if name in written and written[name] == value:
            continue
        if name in kind.documents and aws_cloud.same_document(wanted, value):
            continue
        now[name] = value if name == "tags" else _as_asked(wanted, value)
    return now


def _is_empty(value: Any) -> bool:
    return value in (None, False, "", {}, [])


def _as_asked(wanted: Any, live: Any) -> Any:
    """A live value reduced to what the program says about it: AWS adds defaults."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return {
            key: _as_asked(value, live[key]) if key in live else value for key, value in wanted.items() if key in live or _is_empty(value)
        }
    if isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        return [_as_asked(*pair) for pair in zip(wanted, live, strict=True)]
    return wanted if wanted in (None, False) and live in (None, False) else live


def _kind(urn: str) -> Kind:
    token = plugin.resource_type(urn)
    if token not in KINDS:
        raise ProviderError(f"the sandbox's AWS provider has no {token}; it has {', '.join(sorted(KINDS))}")
    return KINDS[token]


def _problems(kind: Kind, inputs: Inputs) -> Iterator[InvalidInput]:
    supported = {*kind.required, *kind.optional, *_EVERYWHERE}
    for name, value in inputs.items():
        if name not in supported and value is not None:
            yield InvalidInput(name, f"is not supported by the sandbox's AWS provider; it knows {', '.join(sorted(supported))}")
    for name in kind.required:
        if inputs.get(name) is None or (inputs[name] == "" and name not in kind.may_be_empty):
            yield InvalidInput(name, "is missing")
    yield from _document_problems(kind, inputs)
    yield from kind.problems(inputs)


def _document_problems(kind: Kind, inputs: Inputs) -> Iterator[InvalidInput]:
    for name in kind.documents:
        text = inputs.get(name)
        if isinstance(text, str) and not wire.is_unknown(text) and text:
            try:
                json.loads(text)
            except ValueError as error:
                yield InvalidInput(name, f"is not JSON: {error}")
    tags = inputs.get("tags")
    if isinstance(tags, Mapping):
        for key, value in tags.items():
            if not isinstance(value, str):
                yield InvalidInput(diff.render(("tags", key)), f"must be a text, not {value!r}")


def _written_documents(kind: Kind, inputs: Mapping[str, Any]) -> Inputs:
    """Policy documents given as maps, as the JSON they stand for."""
    return {
        name: json.dumps(wire.reveal(inputs[name]))
        for name in kind.documents
        if isinstance(inputs.get(name), Mapping) and not wire.has_unknown(inputs[name])
    }


def _auto_name(kind: Kind, request: Any) -> Any:
    previous = wire.reveal(wire.read(request.olds)).get(kind.name)
    if previous:
        return previous
    if request.HasField("autonaming"):
        if request.autonaming.mode == provider_pb2.CheckRequest.AutonamingOptions.DISABLE:
            return None
        if request.autonaming.proposed_name:
            return f"{kind.name_start}{request.autonaming.proposed_name}"
    if kind.name == "key":  # an object is called what the resource is called
        return plugin.resource_name(request.urn)
    suffix = hashlib.sha256(request.randomSeed or request.urn.encode()).hexdigest()[:_AUTONAME_SUFFIX_LENGTH]
    start = f"{kind.name_start}{plugin.resource_name(request.urn)}-"
    if kind.name == "bucket":
        start = start.lower().replace("_", "-")
    return start[: kind.longest_name - len(suffix)] + suffix


def main() -> None:
    """Serves the plugin until the engine is done with it."""
    plugin.serve(lambda server, _engine: provider_pb2_grpc.add_ResourceProviderServicer_to_server(Aws(), server))


if __name__ == "__main__":
    main()
