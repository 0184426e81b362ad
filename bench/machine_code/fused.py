"""What the kernels of the examples of fused draws cost, of which a program handles one block of numbers."""

from __future__ import annotations

import importlib
from typing import Any
from unittest.mock import patch

from .sass import TARGETS, Sass, compile_for

WARPS = 4  # as a launch has them that does not say
# The kernels of each module of fused/, by what instructions.py calls them.
KERNELS = {
    "dropout_add": {"forward": "forward_kernel", "backward": "backward_kernel"},
    "langevin": {"forward": "forward_kernel", "backward": "backward_kernel"},
    "stochastic_rounding": {"forward": "step_kernel"},
}
DTYPES = {"dropout_add": "float32", "langevin": "float32", "stochastic_rounding": "bfloat16"}
_TYPES = {"seed": "u64", "offset": "u64", "n": "i32", "keep": "fp32", "rate": "fp32"}


def fused_code(module: str, kernel: str, target: str = "sm_90") -> Any:
    """One of the kernels, as it is launched for many numbers."""
    home = importlib.import_module(f"fused.{module}")
    function = getattr(home, KERNELS[module][kernel])
    pointers = [p.name for p in function.params if p.name.endswith("_ptr")]
    dtype = "bf16" if DTYPES[module] == "bfloat16" else "fp32"
    arguments = {**_TYPES, **dict.fromkeys(pointers, f"*{dtype}"), "BLOCK": home.BLOCK}
    # The functions that draw ask for the GPU that they are compiled for, which need not be there.
    with patch("triton.language.target_info.current_target", lambda: TARGETS[target]):
        return compile_for(function, arguments, target, WARPS, divisible=(*pointers, "n"))


def fused_cost(module: str, sass: Sass) -> float:
    """Instructions per number, those before and after the numbers included."""
    block: int = importlib.import_module(f"fused.{module}").BLOCK
    return len(sass.instructions) / (block // (32 * WARPS))
