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

RETRY = b"retry-after: 1\r\n"

Respond = Callable[..., None]


class Request:
    """One request, or in its place what was refused (`refusal`: status, body and headers of the answer)."""

    __slots__ = ("began", "body", "came", "head", "headers", "held", "keep_alive", "method", "path", "refusal")

    def __init__(self, began: float = 0.0) -> None:
        self.began = began
        self.method = b""
        self.path = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.keep_alive = False
        self.refusal: tuple[int, bytes, bytes] | None = None
        self.head = 0
        """Bytes of the head, and some for each of its fields."""
        self.came = 0
        """Bytes that came after those it began with."""
        self.held = 0
        """Bytes of memory that it counts for."""


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
