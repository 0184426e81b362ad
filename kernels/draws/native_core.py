"""Draws at the cost of a C call: native/core.cpp, built in the background.

What the classes of :mod:`draws.autograd` and the plans do for a plain eager draw, the core does in C++, with
the same bits and the same gradients; whatever is not plain it leaves to them. So nothing depends on it but time. Its
build takes half a minute: it begins when a process draws something a second time, runs beside the program, and is kept
for later processes in the folder of :mod:`engines.cpu.cpp`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from ..engines.cpu import chunks, compiler, cpp
from ..engines.cpu import elementwise as compiled
from ..engines.cpu.interpreter import Interpreted
from ..engines.outputs import Outputs
from ..engines.triton import checks
from ..engines.triton.launch import Launched, unread
from ..runtime import backend
from ..runtime.language import HAS_TRITON, triton
from . import keys, plans
from .lean_function import stand_ins
from .operators import fresh
from .ops import LawOperators, kernels_of
from .plans import TritonDraw
from .rows.autograd import COPIED

# The loaded core; None as long as there is none.
CORE: Any = None

_NAME = "rsample_native_core"
_SOURCE = Path(__file__).with_name("native") / "core.cpp"


# By the names of their operators, for what generated code calls.
NATIVE_LAWS: dict[str, NativeLaw] = {}


class NativeLaw:
    """A law as the core knows it."""

    def __init__(self, operators: LawOperators) -> None:
        self.operators = operators
        self._handle: int | None = None
        NATIVE_LAWS[operators.name] = self

    def draw(self, params: Sequence[Tensor], shape: Sequence[int], differentiable: bool) -> Any:
        """A draw from the default generator, or None where it is left to Python."""
        return self._drawn(params, shape, differentiable)

    def draw_of_key(self, key: Tensor, params: Sequence[Tensor], shape: Sequence[int]) -> Any:
        """A draw on the CPU of a packed key, outside of any graph, or None where it is left to Python."""
        return self._drawn(params, shape, False, key)

    def _drawn(self, params: Sequence[Tensor], shape: Sequence[int], differentiable: bool, *key: Tensor) -> Any:
        if CORE is None:
            return None
        handle = self._handle
        if handle is None:
            handle = self._handle = self._introduced()
        drawn = CORE.draw(handle, params, shape, differentiable, *key)
        if drawn is False:
            self._learn_engine(handle, params[0].dtype, torch.Size(shape).numel())
        elif drawn is not True or not self._learn_launch(handle, params, shape):
            return None if drawn is True else drawn
        return CORE.draw(handle, params, shape, differentiable, *key)

    def gradients_of_key(
        self, key: Tensor, given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor] | None:
        """The gradients that `needs` marks of a draw on the CPU, or None where they are left to Python."""
        if CORE is None or self._handle is None:
            return None
        found = CORE.gradients(self._handle, key, given, params, needs)
        return None if found is None else fresh(found, (*given, *params))

    def _introduced(self) -> int:
        law = self.operators.law
        # As compiled.bounds has them, but without a tensor: a mode may see what is made here.
        bounds = [
            () if law.support is None else (*law.support.limits(dtype), law.support.step(dtype))
            for dtype in (torch.float32, torch.float64)
        ]
        location = -1 if law.location is None else law.parameters.index(law.location)
        elements = tuple(law.noise.elements_per_block(t) for t in (torch.bfloat16, torch.float32, torch.float64))
        name = "".join(law.name.title().split("_")) + "DrawBackward"
        handle: int = CORE.law(
            self, name, len(law.parameters), law.outputs, law.cotangents, location, law.linear, elements, *bounds
        )
        return handle

    def _learn_engine(self, handle: int, dtype: torch.dtype, numel: int) -> None:
        """Tells the core what runs draws of so many numbers on the CPU."""
        functions = compiled.functions(self.operators.law, dtype, numel)
        given = (None, None) if functions is None else functions
        numbers = [number for function in given for number in addresses(function)]
        CORE.learn(handle, dtype == torch.float64, numel >= compiled.INTERPRETED_NUMEL, *numbers)

    def _learn_launch(self, handle: int, params: Sequence[Tensor], shape: Sequence[int]) -> bool:
        """Tells the core of the kernel that a plan launches on a GPU; whether there is one."""
        plan = self.operators.plans.find(params, shape)
        launched = plan.run.launched.get("state") if plan is not None and isinstance(plan.run, TritonDraw) else None
        if launched is None:
            return False
        CORE.drive(*driver())
        CORE.learn_launch(handle, params, shape, None, *parts(launched, params[0].device), ())
        return True

    def gradients(
        self,
        words: Tensor,
        grads: Sequence[Tensor | None],
        params: Sequence[Tensor],
        shape: tuple[int, ...],
        sizes: tuple[tuple[int, ...], ...],
        needs: tuple[bool, ...],
        teaches: bool,
    ) -> tuple[Tensor | None, ...]:
        """The gradients of a draw of the core, where its own do not do.

        Args:
            words: seed and offset as signed integers, on the CPU.
            grads: of the outputs.
            params: those of a law that is not linear in them.
            sizes: the parameters' shapes.
            teaches: whether nobody watches and the core could do it, had it seen a launch of the kind.
        """
        law = self.operators.law
        given = [grads[i] for i in law.cotangents]
        defined = [g for g in given if g is not None]
        some = defined[0]
        key: tuple[Tensor, ...] = (words.view(torch.uint64),)
        if not some.is_cpu:
            # A reservation, whose offset counts words; see keys.py.
            key = (words[:1], words[1:], torch.zeros(1, dtype=torch.int64, device=words.device))
        like = [(torch.Size(s), some.dtype, some.device) for s in sizes]
        if teaches and len(defined) == len(given):
            computed = iter(self._launch_gradients(key, defined, params or stand_ins(like, some), needs))
            return tuple(next(computed) if needed else None for needed in needs)
        ctx = SimpleNamespace(
            operators=self.operators,
            saved_tensors=(*key, None, *params),
            shape=shape,
            dtype=some.dtype,
            like=like,
            needs_input_grad=needs,
            backend=None,
        )
        return tuple(self.operators.function.backward(ctx, *grads)[-len(needs) :])

    def _launch_gradients(
        self, key: Sequence[Tensor], given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        """The gradients that `needs` marks, by a launch on a GPU that the core then knows."""
        law = self.operators.law
        grads, outputs, launched = kernels_of(law).launched_backward(law, key, given, params, needs)
        if launched is not None:
            operands = given if law.linear else (*given, *params)
            sizes = [tuple(p.shape) for p in params]
            CORE.learn_launch(self._handle, operands, needs, sizes, *parts(launched, given[0].device), outputs)
        return grads


@functools.cache
def driver() -> tuple[int, int]:
    """The addresses of cuLaunchKernel and cuCtxGetCurrent in the driver, which is loaded."""
    library = ctypes.CDLL("libcuda.so.1")
    return addresses(library.cuLaunchKernel)[0], addresses(library.cuCtxGetCurrent)[0]


def parts(launched: Launched, device: torch.device) -> tuple[Any, ...]:
    """A launch as the core takes it."""
    program = launched.program
    numbers = (program.function, launched.grid[0], program.warps, program.shared)
    return (*numbers, launched.numbers, unread(device), program.scratch)


def addresses(function: Any) -> tuple[int, int]:
    """A function, and the program that it runs if it is the interpreter."""
    if function is None:
        return 0, 0
    if isinstance(function, Interpreted):
        return addresses(function.run)[0], function.program
    return ctypes.cast(function, ctypes.c_void_p).value or 0, 0


def check(value: Tensor, kind: int, outcome: checks.Outcome) -> None:
    """Launches the check of a tensor on a GPU that `checks.can_check` accepts."""
    if CORE is not None and CORE.check(value, kind, checks.numbers(value), outcome.address):
        return
    program = checks.check(value.detach(), kind, outcome.target)
    if program is not None and CORE is not None:
        CORE.drive(*driver())
        launched = Launched(program, (1,), ())
        CORE.learn_launch(0, (value,), (kind,), None, *parts(launched, value.device), ())


def reserve_key(blocks: int, device: torch.device) -> Tensor:
    """What `rsample::reserve_key` gives, as compiled code asks for it: a dispatcher would take longer than all else.

    From the default generator; `device` has an index, or is the CPU.
    """
    key = None if CORE is None else CORE.reserve_key(blocks, device)
    if key is not None and key is not True:
        return key
    begin()
    packed, program = keys.reserve_packed(device, blocks, None)
    if key is True and program is not None:
        CORE.drive(*driver())
        CORE.learn_launch(0, (packed,), (), None, *parts(Launched(program, (1,), ()), device), ())
    return packed


def draw_of_key(key: Tensor, *args: Any) -> Outputs:
    """What the operator of a draw on the CPU gives, as compiled code asks for it.

    Args:
        key: packed, on the CPU.
        args: the parameters, the operator's name, the shape and the dtype.
    """
    *params, name, shape, dtype = args
    law = NATIVE_LAWS.get(name)
    drawn = law.draw_of_key(key, params, tuple(shape)) if law is not None and dtype == params[0].dtype else None
    if drawn is None:
        begin()
        drawn = getattr(torch.ops.rsample, name)([key], *params, shape, dtype)
    outputs: Outputs = drawn
    return outputs


def gradients_of_key(key: Tensor, *args: Any) -> list[Tensor]:
    """What the operator of a gradient on the CPU gives, as compiled code asks for it.

    Args:
        key: packed, on the CPU.
        args: the gradients of outputs, the parameters, the operator's name, and which gradients are needed.
    """
    *tensors, name, needs = args
    law, given = NATIVE_LAWS.get(name), len(tensors) - len(needs)
    found = None if law is None else law.gradients_of_key(key, tensors[:given], tensors[given:], needs)
    if found is None:
        gradients: list[Tensor] = getattr(torch.ops.rsample, f"{name}_backward")([key], *tensors, needs)
        return gradients
    return found


# ------------------------------------------------------------------------------------------------------------ building


# What Python and C++ agree on.
_CONSTANTS = {
    "DENSE": chunks.DENSE,
    "SUM": chunks.SUM,
    "UNUSED": chunks.UNUSED,
    "INTERPRETED_NUMEL": compiled.INTERPRETED_NUMEL,
    "MOST_KINDS": plans.MOST,
    "COPIED": COPIED,
}

_begun = False
_builder: threading.Thread | None = None


def begin(again: bool = False) -> None:
    """Have the core loaded, and built before that if it is not there yet, beside what the program does.

    Args:
        again: build it also where that has failed lately.
    """
    global _begun, _builder
    if not _begun:
        _begun = True
        _builder = threading.Thread(target=_load, args=(again,), name="rsample-native-core", daemon=True)
        _builder.start()


def wait(again: bool = False) -> bool:
    """Wait until there is a core; whether there is one. `again` as for :func:`begin`."""
    begin(again)
    if _builder is not None:
        _builder.join()
    return CORE is not None


def place() -> Path | None:
    """Where the core is kept, as :func:`engines.cpu.cpp.place` has it."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(_SOURCE.parent.iterdir())]
    return cpp.place("".join([*texts, repr(_CONSTANTS), sys.version]))


