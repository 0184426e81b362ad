"""From tensors to a kernel launch: key arguments, launch configurations and their tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .language import triton
from .layout import Layout
from .noise import elements_per_block

_MASK64 = 0xFFFFFFFFFFFFFFFF
# Below this many elements a launch is bound by its own latency, and not worth tuning.
TUNED_NUMEL = 1 << 18
# Programs that fill any GPU of today several times over; longer runs start only beyond them.
PROGRAMS = 2048


@dataclass(frozen=True)
class Config:
    """One launch configuration. The sample does not depend on it.

    Attributes:
        warps: of a program; a tile is one group of elements for each of its lanes.
        unroll: tiles in one pass of the hot loop.
        passes: the most passes of a program.
    """

    warps: int = 4
    unroll: int = 4
    passes: int = 8


DEFAULT = Config()
CONFIGS = (DEFAULT, Config(passes=16), Config(warps=8), Config(warps=2, passes=16), Config(unroll=2, passes=16))


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The one place where this backend allocates."""
    return torch.empty(shape, dtype=dtype, device=device)


def slots(tensors: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Fills up to the kernels' three slots for parameters."""
    return (*tensors, *(None,) * (3 - len(tensors)))


def group_size(dtype: torch.dtype) -> int:
    """How many neighbouring elements of a sample of `dtype` a lane handles: 16 bytes, at least one Philox block."""
    return 8 if dtype.itemsize == 2 else elements_per_block(dtype)


def key_arguments(key: Sequence[Tensor]) -> tuple[str, Tensor | None, Tensor | None, int, int]:
    """A key as the kernels take it: (KEY, seed_ptr, offset_ptr, seed, offset).

    KEY is "value" where the numbers are known here, "tensor" where they lie in a uint64 tensor on the device, "state"
    where seed and offset (counted in words) are the two tensors that a captured CUDA graph updates before a replay.
    """
    if len(key) == 1:
        if on_device(key[0]):
            return "tensor", key[0], None, 0, 0
        seed, offset = key[0].tolist()
        return "value", None, None, seed, offset
    seed, offset, intragraph = key
    if on_device(seed):
        return "state", seed, offset, 0, int(intragraph)
    words = (int(offset) + int(intragraph)) & _MASK64
    return "value", None, None, int(seed) & _MASK64, words // 4


def on_device(tensor: Tensor) -> bool:
    """Whether a key tensor must be read by the kernel, not here."""
    return tensor.device.type != "cpu"


def hardware() -> bool:
    """Whether the kernels may use NVIDIA's special-function unit: not on AMD, not in Triton's interpreter."""
    return not triton.knobs.runtime.interpret and triton.runtime.driver.active.get_current_target().backend == "cuda"


def passes(n: int, group: int, config: Config) -> int:
    """Passes of the hot loop in each program: as many as leave `PROGRAMS` programs, at most the configuration's."""
    return min(config.passes, max(1, n // (config.warps * 32 * group * config.unroll * PROGRAMS)))


def programs(n: int, group: int, config: Config = DEFAULT) -> int:
    """How many programs cover n elements."""
    return -(-n // (config.warps * 32 * group * config.unroll * passes(n, group, config)))


_tuned: dict[Any, Config] = {}


def launch_elements(
    kernel: Any,
    tensors: Sequence[Tensor | None],
    layout: Layout,
    n: int,
    group: int,
    key: Sequence[Tensor],
    constants: dict[str, Any],
    tune: bool,
    config: Config | None = None,
    first_program: int | None = None,
) -> None:
    """Launches a kernel of :mod:`rsample.kernels.elementwise` over n elements.

    Args:
        tensors: the kernel's leading pointer arguments.
        group: elements a lane, see :func:`group_size`.
        constants: the kernel's compile-time arguments that are not set here.
        tune: whether large launches on a GPU may time the configurations, once for each kind of call.
        config: use this configuration.
        first_program: launch only the programs from this one on; their elements keep their numbers.
    """
    kind, seed_ptr, offset_ptr, seed, offset = key_arguments(key)
    constants = dict(constants, KINDS=layout.kinds, WIDE=layout.wide, KEY=kind, HARDWARE=hardware())

    def start(config: Config, kernel: Any = kernel) -> None:
        first = first_program or 0
        kernel[(programs(n, group, config) - first,)](
            *tensors,
            layout.sizes,
            layout.strides,
            n,
            first,
            passes(n, group, config),
            seed_ptr,
            offset_ptr,
            seed,
            offset,
            **constants,
            LANES=32 * config.warps,
            UNROLL=config.unroll,
            num_warps=config.warps,
            enable_fp_fusion=False,
        )

    start(config or DEFAULT)
