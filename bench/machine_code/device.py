"""What the device functions for other people's kernels cost: a loop that does nothing but draw and store."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from rsample.kernels import device

from .sass import Sass, compile_for

BLOCK = 2048
WARPS = 4


@triton.jit
def draw_kernel(out_ptr, seed, offset, tiles, DRAW: tl.constexpr, HARDWARE: tl.constexpr, BLOCK: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * tiles * BLOCK
    for _ in range(tiles):
        # As a launch tells the compiler, which looks at the pointer.
        ptrs = tl.multiple_of(out_ptr + start + tl.arange(0, BLOCK), 16)
        tl.store(ptrs, DRAW(seed, offset, start, BLOCK, HARDWARE=HARDWARE))
        start += BLOCK


def device_code(name: str, target: str = "sm_90") -> Any:
    """The kernel that draws by one of the functions."""
    arguments = {
        "out_ptr": "*u32" if name == "bits" else "*fp32",
        "seed": "u64",
        "offset": "u64",
        "tiles": "i32",
        "DRAW": getattr(device, name),
        "HARDWARE": target.startswith("sm_"),
        "BLOCK": BLOCK,
    }
    return compile_for(draw_kernel, arguments, target, WARPS)


def device_cost(sass: Sass) -> float:
    """Instructions per number."""
    return len(sass.hot_loop) / (BLOCK // (32 * WARPS))
