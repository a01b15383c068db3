"""Commands in bulk over one connection of a Redis client, every reply looked at.

redis-py makes the connection (TLS, Sentinel, user and password); the bytes of the commands come ready, and replies are
read without an object per command. A connection on which anything went wrong is closed, so that no reply is ever taken
for the answer to another command.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
import redis.exceptions

UNANSWERED_PIECES = 2
"""So many pieces are under way at once: Redis works on one while the next is encoded, and memory stays bounded."""

RECEIVED_BYTES = 1 << 16

PASSES = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS")
"""Replies of a server that is starting or is no master any more; they pass with another connection."""

REFUSED: dict[str, tuple[type[redis.exceptions.RedisError], str]] = {
    "OOM": (redis.exceptions.OutOfMemoryError, "Redis has reached its maxmemory and writes nothing more. Give it more memory."),
    "NOPERM": (redis.exceptions.NoPermissionError, "The Redis user needs +hset +hmget +expire on these keys."),
    "NOAUTH": (redis.exceptions.AuthenticationError, "Redis asks for a user and a password."),
    "WRONGTYPE": (redis.exceptions.ResponseError, "A key of an entity holds something that is no hash. Who else writes to this database?"),
}


class Pipeline:
    """One connection, held for a series of commands."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._unanswered: deque[int] = deque()
        self._reader = hiredis.Reader()

    def send(self, commands: memoryview, count: int) -> None:
        """Send `count` commands whose replies are of no interest unless they are errors; `finish` waits for the last."""
        self._send(commands)
        self._unanswered.append(count)
        while len(self._unanswered) > UNANSWERED_PIECES:
            self._replies(self._unanswered.popleft())

    def ask(self, commands: memoryview, count: int) -> list[Any]:
        """Send `count` commands and return their replies."""
        self.finish()
        self._send(commands)
        return self._replies(count)

    def finish(self) -> None:
        """Wait until everything that was sent is done.

        Raises:
            RedisError: Redis refused a command, or the connection broke; what was sent may be done in part.
        """
        while self._unanswered:
            self._replies(self._unanswered.popleft())

    def _send(self, commands: memoryview) -> None:
        self._connection.send_packed_command([commands], check_health=False)

    def _replies(self, count: int) -> list[Any]:
        replies: list[Any] = []
        while len(replies) < count:
            reply = self._reader.gets()
            if reply is False:
                self._receive()
            elif isinstance(reply, hiredis.PushNotification):
                continue
            elif isinstance(reply, hiredis.HiredisError):
                raise _error(str(reply))
            else:
                replies.append(reply)
        return replies

    def _receive(self) -> None:
        try:
            # The socket itself: redis-py's own reader takes longer per reply than Redis per command.
            received = self._connection._sock.recv(RECEIVED_BYTES)  # noqa: SLF001
        except TimeoutError:
            raise redis.exceptions.TimeoutError("Redis did not reply in time") from None
        except OSError as error:
            raise redis.exceptions.ConnectionError(f"the connection to Redis broke: {error}") from error
        if not received:
            raise redis.exceptions.ConnectionError("Redis closed the connection")
        self._reader.feed(received)


@contextmanager
def pipeline(client: redis.Redis) -> Iterator[Pipeline]:
    """A pipeline on a connection of the client's pool; at the end everything sent is done, or an error is raised."""
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        piped = Pipeline(connection)
        yield piped
        piped.finish()
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _error(reply: str) -> redis.exceptions.RedisError:
    code, _, _ = reply.partition(" ")
    if code in PASSES:
        # A connection error, so that whoever retries those retries this: the next connection finds the new master.
        return redis.exceptions.ConnectionError(reply)
    kind, remedy = REFUSED.get(code, (redis.exceptions.ResponseError, ""))
    return kind(f"{reply} {remedy}".rstrip())
