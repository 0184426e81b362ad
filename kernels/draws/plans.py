"""What draws of one kind have in common, found out once.

The kind of a draw is its shape and the types, dtypes, devices, shapes and strides of its parameters. Programs draw few
kinds, over and over: from the second draw of a kind on, its checks, layouts and launch are those of the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from ..engines.outputs import Outputs, Run
from ..engines.triton.direct_launch import launches_directly
from ..engines.triton.launch import Launched, device_empty, key_arguments
from ..runtime.backend import forced
from ..stream.noise import SIGNIFICAND_BITS

# Of (parameters, shape, dtype); None where there is nothing to be gained.
Planner = Callable[[Sequence[Tensor], torch.Size, torch.dtype], Run | None]


class Plan(NamedTuple):
    """A kind of draw.

    Attributes:
        run: the draw.
        blocks: the Philox blocks that it takes.
        like: the shape, dtype and device of each parameter.
        backend: that of a block of `use_backend` in which it is drawn.
    """

    run: Run
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    blocks: int
    like: list[tuple[torch.Size, torch.dtype, torch.device]]
    backend: str | None


# Kinds of draws that one law keeps: more than a program has that does not draw another shape each time.
MOST = 512


class Plans:
    """The plans of one law's draws."""

    def __init__(self, planner: Planner, elements_per_block: Callable[[torch.dtype], int]) -> None:
        self._planner, self._per_block = planner, elements_per_block
        # False for a kind that was drawn once, None for one of which there is no plan.
        self._plans: dict[Any, Plan | bool | None] = {}

    def find(self, params: Sequence[Tensor], shape: Sequence[int]) -> Plan | None:
        """The plan of a draw that is not watched; None where it has to go the long way."""
        kind: list[Any] = [tuple(shape), forced()]
        for p in params:
            kind += (type(p), p.dtype, p.device, p.shape, p.stride())
        found = tuple(kind)
        plan = self._plans.get(found, True)
        if isinstance(plan, bool):
            self._meet(found, params, shape)
            return None
        return plan if plan is not None and all(map(_is_readable, params)) else None

    def _meet(self, kind: Any, params: Sequence[Tensor], shape: Sequence[int]) -> None:
        if kind not in self._plans:
            if len(self._plans) >= MOST:
                self._plans.clear()
            self._plans[kind] = False
            return
        plan = None
        if _alike(params):
            device, dtype, shape = params[0].device, params[0].dtype, torch.Size(shape)
            run = self._planner(params, shape, dtype)
            if run is not None:
                blocks = -(-shape.numel() // self._per_block(dtype))
                like = [(p.shape, p.dtype, p.device) for p in params]
                plan = Plan(run, tuple(shape), dtype, device, blocks, like, forced())
        self._plans[kind] = plan


def _alike(params: Sequence[Tensor]) -> bool:
    """Whether a kernel reads all parameters as they are."""
    dtype, device = params[0].dtype, params[0].device
    return dtype in SIGNIFICAND_BITS and all(
        type(p) in (Tensor, Parameter) and p.dtype == dtype and p.device == device and not p.is_meta and _is_readable(p)
        for p in params
    )


def _is_readable(param: Tensor) -> bool:
    """Whether a kernel can read it where it lies: it has memory, aligned to 16 bytes, and no negation is put off."""
    if not torch._C._has_storage(param) or param.is_neg():
        return False
    address = param.data_ptr()
    return address != 0 and not address & 15


class TritonDraw:
    """A draw by one kernel, launched as it was before.

    Args:
        run: `(key, parameters, shape, dtype) -> (outputs, Launched)`, the long way.
        joint: whether the draw gives a log-density, too.
    """

    def __init__(
        self,
        run: Callable[..., tuple[tuple[Tensor, ...], Launched | None]],
        joint: bool,
        shape: torch.Size,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._run, self._joint, self._shape, self._dtype, self._device = run, joint, tuple(shape), dtype, device
        self.launched: dict[str, Launched] = {}  # by the kind of key

    def __call__(self, key: Sequence[Tensor], params: Sequence[Tensor]) -> Outputs:
        device = self._device
        kind, *words = key_arguments(key, device)
        launched = self.launched.get(kind)
        if launched is None or not launches_directly(device):
            outputs, launched = self._run(key, params, self._shape, self._dtype)
            if launched is not None:
                self.launched[kind] = launched
            return outputs if self._joint else outputs[0]
        out = device_empty(self._shape, self._dtype, device)
        if self._joint:
            log_prob = device_empty(self._shape, self._dtype, device)
            launched.again(device, (out, log_prob, *params), words)
            return out, log_prob
        launched.again(device, (out, *params), words)
        return out
