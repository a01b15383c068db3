"""Work that may hang, in threads that no process waits for at its end, as a pool's threads are."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, TypeVar

from feature_runtime.retrying import first_line

Given = TypeVar("Given")


def in_daemon_thread(name: str, function: Callable[..., Given], *arguments: Any) -> "Future[Given]":
    """Call it in a thread of its own; the future has what it gives, or what it raises (as RuntimeError what is no Exception)."""
    call: Future[Given] = Future()

    def run() -> None:
        call.set_running_or_notify_cancel()
        try:
            result = function(*arguments)
        except BaseException as error:  # noqa: BLE001  whatever it is, who waits hears of it, and is not ended by it
            call.set_exception(error if isinstance(error, Exception) else RuntimeError(first_line(error)))
        else:
            call.set_result(result)

    Thread(target=run, daemon=True, name=name).start()
    return call
