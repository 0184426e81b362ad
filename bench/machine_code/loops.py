"""The kernels of draws that loop as a launch compiles them, and what a sample and an attempt cost."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

import torch

from rsample.kernels.engines.triton import elementwise
from rsample.kernels.engines.triton.loop_kernels import CONFIG, loop_backward_kernel, loop_forward_kernel
from rsample.kernels.laws.law import Law
from rsample.kernels.laws.rejection.noise import LoopNoise
from rsample.kernels.stream.layout import DENSE

from .elementwise import KEY, TRITON_NAMES, partial_sums, pointers
from .sass import Instruction, Sass, compile_for


def loop_forward_code(law: Law, dtype: torch.dtype, kinds: Sequence[str], target: str = "sm_90") -> Any:
    """The forward kernel; `kinds` are the layouts of the parameters."""
    assert isinstance(law.noise, LoopNoise)
    name = TRITON_NAMES[dtype]
    arguments = {
        **pointers(("out_ptr",), [name]),
        **pointers(("a_ptr", "b_ptr", "c_ptr", "d_ptr"), [name] * len(kinds)),
        **_common(target),
        "NOISE": law.noise.device,
        "TRANSFORM": law.device_function("transform"),
        **elementwise.bound_constants(law, dtype),
        "KINDS": tuple(kinds),
    }
    return compile_for(loop_forward_kernel, arguments, target, CONFIG.warps)


def loop_backward_code(law: Law, dtype: torch.dtype, outputs: Sequence[str], target: str = "sm_90") -> Any:
    """The backward kernel for dense gradients and parameters; `outputs` as the kernel takes them."""
    assert isinstance(law.noise, LoopNoise)
    name, operands = TRITON_NAMES[dtype], 1 + len(law.parameters)
    stored = [{"elements": name, "sum": partial_sums(dtype), "none": None}[output] for output in outputs]
    arguments = {
        **pointers(("a_out_ptr", "b_out_ptr", "c_out_ptr", "d_out_ptr"), stored),
        **pointers(("grad_ptr", "p_ptr", "q_ptr", "r_ptr", "s_ptr"), [name] * operands),
        **_common(target),
        "NOISE": law.noise.device,
        "TRANSFORM_GRAD": law.device_function("transform_grad"),
        "OUTPUTS": tuple(outputs),
        "KINDS": (DENSE,) * operands,
    }
    return compile_for(loop_backward_kernel, arguments, target, CONFIG.warps)


def _common(target: str) -> dict[str, Any]:
    return {
        "sizes": (),
        "strides": (),
        "n": "i64",
        "first_program": "i64",
        "run": "i32",
        **KEY,
        "WIDE": False,
        "WINDOW": False,
        "HARDWARE": not target.startswith("gfx"),
        "LANES": 32 * CONFIG.warps,
        "UNROLL": CONFIG.unroll,
    }


def fewest(body: list[Instruction]) -> int:
    """Instructions on the shortest way through a loop's body, inner loops left out where a branch leads past them."""
    addresses = [i.address for i in body]
    least = [1] + [len(body)] * (len(body) - 1)
    for k, instruction in enumerate(body[:-1]):
        ways = [k + 1]
        if instruction.target is not None:
            ways.append(bisect.bisect_left(addresses, instruction.target))
        for way in ways:
            if k < way < len(body):
                least[way] = min(least[way], least[k] + 1)
    return least[-1]


def loop_cost(sass: Sass) -> float:
    """Instructions of a sample whose every loop ends with its first round, as soon as a round can.

    The outermost loop goes over elements, each of the others is a noise's.
    """
    outer = max(sass.loops, key=len)
    return float(fewest(outer) + sum(fewest(loop) for loop in sass.loops if loop is not outer))
