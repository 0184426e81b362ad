"""Kernel launches at the cost of a C call.

`kernel[grid](...)` binds and specialises its arguments in Python at every call, 20 us and more; what comes out depends
on the dtypes of tensors and the compile-time arguments alone, as no kernel here specialises on an integer or an
address. So the first launch of a kind goes that way, and the following ones call torch's own launcher
(`torch._C._StaticCudaLauncher`, which torch.compile uses) with the program that Triton has loaded: 1 us.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ...runtime.language import triton

_LAUNCHER: Any = None if torch.version.hip else getattr(torch._C, "_StaticCudaLauncher", None)

# The letter by which torch's launcher knows the type of an argument.
_LETTERS = {"i32": "i", "i64": "l", "u32": "I", "u64": "K", "fp32": "f", "fp64": "d"}


class Program:
    """A compiled kernel, loaded on a device.

    Attributes:
        compiled: the kernel as Triton has compiled it, which it stays loaded with.
        kept: objects by whose identity it is looked up.
        function: the driver's handle.
        warps: of a program.
        shared: bytes of shared memory.
        scratch: how many kinds of scratch memory Triton knows of, each an argument more, which is None.
    """

    __slots__ = ("_types", "compiled", "function", "kept", "scratch", "shared", "warps")

    def __init__(self, compiled: Any, types: str, scratch: int, kept: Any) -> None:
        self._types = types + "O" * scratch
        self.compiled, self.kept, self.scratch = compiled, kept, scratch
        self.function, self.warps, self.shared = (
            compiled.function,
            compiled.metadata.num_warps,
            compiled.metadata.shared,
        )

    def __call__(self, grid: Sequence[int], stream: int, arguments: tuple[Any, ...]) -> None:
        """Launches it.

        Args:
            grid: one to three numbers of programs.
            arguments: see `flattened`.
        """
        x, y, z = (*grid, 1, 1)[:3]
        _LAUNCHER._launch_kernel(
            self.function, x, y, z, self.warps, self.shared, self._types, arguments + (None,) * self.scratch, stream
        )


def flattened(arguments: Sequence[Any]) -> tuple[Any, ...]:
    """A kernel's arguments as a `Program` takes them: without those that are None, and the numbers of tuples."""
    flat: list[Any] = []
    for argument in arguments:
        if isinstance(argument, tuple):
            flat += argument
        elif argument is not None:
            flat.append(argument)
    return tuple(flat)


# By device, kernel, kinds of arguments and compile-time arguments; None where torch cannot launch it.
_programs: dict[Any, Program | None] = {}


def launch(kernel: Any, grid: Sequence[int], device: torch.device, *arguments: Any, **constants: Any) -> Program | None:
    """`kernel[grid](*arguments, **constants)` on a device, by the shortest way.

    Args:
        arguments: all that is not compiled in, in the kernel's order: tensors, None, numbers, tuples of integers packed
            by :func:`stream.layout.pack`.
        constants: what is, and Triton's options.

    Returns:
        The program that was launched, for further launches of the kind by whoever knows it to be the same, where it can
        be launched without Triton.
    """
    if not launches_directly(device):
        with current(device):
            kernel[grid](*arguments, **constants)
        return None
    kinds: list[Any] = [kernel, device.index]
    for argument in arguments:
        if isinstance(argument, Tensor):
            kinds.append(argument.dtype)
        elif isinstance(argument, tuple):
            kinds.append(len(argument))
        elif isinstance(argument, int):
            kinds.append(argument.bit_length() > 31)
        else:
            kinds.append(type(argument))
    for constant in constants.values():
        kinds.append(constant if type(constant) in _BY_VALUE else id(constant))
    kind = tuple(kinds)
    program = _programs.get(kind)
    if program is not None:
        program(grid, torch._C._cuda_getCurrentRawStream(device.index), flattened(arguments))
        return program
    compiled = kernel[grid](*arguments, **constants)
    if kind not in _programs:
        _programs[kind] = _program(compiled, tuple(constants.values()))
    return _programs[kind]


_BY_VALUE = {bool, int, float, str, tuple, type(None)}


def launches_directly(device: torch.device) -> bool:
    """Whether only torch's launcher has to know of a launch on a device, and it is the current one."""
    if _LAUNCHER is None or device.type != "cuda" or device.index != torch._C._cuda_getDevice():
        return False
    hooks = triton.knobs.runtime
    return not (_calls(hooks.launch_enter_hook) or _calls(hooks.launch_exit_hook))


def _calls(hook: Any) -> Any:
    """What a hook of Triton's calls: a chain of functions, or itself one."""
    return getattr(hook, "calls", hook)


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a device the one that kernels are launched on."""
    if device.type == "cpu" or device.index == torch.accelerator.current_device_index():
        return nullcontext()
    return torch.accelerator.device_index(device.index)


def _program(compiled: Any, kept: Any) -> Program | None:
    metadata = compiled.metadata
    scratch = [getattr(metadata, name, None) for name in ("global_scratch_size", "profile_scratch_size")]
    if any(scratch) or getattr(metadata, "num_ctas", 1) != 1 or getattr(metadata, "launch_cooperative_grid", False):
        return None
    types = "".join(_types(compiled.src.signature.values()))
    return Program(compiled, types, sum(size is not None for size in scratch), kept)


def _types(signature: Any) -> list[str]:
    letters = []
    for type_ in signature:
        if isinstance(type_, tuple):
            letters += _types(type_)
        elif type_ != "constexpr":
            letters.append("O" if type_[0] == "*" else _LETTERS[type_])
    return letters
