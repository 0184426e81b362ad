"""Times two libraries in alternating rounds, so that whatever else the machine does hits both alike."""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping

from timers import Timer

MIN_ROUNDS = 11
MAX_ROUNDS = 101


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    timer: Timer,
    budget: float,
    min_rounds: int = MIN_ROUNDS,
) -> dict[str, list[float]]:
    """Seconds per call in each round of each run; round i of one was beside round i of the others.

    Args:
        runs: what to time. Each is called first outside of any timing, which compiles, tunes and fills caches.
        budget: seconds for all rounds; `min_rounds` are made in any case.
    """
    calls = {name: _calls_a_round(run, timer) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    with no_garbage_collection():
        start = time.perf_counter()
        for done in range(MAX_ROUNDS):
            if done >= min_rounds and time.perf_counter() - start > budget:
                break
            for name, run in runs.items():
                times[name].append(timer.seconds(run, calls[name]))
    return times


def _calls_a_round(run: Callable[[], object], timer: Timer) -> int:
    for _ in range(2):
        run()
    calls = 1
    while (once := timer.seconds(run, calls)) * calls < timer.min_round / 4:
        calls *= 4
    return max(1, math.ceil(timer.min_round / once))


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class ReplayClock:
    """Tells pytest-benchmark times measured elsewhere: each call of `advance` passes the next of them.

    pytest-benchmark times one function per test, from beginning to end. Alternating rounds and device events need
    another loop, and this carries its result into pytest-benchmark's statistics, options and files.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._next: Iterator[float] = iter(())

    def load(self, durations: list[float]) -> None:
        self._now, self._next = 0.0, iter(durations)

    def advance(self) -> None:
        self._now += next(self._next)

    def now(self) -> float:
        return self._now
