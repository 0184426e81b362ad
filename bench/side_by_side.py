"""Compiles kernels on all cores: Triton's passes and ptxas run outside of Python's lock."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from triton.runtime.jit import JITFunction

T = TypeVar("T")


def side_by_side(jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What each job returns, in their order."""
    with _one_parser_at_a_time(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in [pool.submit(job) for job in jobs]:
            yield future.result()


@contextlib.contextmanager
def _one_parser_at_a_time() -> Iterator[None]:
    """Keeps threads from parsing source at once: CPython 3.11 then loses count of how deep each has got, and raises."""
    parse, lock = JITFunction.parse, threading.Lock()

    def locked(self: JITFunction) -> object:
        with lock:
            return parse(self)

    JITFunction.parse = locked
    try:
        yield
    finally:
        JITFunction.parse = parse