def failure(kept: Path) -> Path:
    """The file that says why a core could not be built, where that is so."""
    return Path(f"{kept}.failed")


def _load(again: bool) -> None:
    global CORE
    kept = place()
    if sys.platform != "linux" or kept is None or not cpp.compiler_works():
        return
    try:
        file = cpp.whole(kept) or _built(kept, again)
        loader = ExtensionFileLoader(_NAME, str(file))
        spec = spec_from_file_location(_NAME, file, loader=loader)
        assert spec is not None
        with _LOADING:
            core = module_from_spec(spec)
            loader.exec_module(core)
    except (OSError, ImportError, cpp.CompilerError) as error:
        cpp.LOGGER.info("draws of few numbers go through Python: %s", error)
        return
    stream = getattr(torch._C, "_cuda_getCurrentRawStream", None)
    knobs = triton.knobs.runtime if HAS_TRITON else None
    core.begin(Tensor, Parameter, backend._BLOCKS, ctypes.addressof(backend.OPEN), stream, knobs)
    CORE = core


def _built(kept: Path, again: bool) -> Path:
    """Has the compiler make the core's file, in a process that outlives this one."""
    failed = failure(kept)
    if not again and failed.exists() and time.time() - failed.stat().st_mtime < _REMEMBERED:
        raise cpp.CompilerError(f"their C++ did not compile, see {failed}")
    constants = {f"RSAMPLE_{name}": value for name, value in _CONSTANTS.items()}
    command = compiler.extension(compiler.found(), sysconfig.get_paths()["include"], constants)
    cpp.wait_ahead()  # a program may have to wait for those
    cpp.LOGGER.info("compiling draws of few numbers in the background; kept in %s", kept)
    source = str(_SOURCE)
    try:
        file = cpp.make(kept, ["nice", *command, source], outlives=True)
    except cpp.CompilerError as error:
        failed.write_text(str(error), encoding="utf-8")
        raise
    failed.unlink(missing_ok=True)
    return file


# Seconds for which a build that failed is not tried again: what stopped it may be gone later.
_REMEMBERED = 24 * 60 * 60

# Held while the core is loaded: a process that is forked then could never load a library.
_LOADING = threading.Lock()


def _start_anew() -> None:
    """A forked process has none of its parent's threads."""
    global _begun
    _LOADING.release()
    if CORE is None:
        _begun = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LOADING.acquire, after_in_parent=_LOADING.release, after_in_child=_start_anew)
