"""The elementwise kernels of a law as a launch compiles them, and what their hot loop costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rsample.kernels.engines.triton import elementwise, launch
from rsample.kernels.engines.triton.elementwise import elementwise_backward_kernel, elementwise_forward_kernel
from rsample.kernels.engines.triton.launch import Config
from rsample.kernels.laws.law import Law
from rsample.kernels.stream.layout import DENSE, SCALAR

from .sass import Sass, compile_for

TRITON_NAMES = {torch.float32: "fp32", torch.float64: "fp64", torch.bfloat16: "bf16", torch.float16: "fp16"}

# A key whose numbers are known at the launch.
KEY = {
    "seed_ptr": None,
    "offset_ptr": None,
    "in_memory": "i32",
    "k0": "u32",
    "k1": "u32",
    "offset": "u64",
    "KEY": "value",
}


def pointers(names: Sequence[str], dtypes: Sequence[str | None]) -> dict[str, str | None]:
    """Types of a kernel's pointer arguments: those of `dtypes`, and None for the names that are left."""
    padded = (*dtypes, *(None,) * (len(names) - len(dtypes)))
    return {name: dtype and "*" + dtype for name, dtype in zip(names, padded, strict=True)}


def partial_sums(dtype: torch.dtype) -> str:
    """The Triton type in which gradients are summed."""
    return "fp64" if dtype == torch.float64 else "fp32"


def forward_code(
    law: Law,
    dtype: torch.dtype,
    kinds: Sequence[str],
    target: str = "sm_90",
    config: Config = launch.CONFIGS[0],
) -> Any:
    """The forward kernel.

    Args:
        kinds: the layout of each parameter, as :mod:`rsample.kernels.stream.layout` names it.
    """
    name = TRITON_NAMES[dtype]
    rank = 2 * any(kind not in (SCALAR, DENSE) for kind in kinds)
    arguments = {
        **pointers(("out_ptr", "log_prob_ptr"), [name] * law.outputs),
        **pointers(("a_ptr", "b_ptr", "c_ptr", "d_ptr"), [name] * len(kinds)),
        "sizes": ("i32",) * rank,
        "strides": ("i32",) * (rank * len(kinds)),
        "n": "i64",
        "first_program": "i64",
        "run": "i32",
        **KEY,
        **law.device_constants(),
        **elementwise.bound_constants(law, dtype),
        "KINDS": tuple(kinds),
        "WIDE": False,
        "WINDOW": False,
        "HARDWARE": not target.startswith("gfx"),
        "LANES": 32 * config.warps,
        "UNROLL": config.unroll,
    }
    return compile_for(elementwise_forward_kernel, arguments, target, config.warps)


def backward_code(
    law: Law,
    dtype: torch.dtype,
    outputs: Sequence[str],
    target: str = "sm_90",
    config: Config = launch.CONFIGS[0],
) -> Any:
    """The backward kernel in the sample's order, for dense gradients and parameters.

    Args:
        outputs: for each parameter "elements", "sum" or "none", as the kernel takes them.
    """
    operands = len(law.cotangents) + (0 if law.linear else len(law.parameters))
    name = TRITON_NAMES[dtype]
    stored = [{"elements": name, "sum": partial_sums(dtype), "none": None}[output] for output in outputs]
    arguments = {
        **pointers(("a_out_ptr", "b_out_ptr", "c_out_ptr", "d_out_ptr"), stored),
        **pointers(("grad_ptr", "p_ptr", "q_ptr", "r_ptr", "s_ptr", "t_ptr"), [name] * operands),
        "sizes": (),
        "strides": (),
        "n": "i64",
        "first_program": "i64",
        "run": "i32",
        **KEY,
        **law.device_grad_constants(),
        "OUTPUTS": tuple(outputs),
        "KINDS": (DENSE,) * operands,
        "WIDE": False,
        "WINDOW": False,
        "HARDWARE": not target.startswith("gfx"),
        "LANES": 32 * config.warps,
        "UNROLL": config.unroll,
    }
    return compile_for(elementwise_backward_kernel, arguments, target, config.warps)


def cost(sass: Sass, dtype: torch.dtype, config: Config = launch.CONFIGS[0]) -> float:
    """Instructions per sample of the hot loop."""
    return len(sass.hot_loop) / (config.unroll * launch.group_size(dtype))
