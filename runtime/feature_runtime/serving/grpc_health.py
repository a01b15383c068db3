"""gRPC's standard health checks, `grpc.health.v1.Health`: what `GET /ready` says, for whoever probes by gRPC.

Its two messages have one field each, a name and a number, and so the bytes of protobuf's own wrappers: no package is needed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

SERVICE = "grpc.health.v1.Health"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
WATCH_SECONDS = 1.0


class Health:
    """The methods of `grpc.health.v1.Health`, for the server as a whole ("") and for each of `services`.

    `unready` gives the reason not to be asked, or None; `ending` says that the server is shutting down.
    """

    def __init__(self, services: tuple[str, ...], unready: Callable[[], Awaitable[str | None]], ending: Callable[[], bool]) -> None:
        self._known = frozenset({"", *services})
        self._unready = unready
        self._ending = ending

    def handlers(self) -> dict[str, Any]:
        """Method name to handler."""
        return {
            "Check": grpc.unary_unary_rpc_method_handler(self.check, response_serializer=_status),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch, response_serializer=_status),
        }

    async def check(self, body: bytes, context: grpc.aio.ServicerContext) -> int:
        """The status now; NOT_FOUND for another service."""
        name = await _name(body, context)
        if name not in self._known:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {name[:100]!r} here")
        return await self._now()

    async def watch(self, body: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[int]:
        """The status now and whenever it changes, until the server ends."""
        name = await _name(body, context)
        last = None
        while last is None or not self._ending():
            status = await self._now() if name in self._known else SERVICE_UNKNOWN
            if status != last:
                yield status
                last = status
            await asyncio.sleep(WATCH_SECONDS)
        if last == SERVING:
            yield NOT_SERVING

    async def _now(self) -> int:
        return NOT_SERVING if await self._unready() else SERVING


async def _name(body: bytes, context: grpc.aio.ServicerContext) -> str:
    try:
        name: str = StringValue.FromString(body).value
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is no grpc.health.v1.HealthCheckRequest")
        raise
    return name


def _status(status: int) -> bytes:
    content: bytes = Int32Value(value=status).SerializeToString()
    return content
