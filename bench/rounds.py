"""Contestants measured side by side: interleaved rounds, medians, and a table whose last column is a ratio."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

ROUNDS = 5
Result = TypeVar("Result")


def interleave(contestants: Mapping[str, Callable[[], Result]], rounds: int = ROUNDS) -> dict[str, list[Result]]:
    """What each contestant gave in each round; every round runs all of them, so that a busy machine slows all alike.

    A contestant raises when what it did is not what it should have done. One round more runs first and does not count.
    """
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            sys.stderr.write(f"round {number} of {rounds}: {name}\n")
            result = run()
            if number:
                results[name].append(result)
    return results


def measure(contestants: Mapping[str, Callable[[], None]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each contestant."""
    seconds = interleave({name: _timed(run) for name, run in contestants.items()}, rounds)
    return {name: statistics.median(times) for name, times in seconds.items()}


def table(medians: Mapping[str, float], *, against: str) -> str:
    """One line per contestant: name, median seconds, ratio to `against`."""
    width = max(len(name) for name in medians)
    return "\n".join(f"  {name:<{width}}  {seconds:6.2f} s  {seconds / medians[against]:5.2f}x" for name, seconds in medians.items())


def _timed(run: Callable[[], None]) -> Callable[[], float]:
    def timed() -> float:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    return timed
