"""From tensors to a kernel launch: key arguments, launch configurations and their tuning."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...runtime.language import triton
from ...stream.layout import Layout
from ...stream.noise import elements_per_block
from ...stream.philox import MASK32
from ...stream.philox_key import Key
from .direct_launch import Program, current, launch

_MASK64 = 0xFFFFFFFFFFFFFFFF
# Only where every configuration below runs its hot loop, at any dtype, does a timing tell them apart; smaller launches
# take the default.
TUNED_NUMEL = 1 << 24
# A program runs through several tiles only where that leaves at least this many programs: enough to fill a GPU.
PROGRAMS = 512


@dataclass(frozen=True)
class Config:
    """One launch configuration. The sample does not depend on it.

    Attributes:
        warps: of a program; a tile is one group of elements for each of its lanes.
        unroll: tiles in one pass of the hot loop; a pass costs about ten instructions besides its tiles.
        passes: the most passes of a program.
    """

    warps: int = 4
    unroll: int = 10
    passes: int = 4

    def tile(self, group: int) -> int:
        """Elements of a tile."""
        return 32 * self.warps * group

    def run(self, n: int, group: int) -> int:
        """Tiles of a program: one where n is small, else as many passes as leave four times `PROGRAMS` programs."""
        passes = n // (self.tile(group) * self.unroll)
        return 1 if passes < PROGRAMS else self.unroll * min(max(passes // (4 * PROGRAMS), 1), self.passes)

    def programs(self, n: int, group: int) -> int:
        """Programs that cover n elements."""
        return -(-n // (self.tile(group) * self.run(n, group)))


CONFIGS = (Config(), Config(passes=1), Config(warps=8), Config(unroll=4, passes=10))
# Where an operand needs coordinates, these cost more than the loop, and long code would only compile slowly.
BROADCAST_CONFIGS = (Config(unroll=2, passes=16), Config(warps=8, unroll=2, passes=16))


def configs(layout: Layout) -> tuple[Config, ...]:
    """The table of configurations for a layout; the first is the default."""
    return CONFIGS if not layout.sizes else BROADCAST_CONFIGS


def device_empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The one place where this backend allocates."""
    return torch.empty(shape, dtype=dtype, device=device)


def slots(tensors: Sequence[Tensor | None], number: int = 4) -> tuple[Tensor | None, ...]:
    """Fills up to a number of a kernel's pointer arguments; four are for parameters."""
    return (*tensors, *(None,) * (number - len(tensors)))


def group_size(dtype: torch.dtype) -> int:
    """How many neighbouring elements of a sample of `dtype` a lane handles: 16 bytes, at least one Philox block."""
    return 8 if dtype.itemsize == 2 else elements_per_block(dtype)


def key_arguments(
    key: Sequence[Tensor], device: torch.device
) -> tuple[str, Tensor | None, Tensor | None, int, int, int, int]:
    """A key as the kernels take it: (KEY, seed_ptr, offset_ptr, in_memory, k0, k1, offset).

    KEY is "value" for a key whose numbers are known here, "tensor" for one that lies in a uint64 tensor on the device.
    It is "state" for a generator's reservation, whose offsets count words. One compiled kernel serves a reservation
    whether its numbers are known or, under graph capture, lie in memory that each replay refills: a kernel first
    needed in a capture could not be loaded there.
    """
    if not Key(key).is_reservation:
        if on_device(key[0]):
            return "tensor", key[0].contiguous(), None, 1, 0, 0, 0
        seed, block = key[0].tolist()
        return "value", None, None, 0, seed & MASK32, seed >> 32, block
    seed, offset, intragraph = key
    if on_device(seed):
        return "state", seed, offset, 1, 0, 0, int(intragraph)
    words = (int(offset) + int(intragraph)) & _MASK64
    seed = int(seed) & _MASK64
    return "state", unread(device), unread(device), 0, seed & MASK32, seed >> 32, words


@functools.cache
def unread(device: torch.device) -> Tensor:
    """What the pointers to a reservation's numbers show while these are passed by value."""
    return torch.zeros(1, dtype=torch.int64, device=device)


