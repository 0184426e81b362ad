"""The C++ compiler of this machine, and how it is called for this processor and this torch.

As Inductor calls it, whose import takes seconds and which finds out what a processor can do by building programs and
running them.
"""

from __future__ import annotations

import functools
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

_TORCH = Path(torch.__file__).parent

# The vectors of torch's functions: by the machine and by what torch says of its processor.
_VECTORS = {
    ("x86_64", "AVX512"): (
        *("-DCPU_CAPABILITY_AVX512", "-DRSAMPLE_VECTOR_BYTES=64"),
        *("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"),
    ),
    ("x86_64", "AVX2"): ("-DCPU_CAPABILITY_AVX2", "-DRSAMPLE_VECTOR_BYTES=32", "-mavx2", "-mfma", "-mf16c"),
    ("x86_64", "DEFAULT"): (),
    ("x86_64", "NO AVX"): (),
    ("aarch64", "DEFAULT"): ("-DCPU_CAPABILITY_NEON", "-DAT_BUILD_ARM_VEC256_WITH_SLEEF"),
}


def found() -> list[str]:
    """The compiler: CXX, which may have arguments, or the first of g++, clang++ and c++ that is there.

    Raises:
        FileNotFoundError: there is none.
    """
    given = os.environ.get("CXX", "")
    try:
        name, *arguments = shlex.split(given) or ("",)
    except ValueError as error:
        raise FileNotFoundError(f"CXX is {given!r}: {error}") from None
    path = next(filter(None, map(shutil.which, (name,) if name else ("g++", "clang++", "c++"))), None)
    if path is None:
        raise FileNotFoundError(f"there is no C++ compiler {name}".strip())
    return [path, *arguments]


@functools.cache
def machine() -> str:
    """What a library is compiled for: the C library and the processor's instructions, or its name if it tells none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return f"{platform.machine()} {''.join(platform.libc_ver())} {flags}"


@functools.cache
def vectors() -> tuple[str, ...] | None:
    """The arguments that say which vectors a library computes with; None where only Inductor knows."""
    if sys.platform != "linux" or " sve" in machine():
        return None
    return _VECTORS.get((platform.machine(), torch.backends.cpu.get_cpu_capability()))


# Nothing is contracted, and nothing is computed in another order: all optimisations give the same bits. Errors of
# functions are not told, nor traps kept, or loops with comparisons and square roots would not become vectors.
ARITHMETIC = ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
# gcc's -O2 leaves the functions of draws that loop where they are: these take four times as long.
OPTIMISED = ("-O3", *ARITHMETIC)


def loops(compiler: Sequence[str]) -> list[str]:
    """The command that makes a library of draws, where `vectors` are known, except for its source and its output."""
    # What draws call is in libtorch_cpu.so, which libtorch.so brings. A linker that is given the former reads all of
    # its names, in a third of a second.
    return [
        *(*compiler, "-std=c++20", *OPTIMISED, "-march=native", *(vectors() or ())),
        *("-DNDEBUG", "-DC10_USING_CUSTOM_GENERATED_MACROS", "-fopenmp", *_shared(), "-ltorch", "-lgomp"),
    ]


def extension(compiler: Sequence[str], folder: str, constants: Mapping[str, int]) -> list[str]:
    """The command that makes an extension of Python, except for its source and its output.

    Args:
        folder: of Python's headers.
        constants: what macros stand for.
    """
    macros = [f"-D{name}={value}" for name, value in constants.items()]
    torchs = ("-ltorch_python", "-ltorch_cpu", "-ltorch", "-lc10")
    return [*compiler, "-std=c++20", "-O2", "-fvisibility=hidden", *macros, f"-I{folder}", *_shared(), *torchs]


def _shared() -> list[str]:
    """The arguments for a shared library that uses torch's."""
    return [
        *("-fPIC", "-shared", "-w", "-Wl,--no-as-needed"),  # libraries come before what uses them
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
        *(f"-I{_TORCH / folder}" for folder in ("include", "include/torch/csrc/api/include")),
        f"-L{_TORCH / 'lib'}",
    ]
