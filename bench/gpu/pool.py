"""Runs tasks in many processes for a limited time: each kernel takes a core to compile, and one GPU serves them all."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any


def results_of(
    function: Callable[[Any], Any], tasks: Sequence[Any], workers: int, limit: float
) -> Iterator[tuple[Any, Any, str]]:
    """(task, result, error) of each task as it is done, where the error is "" or a traceback.

    Args:
        function: found by its name in a fresh process, as tasks and results are sent there and back.
        limit: seconds from now; what is then not done is ended, and comes with an error that says so.
    """
    deadline = time.monotonic() + limit
    left = list(tasks)
    with multiprocessing.get_context("spawn").Pool(min(workers, len(tasks))) as pool:
        running = pool.imap_unordered(partial(_caught, function), tasks)
        while left:
            try:
                task, result, error = running.next(max(deadline - time.monotonic(), 0.01))
            except multiprocessing.TimeoutError:
                break
            left.remove(task)
            yield task, result, error
    for task in left:
        yield task, None, f"not done within {limit:.0f} s"


def _caught(function: Callable[[Any], Any], task: Any) -> tuple[Any, Any, str]:
    try:
        return task, function(task), ""
    except Exception:  # whatever it is, the other tasks go on
        return task, None, traceback.format_exc()
