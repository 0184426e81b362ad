"""Builds C++ libraries at run time, by Inductor, which finds the compiler and its flags for this processor.

What was built is kept in a folder, so that later processes load it without importing Inductor, which takes seconds:
RSAMPLE_CACHE_DIR, or `rsample` in XDG_CACHE_HOME or ~/.cache. Each build is a line of the logger "rsample". Where one
cannot be built, one warning is given, and nothing is tried again for the life of the process.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .compatibility import load_cpp

LOGGER = logging.getLogger("rsample")

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
        file = kept(source)
        library = None if file is None else _loaded(file)
        if library is not None:
            return library
        start = time.perf_counter()
        try:
            is_gcc = _import_inductor()
            # The sources are written for the loop vectoriser, which Inductor turns off in gcc, and a square root that
            # must be able to set errno is not vectorised.
            flags = ("-fno-math-errno", "-ftree-loop-vectorize") if is_gcc() else ("-fno-math-errno",)
            library = load_cpp(source, flags)
        except Exception as error:
            # No compiler, one that does not know the language extensions of noise.h (MSVC), or no room for the cache:
            # nothing that another source or another try would meet differently.
            _works = False
            warn(what, error)
            return None
        if file is not None:
            _keep(library, file)
        LOGGER.info("compiled C++ for %s in %.1f s; kept in %s", what, time.perf_counter() - start, file)
        return library


def _import_inductor() -> Callable[[], bool]:
    """Imports what a build needs, which is slow; whether the compiler is gcc."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    with _IMPORTING:
        try:
            # On import it says that it has found no GPU, which nobody has asked for.
            logger.setLevel(logging.ERROR)
            import torch.utils.cpp_extension  # noqa: F401
        finally:
            logger.setLevel(level)
        from torch._inductor.codecache import CppCodeCache  # noqa: F401
        from torch._inductor.cpp_builder import is_gcc
    answer: Callable[[], bool] = is_gcc
    return answer


def kept(source: str) -> Path | None:
    """Where the library of a source is kept, for this processor and version of torch, but for the size in its name."""
    given = os.environ.get("RSAMPLE_CACHE_DIR")
    try:
        folder = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rsample"
    except RuntimeError:  # nobody's process
        return None
    made_by = (source, torch.__version__, os.environ.get("CXX"), _processor())
    return folder / hashlib.sha256(repr(made_by).encode()).hexdigest()[:32]


@functools.cache
def _processor() -> str:
    """What a library is compiled for: the processor's instructions, or its name where they are not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()} {flags}"


def whole(kept: Path) -> Path | None:
    """The file of a library that is kept; not one that a crash of the machine has cut off: it would end the process."""
    files = kept.parent.glob(f"{kept.name}-*.so")
    return next((file for file in files if file.stem == f"{kept.name}-{file.stat().st_size}"), None)


def _loaded(kept: Path) -> Any:
    try:
        file = whole(kept)
        return None if file is None else ctypes.CDLL(str(file))
    except OSError as error:  # of another system that shares the folder
        LOGGER.info("a compiled library could not be loaded: %s", error)
        return None


def _keep(library: Any, kept: Path) -> None:
    try:
        content = Path(library._name).read_bytes()
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Under its name it is whole: another process may look for it meanwhile.
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as file:
            file.write(content)
        os.replace(file.name, f"{kept}-{len(content)}.so")
    except OSError as error:
        LOGGER.info("a compiled library could not be kept: %s", error)


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
