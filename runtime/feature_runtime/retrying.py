"""Try again while a store is restarting, for a bounded time.

Only what passes by itself is retried: a refused connection, a database that starts up, a timeout. A wrong password or
a missing right is not.
"""

import re
import time
from collections.abc import Callable
from typing import TypeVar

import redis.exceptions
import sqlalchemy.exc

from feature_runtime.progress import say
from feature_runtime.refusal import Refusal

Result = TypeVar("Result")

PERMANENT = (
    "password authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
    "invalid username-password",
    "certificate verify failed",
    "does not match host name",
    "does not support SSL",
    "root certificate file",
)


def is_transient(error: BaseException) -> bool:
    """Whether the error can pass by itself."""
    if isinstance(error, redis.exceptions.AuthenticationError | redis.exceptions.AuthorizationError):
        return False
    if isinstance(
        error,
        sqlalchemy.exc.OperationalError
        | sqlalchemy.exc.InterfaceError
        | redis.exceptions.ConnectionError
        | redis.exceptions.TimeoutError
        | redis.exceptions.BusyLoadingError,
    ):
        return not any(words in str(error) for words in PERMANENT)
    return False


def with_retries(
    what: str,
    action: Callable[[], Result],
    *,
    seconds: float,
    transient: Callable[[BaseException], bool] = is_transient,
    pause: float = 2,
) -> Result:
    """Do `action`, again and again while it fails for a transient reason, for `seconds` at most.

    Raises:
        Refusal: a store still fails at the end, or for a reason that does not pass; names `what` and the reason.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except Exception as error:
            if not transient(error):
                if isinstance(error, sqlalchemy.exc.SQLAlchemyError | redis.exceptions.RedisError):
                    raise Refusal(
                        f"{what} failed: {first_line(error)}. Do the user, the password and the rights of this pod's identity fit?"
                    ) from error
                raise
            reason = first_line(error)
            left = deadline - time.monotonic()
            if left <= 0:
                raise Refusal(
                    f"{what} did not succeed within {seconds:.0f} s: {reason}. Is the store up, and may this pod reach it?"
                ) from error
            say(f"{what}: {reason}; trying again, {left:.0f} s left")
            time.sleep(min(pause, max(left, 0.1)))


def first_line(error: BaseException) -> str:
    """The line of an error's text that says what happened, with its type; with the lines after it that it cannot do without."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    for line in lines[1:]:
        # Within brackets, or of pydantic, which says what is wrong on the lines after the first.
        if not UNFINISHED.search(text) and all(text.count(opening) <= text.count(closing) for opening, closing in BRACKETS):
            break
        text = f"{text} {line}"
    if len(text) > MOST_CHARACTERS:
        text = f"{text[:MOST_CHARACTERS]}…"
    return f"{type(error).__name__}: {text.rstrip('.')}"


BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))
UNFINISHED = re.compile(r"[:,]$|^\d+ validation errors? for ")
MOST_CHARACTERS = 1_000
