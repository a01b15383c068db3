"""One client's connection: HTTP/1.1, as little of it as a feature server needs, parsed by httptools (llhttp).

Promises: answers in the order of the requests, refusals among them; nothing that a client sends, or does not read, is
kept beyond a limit; one that stalls, drips or does not read is let go, a slow one is served; while draining, every
answer says `connection: close`. What a request means is the application's business.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from feature_runtime.serving.message import RETRY, STATUS_LINES, Request, error_body

if TYPE_CHECKING:
    from feature_runtime.serving.http import Server

MOST_HEAD_BYTES = 32 * 1024
FIELD_BYTES = 32
"""What each field of a head counts beside its own bytes: many small ones cost more than one long one."""
MOST_FRAMING_BYTES = 1 << 20
"""What may come of a request beside its head and body: the sizes and extensions of chunks."""
MOST_QUEUED = 32
"""Requests of one connection that wait for their turn; what came after them is not even parsed."""
REQUEST_BYTES = 1024
"""What a request counts beside its own bytes."""
SMALL_BYTES = 16 * 1024
"""A client's only request, up to this size, is taken also when all requests together hold too much."""
STALLED_SECONDS = 10
"""Without a byte, in the middle of a request or of an answer."""
LEAST_BYTES_PER_SECOND = 512
"""Who is slower, after those first seconds, only pretends to send or to read."""
REQUEST_SECONDS = 300
"""From the first byte of a request to its last."""
IDLE_SECONDS = 120
LINGER_SECONDS = 30
"""How long a refused client may go on sending before it has to read: closed earlier, it might never see why."""
SLICE_BYTES = 8 * 1024


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._application = server.application
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._incoming: Request | None = None
        self._in_head = True
        self._queue: deque[Request] = deque()
        self._unparsed: memoryview | None = None
        """What came while the queue was full; None while the client is read from."""
        self._answering: Request | None = None
        self._writable = True
        self._unsent = 0
        self._written = 0
        self._reading: tuple[float, int, float, int] | None = None
        """Of a client that has not read everything: since when and from where, and when it last read and how far."""
        self._is_known = False
        self._deaf = False
        """Something was refused, and nothing more is read."""
        self._lingers_since: float | None = None
        self._discarded = 0
        self._closed = False
        self._half_closed = False
        self._heard = self._idle_since = server.clock

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received or answered."""
        return self._incoming is not None or self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self._answering is not None or bool(self._queue) or self._unparsed is not None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client has connected."""
        self._transport = transport
        self._server.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client has gone."""
        self._server.forget(self)
        self._drop_everything()
        self.resume_writing()

    def eof_received(self) -> bool:
        """The client sends nothing more, but may wait for answers."""
        self._half_closed = True
        return self._is_answering

    def pause_writing(self) -> None:
        """The client reads slower than it asks: answer no more of its requests."""
        self._writable = False
        self._unsent = self._transport.get_write_buffer_size()
        self._server.slow(self, self._unsent)

    def resume_writing(self) -> None:
        """It has caught up."""
        if not self._writable:
            self._writable = True
            self._server.no_longer_slow(self, self._unsent)
            self._next()

    def data_received(self, data: bytes) -> None:
        """Parse what came; the parser calls the methods below."""
        self._heard = self._server.clock
        if self._deaf:
            self._discarded += len(data)
            return
        if len(data) <= SLICE_BYTES:
            self._feed(data)
            data = b""
        if data or len(self._queue) > MOST_QUEUED:
            self._take(memoryview(data))

    def _take(self, data: memoryview) -> None:
        """Parse it piece by piece, until enough requests wait; the rest waits unparsed."""
        while not self._deaf:
            if len(self._queue) > MOST_QUEUED:
                self._unparsed = data
                self._server.held += len(data)
                self._transport.pause_reading()
                return
            if not data:
                return
            self._feed(data[:SLICE_BYTES])
            data = data[SLICE_BYTES:]

    def _catch_up(self) -> None:
        """Parse what waited, and read again."""
        data, self._unparsed = self._unparsed, None
        if data is None or self._closed:
            return
        self._server.held -= len(data)
        self._heard = self._server.clock
        if self._incoming is not None:
            # It was not the client who was slow.
            self._incoming.began = self._server.clock
        self._take(data)
        if self._unparsed is None and not self._closed:
            self._transport.resume_reading()

    def _feed(self, data: bytes | memoryview) -> None:
        before = self._incoming
        try:
            while data:
                try:
                    self._parser.feed_data(data)
                except httptools.HttpParserUpgrade as upgrade:
                    # Another protocol was offered (h2c, a web socket); the parser skips the body then.
                    head = self._without_offer()
                    self._parser.feed_data(head)
                    data = data[upgrade.args[0] :]
                else:
                    break
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Refused):
                raise
        except _Refused:
            pass
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is no HTTP request: {error}", "Send HTTP/1.1.")
        request = self._incoming
        if request is not None:
            if request is before:
                request.came += len(data)
            self._check_size(request)

    def _check_size(self, request: Request) -> None:
        body = len(request.body)
        if self._in_head and max(request.came, request.head) > MOST_HEAD_BYTES:
            self._refuse_head()
        elif request.came - request.head - body > MOST_FRAMING_BYTES:
            self._refuse(
                413,
                f"the chunks of the body take more than {MOST_FRAMING_BYTES} bytes beside it",
                "Send fewer and larger ones.",
                field="body",
            )
        else:
            self._hold(request, REQUEST_BYTES + max(request.came, request.head + body))

    def _hold(self, request: Request, size: int) -> None:
        """Let it count for so many bytes, or refuse it where all together hold too much."""
        if size > request.held:
            server = self._server
            server.held += size - request.held
            request.held = size
            if server.held > server.most_held and (size > SMALL_BYTES or self._is_answering):
                self._refuse(503, "the server holds as many requests as it can", "Ask again in a second.", RETRY)

    def _release(self, request: Request) -> None:
        self._server.held -= request.held
        request.held = 0

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._incoming = Request(self._server.clock)

    def on_url(self, url: bytes) -> None:
        """Its path, perhaps in pieces."""
        request = self._incoming
        if request is not None:
            request.path += url
            request.head += len(url)
            if request.head > MOST_HEAD_BYTES:
                self._refuse_head()
                raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers; several with one name are one list, as HTTP has it."""
        request = self._incoming
        if request is None:
            return
        if not self._in_head:
            self._refuse(400, "fields after the body (trailers) are not taken", "Send them before the body.")
            raise _Refused
        request.head += FIELD_BYTES + len(name) + len(value)
        if request.head > MOST_HEAD_BYTES:
            self._refuse_head()
            raise _Refused
        name = name.lower()
        headers = request.headers
        headers[name] = headers[name] + b", " + value if name in headers else value

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        request = self._incoming
        if request is None:
            return
        length = request.headers.get(b"content-length")
        if length is not None and int(length) > self._application.max_body_bytes:
            self._refuse_body()
            raise _Refused
        if b"expect" in request.headers:
            self._next()

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        request = self._incoming
        if request is not None:
            request.body += body
            if len(request.body) > self._application.max_body_bytes:
                self._refuse_body()
                raise _Refused

    def on_message_complete(self) -> None:
        """It is whole, and queued behind those before it."""
        self._in_head = True
        request = self._incoming
        if request is None or self._parser.should_upgrade():
            return
        self._hold(request, REQUEST_BYTES + request.head + len(request.body))
        if self._deaf:
            raise _Refused
        self._incoming = None
        request.method = self._parser.get_method()
        request.keep_alive = self._parser.should_keep_alive()
        if not request.path.startswith(b"/"):
            request.path = _path(request.path)
        if not self._is_known:
            self._is_known = True
            self._server.strangers.pop(self, None)
        self._queue.append(request)
        self._next()

    def _invite(self, request: Request) -> None:
        """Tell a client that asks before it sends its body to send it."""
        if (
            request.headers.get(b"expect", b"").lower() == b"100-continue"
            and self._parser.get_http_version() != "1.0"
            and not self._parser.should_upgrade()
        ):
            del request.headers[b"expect"]
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _without_offer(self) -> bytes:
        """The head of a request that offers another protocol, for a parser that shall not know of it."""
        request, self._incoming = self._incoming, None
        if request is None:
            return b""
        self._release(request)
        method, version = self._parser.get_method(), self._parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse(405, "this is no proxy", "Use GET or POST.")
            raise _Refused
        self._parser = httptools.HttpRequestParser(self)
        headers = request.headers
        headers.pop(b"upgrade", None)
        options = [option.strip() for option in headers.pop(b"connection", b"").split(b",")]
        if kept := [option for option in options if option.lower() not in {b"upgrade", b"http2-settings"}]:
            headers[b"connection"] = b", ".join(kept)
        fields = b"".join([b"%b: %b\r\n" % header for header in headers.items()])
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, request.path, version, fields)

    # What happens with a request.

    def _next(self) -> None:
        while self._answering is None and self._queue and self._writable and not self._closed:
            request = self._answering = self._queue.popleft()
            self._handle(request)
        if self._unparsed is not None and len(self._queue) <= MOST_QUEUED // 2:
            asyncio.get_running_loop().call_soon(self._catch_up)
        incoming = self._incoming
        if incoming is not None and b"expect" in incoming.headers and not self._in_head and not self._is_answering:
            self._invite(incoming)

    def _handle(self, request: Request) -> None:
        def respond(status: int, body: bytes, headers: bytes = b"") -> None:
            if request.held:
                self._release(request)
            if self._answering is not request:
                return
            self._answering = None
            if self._closed:
                return
            close = not request.keep_alive or self._server.draining or (self._half_closed and not self._is_answering)
            if close:
                headers += b"connection: close\r\n"
            elif b"connection" in request.headers:
                # A client of HTTP/1.0 waits for the end of the connection unless it is told.
                headers += b"connection: keep-alive\r\n"
            self._write(status, body, headers, head_only=request.method == b"HEAD")
            self._idle_since = self._server.clock
            if close:
                self._end(request)
            elif self._queue or self._unparsed is not None or self._incoming is not None:
                # Not from here: a client that pipelines thousands must not nest as many calls.
                asyncio.get_running_loop().call_soon(self._next)

        if request.refusal is not None:
            respond(*request.refusal)
        else:
            self._application.handle(request, respond)

    def _write(self, status: int, body: bytes, headers: bytes, *, head_only: bool) -> None:
        head = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n%b%b\r\n" % (
            STATUS_LINES[status],
            len(body),
            self._server.date,
            headers,
        )
        answer = head if head_only else head + body
        self._written += len(answer)
        self._transport.write(answer)

    def _refuse(self, status: int, rule: str, remedy: str, headers: bytes = b"", field: str = "request") -> None:
        """Answer what cannot be understood or waited for, after what came before it, and close."""
        if self._deaf:
            return
        self._deaf = True
        if self._incoming is not None:
            self._release(self._incoming)
            self._incoming = None
        refusal = Request(self._server.clock)
        refusal.refusal = (status, error_body(rule, field, None, remedy), headers)
        self._queue.append(refusal)
        self._next()

    def turn_away(self) -> None:
        """Refuse whatever it is going to ask: there are too many connections, and all are busy."""
        self._refuse(503, "the server has as many connections as it can, and all are busy", "Connect again in a second.", RETRY)

    def _refuse_head(self) -> None:
        self._refuse(431, f"the head of the request is longer than {MOST_HEAD_BYTES} bytes", "Send fewer headers.")

    def _refuse_body(self) -> None:
        self._refuse(413, f"the body is longer than {self._application.max_body_bytes} bytes", "Ask in several requests.", field="body")

    def _end(self, request: Request) -> None:
        """Close after the last answer; only this half after a refusal.

        Closed with bytes unread, the connection is reset, and the client may never see why.
        """
        if request.refusal is None:
            self.close()
            return
        self._lingers_since = self._server.clock
        self._server.strangers[self] = None
        self._transport.write_eof()

    def check(self, now: float) -> None:
        """Let go of a client that stalls, drips, sleeps or does not read."""
        unsent = self._transport.get_write_buffer_size()
        if unsent and self._reads_too_slowly(unsent, now):
            self.abort()
            return
        if not unsent:
            self._reading = None
        quiet = now - self._heard
        request = self._incoming
        if self._closed:
            return
        if self._lingers_since is not None:
            lingers = now - self._lingers_since
            if quiet > STALLED_SECONDS or lingers > min(STALLED_SECONDS + self._discarded / LEAST_BYTES_PER_SECOND, LINGER_SECONDS):
                self.abort()
        elif request is not None:
            if self._unparsed is None:
                self._check_pace(request, quiet, now - request.began)
        elif not self._is_answering and now - self._idle_since > IDLE_SECONDS:
            self.close()

    def _check_pace(self, request: Request, quiet: float, seconds: float) -> None:
        if quiet > STALLED_SECONDS:
            self._refuse(408, f"nothing came for {STALLED_SECONDS} s in the middle of a request", "Send the request at once.")
        elif seconds > min(STALLED_SECONDS + request.held / LEAST_BYTES_PER_SECOND, REQUEST_SECONDS):
            rule = (
                f"the request takes longer than {STALLED_SECONDS} s, and came with less than {LEAST_BYTES_PER_SECOND} bytes a second"
                if seconds <= REQUEST_SECONDS
                else f"the request takes longer than {REQUEST_SECONDS} s"
            )
            self._refuse(408, rule, "Send the request at once.")

    def _reads_too_slowly(self, unsent: int, now: float) -> bool:
        sent = self._written - unsent
        since, start, last, reached = self._reading or (now, sent, now, sent)
        if sent != reached:
            last = now
        self._reading = (since, start, last, sent)
        return now - last > STALLED_SECONDS or now - since > STALLED_SECONDS + (sent - start) / LEAST_BYTES_PER_SECOND

    def close(self) -> None:
        """Close when everything written is sent."""
        self._drop_everything()
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is not sent yet."""
        self._drop_everything()
        self.resume_writing()
        self._transport.abort()

    def _drop_everything(self) -> None:
        """Forget what came, but for the request that is being answered: it holds its memory until then."""
        self._closed = self._deaf = True
        for request in (*self._queue, *([self._incoming] if self._incoming else [])):
            self._release(request)
        self._queue.clear()
        self._incoming = None
        if self._unparsed is not None:
            self._server.held -= len(self._unparsed)
            self._unparsed = None


class _Refused(Exception):
    """The parser stops here; the client is told."""


def _path(target: bytes) -> bytes:
    """The path of a request line that names the server too, as for a proxy."""
    try:
        return httptools.parse_url(target).path or b"/"
    except httptools.HttpParserInvalidURLError:
        return target
