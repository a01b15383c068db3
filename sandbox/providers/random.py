"""Stand-in for `pulumi-random`: RandomPassword, the one type that the program uses.

A password is made once, with the operating system's generator, and never again: only a change of an input (or of `keepers`)
replaces the resource. `bcryptHash` is left out.
"""

# ruff: noqa: D102, N802, ARG002 - gRPC names the methods and their arguments; the engine documents them

import secrets
import string
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from google.protobuf import empty_pb2

from sandbox.providers import diff, plugin, wire
from sandbox.providers.plugin import InvalidInput
from sandbox.providers.proto import provider_pb2, provider_pb2_grpc

_PASSWORD = "random:index/randomPassword:RandomPassword"
_CLASSES = {
    "upper": string.ascii_uppercase,
    "lower": string.ascii_lowercase,
    "numeric": string.digits,
    "special": "!@#$%&*()-_=+[]{}<>:?",
}
INPUTS = ("length", *_CLASSES, "keepers")


def generate(inputs: Mapping[str, Any]) -> str:
    """A text of exactly `length` characters of the classes that are not switched off."""
    alphabet = _alphabet(inputs)
    return "".join(secrets.choice(alphabet) for _ in range(inputs["length"]))


def problems(inputs: Mapping[str, Any]) -> Iterator[InvalidInput]:
    """What is wrong with the inputs; an unknown length is judged when it is known."""
    for name, value in inputs.items():
        if name not in (*INPUTS, "__defaults") and value is not None:
            yield InvalidInput(name, f"is not supported by the sandbox's random provider; it knows {', '.join(INPUTS)}")
    length = inputs.get("length")
    if not wire.is_unknown(length) and not (isinstance(length, int) and length >= 1):
        yield InvalidInput("length", f"must be a whole number of at least 1, not {length!r}")
    if not _alphabet(inputs):
        yield InvalidInput("special", "at least one of upper, lower, numeric and special must be true")


class Random(plugin.Provider):
    """Makes passwords and keeps them in the state, which is the only place they exist."""

    package = "random"

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = plugin.resource_type(request.urn)
        inputs = wire.read(request.news)
        if token != _PASSWORD:
            reason = f"the sandbox's random provider has no {token}; it has {_PASSWORD}"
            return plugin.check_response(inputs, [InvalidInput("", reason)])
        return plugin.check_response(inputs, problems(wire.reveal(inputs)))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = (wire.reveal(wire.read(side)) for side in (request.old_inputs, request.news))
        return diff.response(dict(diff.changes(old, new)), lambda _path: True)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        marked = wire.read(request.properties)
        if request.preview:
            unknown = {"result": wire.Secret(wire.UNKNOWN), "id": wire.UNKNOWN}
            return provider_pb2.CreateResponse(properties=wire.write({**marked, **unknown}))
        password = generate(wire.reveal(marked))
        # The id is shown in the clear, so it says nothing.
        return provider_pb2.CreateResponse(id="none", properties=wire.write({**marked, "result": wire.Secret(password)}))

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        # Every real change replaces; what arrives here differs in nothing that matters.
        return provider_pb2.UpdateResponse(properties=request.olds)

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not request.HasField("properties") or not request.properties.fields:
            raise plugin.ProviderError("the sandbox's random provider cannot import values")
        return provider_pb2.ReadResponse(id=request.id, inputs=request.inputs, properties=request.properties)

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()


def _alphabet(inputs: Mapping[str, Any]) -> str:
    return "".join(characters for name, characters in _CLASSES.items() if inputs.get(name) is not False)


def main() -> None:
    """Serves the plugin until the engine is done with it."""
    plugin.serve(lambda server, _engine: provider_pb2_grpc.add_ResourceProviderServicer_to_server(Random(), server))


if __name__ == "__main__":
    main()
