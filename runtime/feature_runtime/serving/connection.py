"""One client's connection: HTTP/1.1, as little of it as a feature server needs, parsed by httptools (llhttp).

Promises: answers in the order of the requests; bodies and heads beyond their limit are refused, not kept; a client
that stalls in the middle of a request is let go; while draining, every answer says `connection: close`. What a request
means is the application's business.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from feature_runtime.serving.message import STATUS_LINES, Request, error_body

if TYPE_CHECKING:
    from feature_runtime.serving.http import Server

MOST_HEAD_BYTES = 32 * 1024
# A body over the limit is still read to its end, so that the client hears why; past this one it is cut off.
MOST_DISCARDED_BYTES = 64 * 1024 * 1024
MOST_QUEUED = 32
STALLED_SECONDS = 10
IDLE_SECONDS = 120


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._application = server.application
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._incoming: Request | None = None
        self._in_head = True
        self._head_bytes = 0
        self._queue: deque[Request] = deque()
        self._answering: Request | None = None
        self._writable = True
        self._broken = False
        self._half_closed = False
        self._heard = server.clock

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self._incoming is not None or self._answering is not None or bool(self._queue)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client has connected."""
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client has gone."""
        self._server.connections.discard(self)
        self._broken = True
        self._queue.clear()

    def eof_received(self) -> bool:
        """The client sends nothing more, but may wait for answers."""
        self._half_closed = True
        return self._answering is not None or bool(self._queue)

    def pause_writing(self) -> None:
        """The client reads slower than it asks: answer no more of its requests."""
        self._writable = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable = True
        self._next()

    def data_received(self, data: bytes) -> None:
        """Parse what came; the parser calls the methods below."""
        if self._broken:
            return
        self._heard = self._server.clock
        if self._in_head:
            self._head_bytes += len(data)
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # Another protocol was offered (h2c, a web socket); the parser skips the body then.
                data = self._without_offer() + data[upgrade.args[0] :]
                continue
            except httptools.HttpParserError as error:
                self._refuse(400, f"this is no HTTP request: {error}", "Send HTTP/1.1.")
            break
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse_head()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._incoming = Request()

    def on_url(self, url: bytes) -> None:
        """Its path, perhaps in pieces."""
        if self._incoming is not None:
            self._incoming.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers; several with one name are one list, as HTTP has it."""
        request = self._incoming
        if request is not None:
            name = name.lower()
            headers = request.headers
            headers[name] = headers[name] + b", " + value if name in headers else value

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        request = self._incoming
        if request is None:
            return
        if (
            self._head_bytes > MOST_HEAD_BYTES
            and sum(map(len, (request.path, *request.headers, *request.headers.values()))) > MOST_HEAD_BYTES
        ):
            self._refuse_head()
        elif request.headers.get(b"expect", b"").lower() == b"100-continue":
            length = request.headers.get(b"content-length", b"0")
            if length.isdigit() and int(length) > self._application.max_body_bytes:
                self._refuse(413, self._too_long(), "Ask in several requests.")
            else:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of its body, as long as that is within the limit."""
        request = self._incoming
        if request is None:
            return
        request.received += len(body)
        if request.body is not None and request.received <= self._application.max_body_bytes:
            request.body += body
        else:
            request.body = None
            if request.received > MOST_DISCARDED_BYTES:
                self._refuse(413, self._too_long(), "Ask in several requests.")

    def on_message_complete(self) -> None:
        """It is whole, and queued behind those before it."""
        request, self._incoming = self._incoming, None
        self._in_head, self._head_bytes = True, 0
        if request is None or self._broken:
            return
        if self._parser.should_upgrade():
            self._incoming = request
            return
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive()
        self._queue.append(request)
        if len(self._queue) > MOST_QUEUED:
            self._transport.pause_reading()
        self._next()

    def _without_offer(self) -> bytes:
        """The head of a request that offers another protocol, for a parser that shall not know of it."""
        request, self._incoming = self._incoming, None
        if request is None:
            return b""
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(405, "this is no proxy", "Use GET or POST.")
            return b""
        self._parser = httptools.HttpRequestParser(self)
        headers = [b"%b: %b\r\n" % header for header in request.headers.items() if header[0] not in {b"upgrade", b"connection"}]
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, request.path, b"".join(headers))

    # What happens with a request.

    def _next(self) -> None:
        while self._answering is None and self._queue and self._writable and not self._broken:
            request = self._answering = self._queue.popleft()
            if len(self._queue) == MOST_QUEUED:
                self._transport.resume_reading()
            self._handle(request)

    def _handle(self, request: Request) -> None:
        def respond(status: int, body: bytes, headers: bytes = b"") -> None:
            if self._answering is not request:
                return
            self._answering = None
            if self._broken:
                return
            close = not request.keep_alive or self._server.draining or (self._half_closed and not self._queue)
            self._write(status, body, headers, close=close, head_only=request.method == b"HEAD")
            if close:
                self.close()
            elif self._queue:
                # Not from here: a client that pipelines thousands must not nest as many calls.
                asyncio.get_running_loop().call_soon(self._next)

        if request.body is None:
            respond(413, error_body(self._too_long(), "body", None, "Ask in several requests."))
        else:
            self._application.handle(request, respond)

    def _write(self, status: int, body: bytes, headers: bytes = b"", *, close: bool = False, head_only: bool = False) -> None:
        head = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n%b%b%b\r\n" % (
            STATUS_LINES[status],
            len(body),
            self._server.date,
            headers,
            b"connection: close\r\n" if close else b"",
        )
        self._transport.write(head if head_only else head + body)

    def _refuse(self, status: int, rule: str, remedy: str) -> None:
        """Answer what cannot be understood or waited for, and close."""
        if not self._broken:
            self._incoming = None
            self._write(status, error_body(rule, "request", None, remedy), close=True)
            # Only this half: closed with bytes unread, the connection is reset, and the client may never see the answer.
            self._broken = True
            self._queue.clear()
            self._transport.write_eof()

    def _refuse_head(self) -> None:
        self._refuse(431, f"the head of the request is longer than {MOST_HEAD_BYTES} bytes", "Send fewer headers.")

    def _too_long(self) -> str:
        return f"the body is longer than {self._application.max_body_bytes} bytes"

    def check(self, now: float) -> None:
        """Let go of a client that stalls or sleeps."""
        quiet = now - self._heard
        if self._broken:
            if quiet > STALLED_SECONDS:
                self.close()
            return
        if self._answering is not None or self._queue:
            return
        if self._incoming is not None:
            if quiet > STALLED_SECONDS:
                self._refuse(408, f"nothing came for {STALLED_SECONDS} s in the middle of a request", "Send the request at once.")
        elif quiet > IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        """Close when everything written is sent."""
        self._broken = True
        self._queue.clear()
        self._transport.close()
