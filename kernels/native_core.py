"""Draws of few numbers on the CPU at the cost of a C call: native_core.cpp, built in the background.

What the classes of :mod:`rsample.kernels.autograd` and the plans do for a plain eager draw, the core does in C++, with
the same bits and the same gradients; whatever is not plain it leaves to them. So nothing depends on it but time. Its
build takes half a minute: it begins when a process draws something a second time, runs beside the program, and is kept
for later processes in the folder of :mod:`rsample.kernels.cpp`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter

from . import backend, compiled, cpp
from .autograd import AffineDraw, PathwiseDraw
from .interpreter import Interpreted

if TYPE_CHECKING:
    from .ops import Operators

# The loaded core; None as long as there is none.
CORE: Any = None

_NAME = "rsample_native_core"


class Law:
    """A map as the core knows it."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators
        self._handle: int | None = None

    def draw(self, params: Sequence[Tensor], shape: Sequence[int], differentiable: bool) -> Any:
        """A draw from the default generator, or None where it is left to Python."""
        if CORE is None:
            return None
        handle = self._handle
        if handle is None:
            handle = self._handle = self._introduced()
        drawn = CORE.draw(handle, params, shape, differentiable)
        if drawn is False:
            self._learn(params[0].dtype, torch.Size(shape).numel())
            drawn = CORE.draw(handle, params, shape, differentiable)
        return drawn

    def _introduced(self) -> int:
        map = self._operators.map
        # As compiled.bounds has them, but without a tensor: a mode may see what is made here.
        bounds = [
            () if map.support is None else (*map.support.limits(dtype), map.support.step(dtype))
            for dtype in (torch.float32, torch.float64)
        ]
        location = -1 if map.location is None else map.parameters.index(map.location)
        number = len(map.parameters)
        handle: int = CORE.law(self._operators, number, map.outputs, map.cotangents, location, map.linear, *bounds)
        return handle

    def _learn(self, dtype: torch.dtype, numel: int) -> None:
        """Tells the core what runs draws of so many numbers."""
        functions = compiled.functions(self._operators.map, dtype, numel)
        given = (None, None) if functions is None else functions
        addresses = [number for function in given for number in _addresses(function)]
        CORE.learn(self._handle, dtype == torch.float64, numel >= compiled.INTERPRETED_NUMEL, *addresses)


def _addresses(function: Any) -> tuple[int, int]:
    """A function, and the program that it runs if it is the interpreter."""
    if function is None:
        return 0, 0
    if isinstance(function, Interpreted):
        return _addresses(function.run)[0], function.program
    return ctypes.cast(function, ctypes.c_void_p).value or 0, 0


def _gradients(
    operators: Operators,
    grads: tuple[Any, ...],
    saved: tuple[Tensor, ...],
    shape: tuple[int, ...],
    needs: list[bool],
    kinds: list[tuple[int, int]],
) -> tuple[Tensor | None, ...]:
    """The gradients of a draw of the core, where its own do not do.

    Args:
        saved: the key, and the parameters of a map that is not linear in them.
        kinds: how each parameter is laid out, as in native_core.cpp, and its number of dimensions.
    """
    dtype = next(g.dtype for g in grads if g is not None)
    shapes = [((1,) * ndim, shape, shape[len(shape) - ndim :])[kind] for kind, ndim in kinds]
    key, *params = saved
    ctx = SimpleNamespace(
        operators=operators,
        saved_tensors=(key.view(torch.uint64), None, *params),
        shape=shape,
        dtype=dtype,
        like=[(torch.Size(s), dtype, key.device) for s in shapes],
        needs_input_grad=needs,
        backend=None,
    )
    function = AffineDraw if operators.map.linear else PathwiseDraw
    return tuple(function.backward(ctx, *grads)[-len(needs) :])


# ------------------------------------------------------------------------------------------------------------ building


_begun = False
_builder: threading.Thread | None = None


def begin() -> None:
    """Have the core loaded, and built before that if it is not there yet, beside what the program does."""
    global _begun, _builder
    if not _begun:
        _begun = True
        _builder = threading.Thread(target=_load, name="rsample-native-core", daemon=True)
        _builder.start()


def wait() -> bool:
    """Wait until there is a core; whether there is one."""
    begin()
    if _builder is not None:
        _builder.join()
    return CORE is not None


def _load() -> None:
    global CORE
    source = cpp.header("native_core.cpp")
    kept = cpp.kept(source + sys.version)
    if sys.platform != "linux" or kept is None or not cpp.compiler_works():
        return
    try:
        file = cpp.whole(kept) or _built(kept)
        if file is None:
            return
        loader = ExtensionFileLoader(_NAME, str(file))
        spec = spec_from_file_location(_NAME, file, loader=loader)
        assert spec is not None
        core = module_from_spec(spec)
        loader.exec_module(core)
    except (OSError, ImportError) as error:
        cpp.LOGGER.info("draws of few numbers go through Python: %s", error)
        return
    core.begin(Tensor, Parameter, backend._BLOCKS, _gradients)
    CORE = core


def _built(kept: Path) -> Path | None:
    """Has the compiler make the core's file, in a process that outlives this one."""
    import fcntl

    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)
    if compiler is None:
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{kept}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be building it
        file = cpp.whole(kept)
        if file is not None:
            return file
        cpp.LOGGER.info("compiling draws of few numbers in the background; kept in %s", kept)
        torchs = Path(torch.__file__).parent
        includes = (torchs / "include", torchs / "include/torch/csrc/api/include", sysconfig.get_paths()["include"])
        command = [
            *compiler.split(),
            *("-std=c++20", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-w"),
            f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
            *(f"-I{folder}" for folder in includes),
            str(Path(__file__).with_name("native_core.cpp")),
            f"-L{torchs / 'lib'}",
            *("-ltorch_python", "-ltorch_cpu", "-ltorch", "-lc10"),
        ]
        # Under its name it is whole. The lock is the compiler's for as long as it runs.
        script = (
            'made="$0.$$.so"; if "$@" -o "$made"; then mv "$made" "$0-$(wc -c < "$made").so"; else rm -f "$made"; fi'
        )
        done = subprocess.run(
            ["nice", "sh", "-c", script, str(kept), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )
        file = cpp.whole(kept)
        if file is None:
            cpp.LOGGER.info("draws of few numbers go through Python, as their C++ does not compile: %s", done.stderr)
        return file


def _start_anew() -> None:
    """A forked process has none of its parent's threads."""
    global _begun
    if CORE is None:
        _begun = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
