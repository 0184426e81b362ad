"""Which implementation runs a draw: the Triton kernels, the compiled reference, or the reference itself."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from .language import HAS_TRITON, triton

BACKENDS = ("triton", "compiled", "reference")

TRITON_DEVICES = ("cuda", "xpu")  # ROCm devices call themselves cuda

CPU = torch.device("cpu")  # comparing devices is cheaper than comparing their types


def _checked(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {name!r}")
    if name == "triton" and not HAS_TRITON:
        raise RuntimeError("backend 'triton' needs the package triton, which is not installed")
    return name


class _Block:
    """A block of `use_backend`, told from others by its identity."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = _checked(name)


# The blocks that are open, innermost last; RSAMPLE_BACKEND is one around all of them.
_BLOCKS: ContextVar[tuple[_Block, ...]] = ContextVar(
    "rsample_backend", default=(_Block(os.environ["RSAMPLE_BACKEND"]),) if os.environ.get("RSAMPLE_BACKEND") else ()
)


# How many there are in the whole process: where there is none, the context need not be looked at.
OPEN = ctypes.c_int64(len(_BLOCKS.get()))
_counting = threading.Lock()


def _count_open(change: int) -> None:
    with _counting:
        OPEN.value += change


def forced() -> str | None:
    """The backend that `use_backend` or RSAMPLE_BACKEND asks for here."""
    blocks = _BLOCKS.get()
    return blocks[-1].name if blocks else None


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every draw inside the block on one backend, and its gradients, wherever backward is called.

    The choice is a context variable: it holds in this thread or asyncio task, and in tasks made inside the block. A
    thread started inside it begins without; `contextvars.copy_context().run` takes the choice along.

    Args:
        name: "triton" (the kernels; on CPU tensors only under Triton's interpreter or an emulating driver),
            "compiled" (the law translated to a C++ loop; CPU tensors only) or "reference" (plain torch).

    The environment variable RSAMPLE_BACKEND sets the default for the whole process.

    Raises:
        ValueError: unknown name.
        RuntimeError: "triton" where Triton is not installed.
    """
    block = _Block(name)
    _count_open(1)
    _BLOCKS.set((*_BLOCKS.get(), block))
    try:
        yield
    finally:
        _count_open(-1)
        # Not what it was before: blocks of generators may end in another order than they began.
        _BLOCKS.set(tuple(b for b in _BLOCKS.get() if b is not block))


def backend_for(device: torch.device, numel: int, tensors: Sequence[Tensor]) -> str:
    """The backend of a draw of `numel` elements on `device`.

    Args:
        tensors: what a kernel would read. The reference runs where one of them has no memory.
    """
    backend = _preferred(device, numel)
    return backend if backend == "reference" or all(map(_has_memory, tensors)) else "reference"


def _has_memory(tensor: Tensor) -> bool:
    """Not where a tensor stands for several, under the vmap of `is_grads_batched=`, nor has forward mode's zeros."""
    return torch._C._has_storage(tensor) and not tensor._is_zerotensor()


def _preferred(device: torch.device, numel: int) -> str:
    blocks = _BLOCKS.get()
    if blocks:
        name = blocks[-1].name
        if name == "compiled" and device.type != "cpu":
            raise RuntimeError(f"backend 'compiled' runs on CPU tensors only; got a draw on {device}")
        if name == "triton" and device.type == "cpu" and not _kernels_run_on_cpu():
            raise RuntimeError(
                "backend 'triton' runs on CPU tensors only under Triton's interpreter (TRITON_INTERPRET=1)"
            )
        return name
    if device == CPU:
        return "compiled" if numel > 0 else "reference"
    if device.type in TRITON_DEVICES and HAS_TRITON:
        return "triton"
    return "reference"


def _kernels_run_on_cpu() -> bool:
    """Whether Triton interprets its kernels or has been given a driver that takes CPU tensors."""
    if triton.knobs.runtime.interpret:
        return True
    try:
        return triton.runtime.driver.active.get_active_torch_device().type == "cpu"
    except RuntimeError:  # no driver: no GPU here
        return False