def on_device(tensor: Tensor) -> bool:
    """Whether a key tensor must be read by the kernel, not here."""
    return tensor.device.type != "cpu"


def hardware() -> bool:
    """Whether the kernels may use NVIDIA's special-function unit: not on AMD, not in Triton's interpreter."""
    return not triton.knobs.runtime.interpret and triton.runtime.driver.active.get_current_target().backend == "cuda"


def _timing_works(device: torch.device) -> bool:
    return device.type != "cpu" and not (device.type == "cuda" and torch.cuda.is_current_stream_capturing())


# The tuned configuration of each kind of call: kernel, compile-time arguments, dtypes and device; never a size.
_tuned: dict[Any, Config] = {}


class Launched(NamedTuple):
    """A launch over elements as it has run.

    Attributes:
        numbers: the kernel's arguments between the tensors and the key's.
    """

    program: Program
    grid: tuple[int, ...]
    numbers: tuple[int, ...]

    def again(self, device: torch.device, tensors: Iterable[Tensor], key_words: Iterable[Any]) -> None:
        """Launches it over tensors of the same dtypes and layouts."""
        stream = torch._C._cuda_getCurrentRawStream(device.index)
        self.program(self.grid, stream, (*tensors, *self.numbers, *(w for w in key_words if w is not None)))


def launch_elements(
    kernel: Any,
    tensors: Sequence[Tensor | None],
    layout: Layout,
    n: int,
    group: int,
    key: Sequence[Tensor],
    constants: dict[str, Any],
    *,
    device: torch.device,
    tune: bool,
    config: Config | None = None,
    first_program: int = 0,
) -> Launched | None:
    """Launches a kernel of :mod:`engines.triton.elementwise` over n elements.

    Args:
        tensors: the kernel's leading pointer arguments.
        group: elements per lane, see :func:`group_size`.
        constants: the kernel's compile-time arguments that are not set here.
        tune: whether a large launch on a GPU may time the configurations, once for each kind of call.
        config: use this configuration.
        first_program: launch only the programs from this one on; their elements keep their numbers.

    Returns:
        What repeats the launch with other tensors of the same kind and another key, where that works without Triton.
    """
    key_kind, *key_words = key_arguments(key, device)
    constants = dict(
        constants,
        KINDS=layout.kinds,
        WIDE=layout.wide,
        WINDOW=layout.window,
        KEY=key_kind,
        HARDWARE=hardware(),
        enable_fp_fusion=False,
    )
    leading = (*tensors, layout.sizes, layout.strides, n, first_program)
    if config is None:
        config = configs(layout)[0]
        if tune and n >= TUNED_NUMEL:
            call = (kernel, *constants.values(), *(t.dtype for t in tensors if t is not None), device)
            if call not in _tuned and _timing_works(device):
                with current(device):
                    _tuned[call] = _fastest(kernel, leading, key_words, constants, n, group, configs(layout))
            # A graph captures what was tuned and loaded by the draws before it.
            config = _tuned.get(call, config)
    grid, run = (config.programs(n, group) - first_program,), config.run(n, group)
    program = launch(
        kernel,
        grid,
        device,
        *leading,
        run,
        *key_words,
        **constants,
        LANES=32 * config.warps,
        UNROLL=config.unroll,
        num_warps=config.warps,
    )
    if program is None:
        return None
    return Launched(program, grid, (*layout.sizes, *layout.strides, n, first_program, run))


def _fastest(
    kernel: Any,
    leading: Sequence[Any],
    key_words: Sequence[Any],
    constants: dict[str, Any],
    n: int,
    group: int,
    table: Sequence[Config],
) -> Config:
    """Times the configurations with Triton's autotuner. Every one stores the same sample."""
    choices = {
        triton.Config({"run": c.run(n, group), "LANES": 32 * c.warps, "UNROLL": c.unroll}, num_warps=c.warps): c
        for c in table
    }
    tuner = triton.autotune(list(choices), key=[])(kernel)
    names = dict(zip(("seed_ptr", "offset_ptr", "in_memory", "k0", "k1", "offset"), key_words, strict=True))
    tuner[lambda meta: (-(-n // (meta["LANES"] * group * meta["run"])),)](*leading, **names, **constants)
    return choices[tuner.best_config]
