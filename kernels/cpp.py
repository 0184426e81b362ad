"""Builds C++ libraries at run time, by the cache of Inductor, which finds the compiler and keeps the result.

Where one cannot be built, one warning is given, and nothing is tried again for the life of the process.
"""

from __future__ import annotations

import ctypes
import os
import threading
import warnings
from pathlib import Path
from typing import Any

from .compatibility import load_cpp

_works = True  # as far as is known

BUILDING = threading.RLock()  # held while a library is built or looked for; another one in a forked process
_IMPORTING = threading.RLock()


def compiler_works() -> bool:
    """Whether no build has failed yet."""
    return _works


def header(name: str) -> str:
    """A C++ header of this package. Sources hold the text itself: a library is built again where it has changed."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def build(source: str, what: str) -> Any:
    """The loaded library of a C++ source with `extern "C"` functions, or None where it cannot be built.

    Args:
        what: runs without compiled code then, for the warning.
    """
    global _works
    with BUILDING:
        if not _works:
            return None
        try:
            with _IMPORTING:
                from torch._inductor.codecache import CppCodeCache  # noqa: F401 - slow, so not before it is needed
                from torch._inductor.cpp_builder import is_gcc

            # The sources are written for the loop vectoriser, which Inductor turns off in gcc, and a square root that
            # must be able to set errno is not vectorised.
            flags = ("-fno-math-errno", "-ftree-loop-vectorize") if is_gcc() else ("-fno-math-errno",)
            return load_cpp(source, flags)
        except Exception as error:
            # No compiler, one that does not know the language extensions of noise.h (MSVC), or no room for the cache:
            # nothing that another source or another try would meet differently.
            _works = False
            warn(what, error)
            return None


def warn(what: str, error: Exception) -> None:
    """Say once that `what` runs without compiled code, and why."""
    message = f"rsample runs {what} on the CPU without compiled code, several times slower: {error}"
    warnings.warn(message[:1000], RuntimeWarning, stacklevel=6)


def _openmp_pause() -> Any:
    """GNU OpenMP's `omp_pause_resource_all`, or None where another OpenMP runs, which knows of forks itself."""
    symbols = ctypes.CDLL(None)  # those that torch has loaded, which our libraries use
    return None if hasattr(symbols, "__kmpc_fork_call") else getattr(symbols, "omp_pause_resource_all", None)


_pause = _openmp_pause() if hasattr(os, "fork") else None
_PAUSE_HARD = 2  # omp_pause_hard


def _before_fork() -> None:
    # A child would wait for ever for a module that another thread of its parent has begun to import.
    _IMPORTING.acquire()
    # A child has none of its parent's threads, but GNU OpenMP would wait for them at its first parallel loop, for ever.
    # Without threads to begin with both start their own when they need them, in 0.1 ms.
    if _pause is not None:
        _pause(_PAUSE_HARD)


def _after_fork_in_child() -> None:
    global BUILDING
    _IMPORTING.release()
    # Another thread of the parent may have held it. What it was building is not there yet; Inductor's cache, which both
    # processes use, has locks of its own.
    BUILDING = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_IMPORTING.release, after_in_child=_after_fork_in_child)
