"""Constant tensors that draws read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..runtime.backend import CPU
from .keys import watched


def constant(make: Callable[..., Any], like: Tensor, *arguments: int) -> Any:
    """`make(*arguments, dtype=, device=)` for the dtype and device of a tensor.

    On the CPU it is kept for the next draw, unless what is made is being watched: it must not be written to.
    """
    if like.device == CPU and not watched():
        return _kept(make, like.dtype, *arguments)
    return make(*arguments, dtype=like.dtype, device=like.device)


@functools.lru_cache(maxsize=64)
def _kept(make: Callable[..., Any], dtype: torch.dtype, *arguments: int) -> Any:
    # A tensor made in inference mode is not for use outside of it.
    with torch.inference_mode(False):
        return make(*arguments, dtype=dtype, device=CPU)


def zero_and_one(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.zeros((), dtype=dtype, device=device), torch.ones((), dtype=dtype, device=device)


def one_half(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((), 0.5, dtype=dtype, device=device)
