"""What a draw costs in a kernel as Inductor generates it: no loop, a few samples per lane."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from rsample.kernels.engines.triton.inlined import noise_of_tile, sample
from rsample.kernels.laws.normal import NORMAL_LAW

from .elementwise import TRITON_NAMES
from .sass import Sass, compile_for

BLOCK = 1024
WARPS = 4


@triton.jit
def generated_kernel(
    key_ptr,
    loc_ptr,
    scale_ptr,
    out_ptr,
    BLOCK: tl.constexpr,
    DTYPE: tl.constexpr,
    NOISE: tl.constexpr,
    TRANSFORM: tl.constexpr,
    HARDWARE: tl.constexpr,
):
    """relu(sample) * 2 + 1, in the words of generated code."""
    xoffset = tl.program_id(0) * BLOCK
    x0 = xoffset + tl.arange(0, BLOCK)[:]
    tmp4 = tl.load(loc_ptr + (x0), None).to(tl.float32)
    tmp5 = tl.load(scale_ptr + (x0), None).to(tl.float32)
    tmp0 = tl.load(key_ptr)
    tmp1 = tl.load(key_ptr + 1)
    tmp2 = (x0).to(tl.int32)
    tmp3 = noise_of_tile(tmp0, tmp1, tmp2, NOISE, DTYPE, 0, True, HARDWARE)
    tmp6 = sample((tmp3,), (tmp4, tmp5), TRANSFORM, None, None, None, DTYPE, tl.float32, HARDWARE)
    tmp8 = tl.maximum(0, tmp6, tl.PropagateNan.ALL)
    tl.store(out_ptr + (x0), tmp8 * 2.0 + 1.0, None)


def generated_code(target: str, dtype: torch.dtype = torch.float32) -> Any:
    """The kernel of a Normal draw."""
    name = TRITON_NAMES[dtype]
    arguments = {
        "key_ptr": "*u64",
        "loc_ptr": f"*{name}",
        "scale_ptr": f"*{name}",
        "out_ptr": f"*{name}",
        "BLOCK": BLOCK,
        "DTYPE": tl.dtype(name),
        "NOISE": NORMAL_LAW.noise.device,
        "TRANSFORM": NORMAL_LAW.device_function("transform"),
        "HARDWARE": target.startswith("sm_"),
    }
    pointers = [name for name in arguments if name.endswith("_ptr")]
    return compile_for(generated_kernel, arguments, target, WARPS, pointers, contracted=True)


def generated_cost(sass: Sass) -> float:
    """Instructions per sample, of the whole kernel."""
    return sum(i.opcode != "NOP" for i in sass.instructions) / (BLOCK // (32 * WARPS))
