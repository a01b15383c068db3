"""What every plugin here is: a gRPC server the engine starts, that prints its port, logs to stderr and dies with the engine."""

# ruff: noqa: D102, N802, ARG002 - gRPC names the methods and their arguments; the engine documents them

import contextlib
import importlib.metadata
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2

from sandbox.providers import wire
from sandbox.providers.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

# The same limit as the engine's, where gRPC's own is 4 MiB.
_CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 400 << 20), ("grpc.max_send_message_length", 400 << 20)]
# A program that runs holds a thread, as does a policy pack; the engine's own default parallelism is 16 on two cores.
_THREADS = 128
# What operations under way get after a signal. The engine has hung up by then and gives all its plugins five seconds together.
_GRACE_SECONDS = 0.5

_NOT_SHOWN = ("accessKey", "secretKey")  # credentials

log = logging.getLogger("sandbox.providers")


class ProviderError(Exception):
    """Something to tell the user, as a sentence; becomes the resource's error message."""


class InvalidInput(ProviderError):
    """An input is wrong: which property, and why."""

    def __init__(self, property_path: str, reason: str) -> None:
        super().__init__(f"{property_path}: {reason}" if property_path else reason)
        self.property_path = property_path
        self.reason = reason


@dataclass(frozen=True)
class Engine:
    """Where the engine listens, and the file descriptor whose lines it shows as the program's own output."""

    address: str
    stdout: int = 1


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The part of a resource provider that does not depend on what it provides.

    Subclasses say their `package` and implement the operations; errors they raise become messages of the resource they
    belong to, never a traceback.
    """

    package = ""

    @property
    def version(self) -> str:
        """That of the installed SDK: the engine asks for a plugin of exactly that one."""
        return importlib.metadata.version(f"pulumi-{self.package}")

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        # The same capabilities as in the handshake: older engines ask for them here only.
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True)

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=self.version)

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()

    def GetSchema(self, request: Any, context: grpc.ServicerContext) -> Any:
        schema = f'{{"name": "{self.package}", "version": "{self.version}"}}'
        return provider_pb2.GetSchemaResponse(schema=schema)

    def GetMappings(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.GetMappingsResponse()

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        changed = wire.read(request.old_inputs) != wire.read(request.news)
        kinds = provider_pb2.DiffResponse
        return provider_pb2.DiffResponse(changes=kinds.DIFF_SOME if changed else kinds.DIFF_NONE)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        return empty_pb2.Empty()  # operations are quick: those under way end by themselves


def sdk_version() -> str:
    """The version of the Pulumi SDK, which is that of the engine."""
    return importlib.metadata.version("pulumi")


def resource_type(urn: str) -> str:
    """`aws:s3/bucket:Bucket` of a URN: the last of its `$`-separated type chain."""
    return urn.split("::")[2].rsplit("$", maxsplit=1)[-1]


def resource_name(urn: str) -> str:
    """The logical name at the end of a URN."""
    return urn.split("::", 3)[3]


def check_response(inputs: dict[str, Any], failures: Iterable[InvalidInput] = ()) -> Any:
    """What Check answers.

    The engine prints the value of the property that a failure names, taking its whole path for one key: so only what is a
    plain input, and no credential, is named to it; the other paths stand in the reason.
    """
    named = []
    for failure in failures:
        plain = failure.property_path in inputs and failure.property_path not in _NOT_SHOWN
        name = failure.property_path if plain else ""
        named.append(provider_pb2.CheckFailure(property=name, reason=wire.redact(failure.reason if plain else str(failure))))
    return provider_pb2.CheckResponse(inputs=wire.write(inputs), failures=named)


# --- Serving ----------------------------------------------------------------------------------------------------------


def serve(register: Callable[[grpc.Server, Engine], None]) -> NoReturn:
    """Runs a plugin, whose services `register` adds, until the engine closes it or is gone."""
    parent = os.getppid()
    port_channel = _keep_stdout_for_the_port()
    logging.basicConfig(stream=sys.stderr, level=os.environ.get("FEAST_EKS_PROVIDER_LOG", "WARNING"))
    addresses = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    operations = _Operations()
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), interceptors=[operations], options=_CHANNEL_OPTIONS)
    register(server, Engine(addresses[-1] if addresses else "", port_channel.fileno()))
    ended, end_now = os.pipe()

    def end(_signal: int, _frame: Any) -> None:
        os.write(end_now, b"\0")  # no lock: this thread may be holding it

    signal.signal(signal.SIGINT, end)  # how the engine closes a plugin, too
    signal.signal(signal.SIGTERM, end)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    port_channel.write(f"{port}\n")
    port_channel.flush()
    while not select.select([ended], [], [], 0.5)[0]:
        if os.getppid() != parent:  # the engine was killed; nobody reads our answers any more
            break
    operations.wait_until_idle(_GRACE_SECONDS)
    # Threads may still sit in a system call; an orderly interpreter exit would wait for them.
    os._exit(0)


def _keep_stdout_for_the_port() -> Any:
    """The engine reads the port from the first line of stdout; whatever any library prints goes to stderr."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return channel


class _Operations(grpc.ServerInterceptor):
    """Turns exceptions of operations into gRPC statuses the engine understands, and knows whether any is under way."""

    def __init__(self) -> None:
        self._running = 0
        self._changed = threading.Condition()

    def wait_until_idle(self, timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0, timeout)

    @contextlib.contextmanager
    def _one(self) -> Iterator[None]:
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = continuation(details)
        if handler is None or not handler.unary_unary:
            return handler

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            with self._one():
                return attempt(request, context)

        def attempt(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return handler.unary_unary(request, context)
            except InvalidInput as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, wire.redact(str(error)))
            except ProviderError as error:
                # Not UNKNOWN: the engine would then think that it does not know what happened to the resource.
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, wire.redact(str(error)))
            except Exception as error:
                if context.code() is not None:  # an abort inside the operation
                    raise
                log.exception("%s failed", details.method)
                summary = f"the sandbox's provider failed in {details.method.rpartition('/')[2]}"
                context.abort(grpc.StatusCode.INTERNAL, wire.redact(f"{summary}: {type(error).__name__}: {error}"))
            raise AssertionError("abort raises")  # for the type checker

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )
