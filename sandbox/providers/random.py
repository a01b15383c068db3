"""Stand-in for `pulumi-random`: RandomPassword, RandomString and RandomId.

A value is made once, with the operating system's generator, and never again: only a change of an input (or of `keepers`)
replaces the resource. `bcryptHash` is left out.
"""

# ruff: noqa: D102, N802, ARG002 - gRPC names the methods and their arguments; the engine documents them

import base64
import secrets
import string
from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from sandbox.providers import diff, plugin, wire
from sandbox.providers.plugin import InvalidInput

_PASSWORD = "random:index/randomPassword:RandomPassword"
_STRING = "random:index/randomString:RandomString"
_ID = "random:index/randomId:RandomId"
_SUPPORTED = (_PASSWORD, _STRING, _ID)

_SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
_CLASSES = {
    "upper": string.ascii_uppercase,
    "lower": string.ascii_lowercase,
    "numeric": string.digits,
    "special": _SPECIAL,
}


def generate_text(inputs: dict[str, Any]) -> str:
    """A text of exactly `length` characters of the enabled classes, with at least `min*` of each, in random order."""
    alphabets = _alphabets(inputs)
    letters = [secrets.choice(alphabets[name]) for name in alphabets for _ in range(inputs.get(f"min{name.capitalize()}") or 0)]
    everything = "".join(alphabets.values())
    letters += [secrets.choice(everything) for _ in range(inputs["length"] - len(letters))]
    secrets.SystemRandom().shuffle(letters)
    return "".join(letters)


def generate_id(inputs: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The id and the outputs of a RandomId: the same bytes in four notations, each after the prefix."""
    raw = secrets.token_bytes(inputs["byteLength"])
    prefix = inputs.get("prefix") or ""
    url_safe = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    notations = {
        "b64Std": base64.b64encode(raw).decode(),
        "b64Url": url_safe,
        "dec": str(int.from_bytes(raw, "big")),
        "hex": raw.hex(),
    }
    return url_safe, {name: prefix + text for name, text in notations.items()}


def problems(token: str, inputs: dict[str, Any]) -> Iterator[InvalidInput]:
    """What is wrong with inputs whose values are known; unknown ones are judged when they are known."""
    size = "byteLength" if token == _ID else "length"
    wanted = inputs.get(size)
    if wire.is_unknown(wanted):
        return
    if not isinstance(wanted, int) or wanted < 1:
        yield InvalidInput(size, f"must be a whole number of at least 1, not {wanted!r}")
        return
    if token == _ID:
        return
    least = 0
    alphabets = _alphabets(inputs)
    for name in _CLASSES:
        key = f"min{name.capitalize()}"
        minimum = inputs.get(key) or 0
        if wire.is_unknown(minimum):
            return
        if not isinstance(minimum, int) or minimum < 0:
            yield InvalidInput(key, f"must be a whole number of at least 0, not {minimum!r}")
        elif minimum and name not in alphabets:
            yield InvalidInput(key, f"asks for {minimum} characters of a class that `{name}: false` excludes")
        else:
            least += minimum
    if not any(alphabets.values()):
        yield InvalidInput("special", "at least one of upper, lower, numeric and special must be true")
    if least > wanted:
        yield InvalidInput("length", f"is {wanted}, but the minimums of the classes add up to {least}")


class Random(plugin.Provider):
    """Makes random values and keeps them in the state, which is the only place they exist."""

    package = "random"

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        token = plugin.resource_type(request.urn)
        inputs = wire.read(request.news)
        if token not in _SUPPORTED:
            reason = f"the sandbox's random provider has no {token}; it has {', '.join(_SUPPORTED)}"
            return plugin.check_response(inputs, [InvalidInput("", reason)])
        return plugin.check_response(inputs, problems(token, wire.reveal(inputs)))

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = (wire.reveal(wire.read(side)) for side in (request.old_inputs, request.news))
        return diff.response(dict(diff.changes(old, new)), lambda _path: True)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        marked = wire.read(request.properties)
        inputs = wire.reveal(marked)
        token = plugin.resource_type(request.urn)
        if request.preview:
            results = ("b64Std", "b64Url", "dec", "hex", "id") if token == _ID else ("result", "id")
            unknown = dict.fromkeys(results, wire.UNKNOWN)
            if token == _PASSWORD:
                unknown["result"] = wire.Secret(wire.UNKNOWN)  # type: ignore[assignment]
            return provider_pb2.CreateResponse(properties=wire.write({**marked, **unknown}))
        if token == _ID:
            resource_id, outputs = generate_id(inputs)
            return provider_pb2.CreateResponse(id=resource_id, properties=wire.write({**marked, **outputs}))
        text = generate_text(inputs)
        if token == _STRING:
            return provider_pb2.CreateResponse(id=text, properties=wire.write({**marked, "result": text}))
        # The id is shown in the clear, so a password's says nothing.
        return provider_pb2.CreateResponse(id="none", properties=wire.write({**marked, "result": wire.Secret(text)}))

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        # Every real change replaces; what arrives here differs in nothing that matters.
        return provider_pb2.UpdateResponse(properties=request.olds)

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        if not request.HasField("properties") or not request.properties.fields:
            raise plugin.ProviderError("the sandbox's random provider cannot import values")
        return provider_pb2.ReadResponse(id=request.id, inputs=request.inputs, properties=request.properties)

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()


def _alphabets(inputs: dict[str, Any]) -> dict[str, str]:
    """The enabled classes; `number` is the old name of `numeric`."""
    enabled = {
        name: characters
        for name, characters in _CLASSES.items()
        if inputs.get(name) is not False and not (name == "numeric" and inputs.get("number") is False)
    }
    if "special" in enabled and inputs.get("overrideSpecial"):
        enabled["special"] = inputs["overrideSpecial"]
    return enabled


def main() -> None:
    """Serves the plugin until the engine is done with it."""
    plugin.serve(lambda server, _engine: provider_pb2_grpc.add_ResourceProviderServicer_to_server(Random(), server))


if __name__ == "__main__":
    main()
