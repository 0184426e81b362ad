"""One draw from checked arguments: the entry of the kernels layer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import keys
from .autograd import AffineDraw, Draw, PathwiseDraw, wants_derivative
from .maps.map import Map
from .noise import SIGNIFICAND_BITS, elements_per_block
from .ops import Operators, Outputs


class Sampler:
    """Draws of one map. Make one a process for each map: it defines the map's operators.

    Calling it checks every argument before anything is drawn or any generator state is consumed.
    """

    def __init__(self, map: Map) -> None:
        self.map = map
        self.operators = Operators(map)
        self._function = AffineDraw if map.linear else PathwiseDraw if map.cotangents else Draw
        self.operators.register_autograd(self._autograd_kernel)
        # The draws of a sample with its log-density, pathwise and at a constant sample; None where there is no density.
        self.with_log_prob: Sampler | None = None
        self.with_score: Sampler | None = None
        if map.density is not None and map.joint is None:
            self.with_score = Sampler(map.with_score())
            if map.density.reference_grad is not None:
                self.with_log_prob = Sampler(map.with_log_prob())

    def __call__(
        self,
        params: Sequence[Tensor],
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        key: Tensor | None = None,
        differentiable: bool = False,
    ) -> Any:
        """Draw one sample.

        Args:
            params: the map's parameters, floating-point tensors that broadcast to `shape`, on one device
                (0-dim CPU tensors go with any device).
            shape: of the sample.
            generator: reserve the key from this generator instead of the device's default one.
            key: draw exactly the sample of this key, a uint64 tensor (seed, offset); excludes `generator`.
            differentiable: let gradients reach the parameters.

        Returns:
            A contiguous tensor of `shape`, of the parameters' promoted dtype; of a joint map two, the sample and its
            log-density.

        Raises:
            TypeError: a parameter, key or generator of the wrong type or a parameter that is not floating-point.
            ValueError: both `key` and `generator`, or a key of the wrong shape or dtype.
            RuntimeError: parameters, key or generator on different devices.
        """
        params, dtype = self._checked(params)
        device = params[0].device
        if key is None:
            generator = keys.check_generator(generator, device)
        elif generator is not None:
            raise ValueError("key and generator exclude each other: a key already says which sample is drawn")
        else:
            keys.check_key(key, device)

        compiling = torch.compiler.is_compiling()
        transformed = not compiling and torch._C._are_functorch_transforms_active()
        marker = None
        if transformed and not (key is not None and torch._C._functorch.is_batchedtensor(key)):
            # rand draws no number here: it gives a mapped tensor in the 'different' mode, a plain one in the 'same'
            # mode, and otherwise raises vmap's own error. A mapped key says itself how examples differ.
            marker = torch.rand(0, device=device)

        if key is not None:
            taken: keys.Key = (key,)
        else:
            traced = compiling or torch._C._len_torch_dispatch_stack() > 0
            # A CUDA generator is asked for a number of blocks, in which vmap counts.
            traced = traced or (transformed and device.type != "cuda")
            taken = self._reserve(keys.reserve_traceable if traced else keys.reserve, device, shape, dtype, generator)

        if compiling:
            if not differentiable:
                params = [p.detach() for p in params]
            return self.operators.forward_op(list(taken), *params, shape, dtype)
        if transformed:
            function = self._function if differentiable else Draw
            return function.apply(self.operators, taken, marker, tuple(shape), dtype, *params)
        if not wants_derivative(params):
            return self.operators.forward(taken, params, shape, dtype)
        if differentiable:
            return self._function.apply(self.operators, taken, None, tuple(shape), dtype, *params)
        with torch._C._AutoDispatchBelowAutograd():
            return self.operators.forward(taken, params, shape, dtype)

    def _autograd_kernel(self, key: list[Tensor], *args: Any) -> Outputs:
        *params, shape, dtype = args
        if wants_derivative(params):
            return self._function.apply(self.operators, tuple(key), None, tuple(shape), dtype, *params)
        return self.operators.forward(key, params, shape, dtype)

    @staticmethod
    def _reserve(
        reserve: Callable[..., keys.Key],
        device: torch.device,
        shape: Sequence[int],
        dtype: torch.dtype,
        generator: torch.Generator | None,
    ) -> keys.Key:
        numel = 1
        for size in shape:
            numel *= size
        per_block = elements_per_block(dtype)
        return reserve(device, (numel + per_block - 1) // per_block, generator)

    def _checked(self, params: Sequence[Tensor]) -> tuple[Sequence[Tensor], torch.dtype]:
        """The parameters on one device, and the dtype they promote to."""
        dtype, device = params[0].dtype, params[0].device
        for p in params:
            if p.dtype != dtype or p.device != device or dtype not in SIGNIFICAND_BITS:
                return self._reconciled(params)
        return params, dtype

    def _reconciled(self, params: Sequence[Tensor]) -> tuple[Sequence[Tensor], torch.dtype]:
        """The parameters brought to one device and their promoted dtype, or an error that names what is wrong."""
        named = list(zip(self.map.parameters, params, strict=True))
        for name, p in named:
            if p.dtype not in SIGNIFICAND_BITS:
                raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, got {p.dtype}")
        # As everywhere in torch, a 0-dim CPU tensor goes with tensors of any device.
        anchors = [p.device for p in params if not (p.dim() == 0 and p.device.type == "cpu")] or [params[0].device]
        if any(device != anchors[0] for device in anchors):
            places = ", ".join(f"{name} is on {p.device}" for name, p in named)
            raise RuntimeError(f"parameters must be on one device, but {places}")
        dtype = functools.reduce(torch.promote_types, (p.dtype for p in params))
        return [p.to(anchors[0]) for p in params], dtype
