"""What goes over a connection: requests, the status lines of answers, and the body of a refusal."""

from collections.abc import Callable
from typing import Any, Protocol

import orjson

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
STATUS_LINES = {status: f"HTTP/1.1 {status} {reason}\r\n".encode() for status, reason in REASONS.items()}

Respond = Callable[..., None]


class Request:
    """One request; `body` is None when it was longer than the limit."""

    __slots__ = ("body", "headers", "keep_alive", "method", "path", "received")

    def __init__(self) -> None:
        self.method = b""
        self.path = b""
        self.headers: dict[bytes, bytes] = {}
        self.body: bytearray | None = bytearray()
        self.received = 0
        self.keep_alive = True


class Application(Protocol):
    """What answers requests."""

    max_body_bytes: int

    def handle(self, request: Request, respond: Respond) -> None:
        """Call `respond(status, body, headers)` once, now or later, on the event loop."""


def error_body(rule: str, field: str, value: Any, remedy: str) -> bytes:
    """The body of a refusal with one error."""
    return orjson.dumps(
        {"detail": f"{rule[0].upper()}{rule[1:]}. {remedy}", "errors": [{"field": field, "value": value, "rule": rule, "remedy": remedy}]}
    )
