"""On-demand features, computed while a request waits.

Promises that no function holds up the requests of others: neither one that takes its time nor, a few times, one that
never ends; and that a request for which no thread comes free in time is told to ask again.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from feast import OnDemandFeatureView

from feature_runtime.serving.function_check import problem_of
from feature_runtime.serving.functions import CannotCompute, Columns, OnDemandView
from feature_runtime.serving.question import STRICT_TYPES
from feature_runtime.serving.refused import Busy

THREADS = 2
MOST_REPLACED = 2
"""How often new threads take over from functions that never end; each of those may keep a core busy."""
SECONDS = 5.0
"""A function that takes longer has failed its request."""
WAITING_SECONDS = 2.0
"""How long a request waits for a thread."""
MOST_WAITING = 500
"""As many requests wait at once; each holds its values."""


class Transformer:
    """Computes on-demand features beside the event loop, in threads of its own.

    A function that never ends keeps its thread. When such functions hold all threads, new ones take over, a few times;
    after that only a restart helps.
    """

    def __init__(self, views: Iterable[OnDemandFeatureView]) -> None:
        self.views = {view.name: OnDemandView(view) for view in views}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="on-demand")
        self._free = asyncio.Semaphore(THREADS)
        self._waiting = 0
        self._given_up: list[Future[Any]] = []
        self._replaced = 0

    @property
    def stuck(self) -> str | None:
        """Why nothing can be computed any more; None as long as something can."""
        if sum(not call.done() for call in self._given_up) < THREADS:
            return None
        return "on-demand functions that do not end hold all threads"

    async def compute(self, view: str, columns: Columns, types: Mapping[str, str], count: int) -> dict[str, list[bytes]]:
        """`OnDemandView.compute_stored` of the named view.

        Raises:
            CannotCompute: also when it takes longer than 5 seconds.
            Busy: no thread came free within 2 seconds, or too many requests wait for one.
        """
        await self._thread()
        threads, loop = self._threads, asyncio.get_running_loop()
        call = threads.submit(self.views[view].compute_stored, columns, types, count)

        def ended() -> None:
            # Threads that were given up have others in their place.
            if threads is self._threads:
                self._free.release()

        call.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(ended))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(call), SECONDS)
        except TimeoutError:
            self._give_up(call)
            raise CannotCompute(view, f"its function takes longer than {SECONDS:g} s", clients_fault=False) from None

    async def _thread(self) -> None:
        """Take a thread, or wait for one."""
        if not self._free.locked():
            await self._free.acquire()
            return
        if self._waiting >= MOST_WAITING:
            raise Busy(f"{self._waiting} requests wait for on-demand functions already")
        self._waiting += 1
        try:
            async with asyncio.timeout(WAITING_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"no thread was free for an on-demand function within {WAITING_SECONDS:g} s") from None
        finally:
            self._waiting -= 1

    def _give_up(self, call: Future[Any]) -> None:
        self._given_up = [one for one in (*self._given_up, call) if not one.done()]
        if self.stuck and self._replaced < MOST_REPLACED:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="on-demand")
            self._given_up = []
            self._replaced += 1
            for _ in range(THREADS):
                self._free.release()


def describe(view: OnDemandFeatureView) -> dict[str, Any]:
    """The view as plain data, for the server's plan."""
    described = OnDemandView(view)
    return {"kind": "on_demand", "features": described.outputs, "inputs": described.inputs, "request": described.request}


def problems(view: OnDemandFeatureView, join_keys: Mapping[str, Sequence[Sequence[str]]] | None = None) -> list[str]:
    """Why this server could not compute the view, one line each; runs its function, once for each definition.

    `join_keys` are those of its source views, by the view's name: [name, type]; a function sees them too.
    """
    found = []
    if view.write_to_online_store:
        found.append("write_to_online_store: the server computes on-demand features, it does not read stored ones. Leave it out")
    if view.aggregations:
        found.append("aggregations are not served. Aggregate in the source, or in the function")
    if view.mode not in MODES:
        found.append(f"mode {view.mode!r} is not served. Use 'python' or 'pandas'")
    found += [
        f"the request's field {name!r} is of type {dtype}. A request can bring {', '.join(sorted(STRICT_TYPES))}"
        for name, dtype in OnDemandView(view).request
        if dtype not in STRICT_TYPES
    ]
    if not found and (problem := problem_of(view, join_keys or {})):
        found.append(problem)
    return found


MODES = ("python", "pandas")
