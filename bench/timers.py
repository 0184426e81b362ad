"""How a loop of calls is timed: by the clock on a CPU, by device events on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch


class Timer(Protocol):
    #: A round shorter than this, in seconds, says more about the timer than about what it times.
    min_round: float

    def seconds(self, run: Callable[[], object], calls: int) -> float:
        """Seconds that one of `calls` calls of `run` takes, one after the other."""


class HostTimer:
    min_round = 2e-4

    def seconds(self, run: Callable[[], object], calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) / calls


class ThreadTimer:
    """CPU time of this thread, which other programs do not lengthen."""

    min_round = 2e-4

    def seconds(self, run: Callable[[], object], calls: int) -> float:
        start = time.thread_time_ns()
        for _ in range(calls):
            run()
        return (time.thread_time_ns() - start) * 1e-9 / calls


class ProcessTimer:
    """CPU time of all threads of this process, which libraries start as they like."""

    min_round = 2e-4

    def seconds(self, run: Callable[[], object], calls: int) -> float:
        start = time.process_time_ns()
        for _ in range(calls):
            run()
        return (time.process_time_ns() - start) * 1e-9 / calls


class EventTimer:
    """Times between two events on the device's stream, so that waiting for the host's clock does not count.

    Small draws are bound by how fast the host launches them; that is in the time, as it is in a user's program.
    """

    min_round = 2e-3

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._module = torch.get_device_module(device)
        self._start, self._end = (self._module.Event(enable_timing=True) for _ in range(2))

    def seconds(self, run: Callable[[], object], calls: int) -> float:
        self._module.synchronize(self._device)
        self._start.record()
        for _ in range(calls):
            run()
        self._end.record()
        self._end.synchronize()
        return self._start.elapsed_time(self._end) * 1e-3 / calls  # events count milliseconds


def timer_for(device: torch.device) -> Timer:
    return HostTimer() if device.type == "cpu" else EventTimer(device)
