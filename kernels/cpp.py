"""Builds C++ libraries at run time, by the cache of Inductor, which finds the compiler and keeps the result.

Where one cannot be built, one warning is given, and nothing is tried again for the life of the process.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from .compatibility import load_cpp

_works = True  # as far as is known


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
    if not _works:
        return None
    try:
        from torch._inductor.cpp_builder import is_gcc  # slow to import, so not before it is needed

        # The sources are written for the loop vectoriser, which Inductor turns off in gcc, and a square root that must
        # be able to set errno is not vectorised.
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
