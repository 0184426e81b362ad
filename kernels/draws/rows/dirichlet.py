"""Dirichlet draws: the softmax of the logarithms of gamma numbers, and its implicit gradient.

Coordinate i, whose own law is the beta law of its concentration and the sum of the others, moves with its concentration
as that law says, and the others give way in proportion: dx = x (L da - sum(x L da)), L_i = d logit(x_i) / da_i. Source:
Figurnov, Mohamed and Mnih, "Implicit Reparameterization Gradients" (2018), and, that this is a pathwise gradient,
Jankowiak and Obermeyer, "Pathwise Derivatives Beyond the Reparameterization Trick" (2018). It is a function of the
sample, which backward draws again from the key.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import Parameter

from ...engines.cpu import cpp
from ...engines.cpu import elementwise as compiled
from ...engines.cpu.dirichlet_gradient import DirichletGradient
from ...laws.law import Law
from ...laws.log_gamma import LOG_GAMMA_LAW, log_gamma_reference
from ...laws.rejection.beta_gradient import beta_gradients, beta_range
from ...laws.rejection.noise import NOTHING
from ...runtime.backend import backend_for, forced
from ...stream.noise import compute_dtype
from .. import native_core
from ..draw import Sampler
from ..ops import LawOperators, draw_engine, gradient_engine, planner
from ..plans import Plans

_LOG_HALF = -0.6931471805599453


def others(concentration: Tensor) -> Tensor:
    """The sum of the other concentrations of each row."""
    return (concentration.sum(-1, keepdim=True, dtype=torch.float64) - concentration).to(concentration.dtype)


def share_gradient(
    log_share: Tensor, log_rest: Tensor, concentration: Tensor, other: Tensor, number: int = 2
) -> Tensor:
    """d logit(x_i) / d concentration_i.

    Args:
        log_share: log(x).
        log_rest: log(1 - x) where x is above 1/2.
        other: the sum of the other concentrations.
        number: as of :func:`laws.rejection.beta_gradient.beta_gradients`: 1 where a loop takes elements case by case.
    """
    a, b = beta_range(concentration), beta_range(other)
    log_total = torch.log(a + b)
    upper = log_share > _LOG_HALF
    share = torch.where(upper, _LOG_HALF, log_share)
    low, high = share + (log_total - torch.log(a)), torch.where(upper, log_rest, 0.0) + (log_total - torch.log(b))
    # Large only where the draw is all but impossible.
    low, high = torch.clamp(low, -1e16, 60.0), torch.clamp(high, -1e16, 60.0)
    delta = torch.where(upper, -torch.expm1(high) / a, torch.expm1(low) / b)
    xi = torch.where(upper, torch.log1p(torch.clamp(b * delta, -0.99, 1e35)), low)
    eta = torch.where(upper, high, torch.log1p(-torch.exp(share)) + (log_total - torch.log(b)))
    return beta_gradients(delta, xi, eta, a, b, number)[0]


def _own_gradient(
    grad: Tensor, concentration: Tensor, other: Tensor, log_share: Tensor, log_rest: Tensor, number: int = 2
) -> Tensor:
    return grad * torch.exp(log_share) * share_gradient(log_share, log_rest, concentration, other, number)


def _reference_grad(
    noise: Tensor, grad: Tensor, concentration: Tensor, other: Tensor, log_share: Tensor, log_rest: Tensor
) -> tuple[Tensor, ...]:
    nothing = torch.zeros_like(grad)
    return _own_gradient(grad, concentration, other, log_share, log_rest), nothing, nothing, nothing


# The same by a loop on the CPU.
GRADIENT = DirichletGradient(functools.partial(_own_gradient, number=1))


def _share(noise: Tensor, concentration: Tensor, other: Tensor, log_share: Tensor, log_rest: Tensor) -> Tensor:
    return torch.exp(log_share)


# Elementwise on what a row has given, so that it makes a kernel on a GPU.
_SHARES = Law(
    name="dirichlet_shares",
    parameters=("concentration", "others", "log_share", "log_rest"),
    noise=NOTHING,
    reference=_share,
    reference_grad=_reference_grad,
)


class MovingShares(Function):
    """The logarithms of a sample as a function of the concentrations: apply(log_shares, concentrations), of one shape.

    Values are given; every order of derivative is the implicit one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(log_shares: Tensor, concentration: Tensor) -> Tensor:
        return log_shares.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        shares, gradient = _moving(*ctx.saved_tensors)
        return None, gradient * (grad - shares * grad.sum(-1, keepdim=True))

    @staticmethod
    def jvp(ctx: Any, _: Any, tangent: Tensor) -> Tensor:
        shares, gradient = _moving(*ctx.saved_tensors)
        moved = gradient * tangent
        return moved - (shares * moved).sum(-1, keepdim=True)


def _moving(log_shares: Tensor, concentration: Tensor) -> tuple[Tensor, Tensor]:
    """A sample as a function of the concentrations, and d logit(x_i) / d concentration_i at it."""
    moving = MovingShares.apply(log_shares, concentration)
    shares = torch.exp(moving)
    top = torch.where(moving == moving.amax(-1, keepdim=True), 0.0, shares).sum(-1, keepdim=True)
    # Where there is one coordinate only, nothing moves.
    log_rest = torch.log(torch.clamp(top, torch.finfo(top.dtype).tiny))
    return shares, share_gradient(moving, log_rest, concentration, others(concentration))


def _reference(noise: tuple[Tensor, Tensor], concentration: Tensor) -> Tensor:
    return torch.softmax(log_gamma_reference(noise, concentration), -1)


def _row_gradient(noise: tuple[Tensor, Tensor], grad: Tensor, concentration: Tensor) -> tuple[Tensor]:
    concentration = concentration.expand(grad.shape)
    logs = log_gamma_reference(noise, concentration.detach())
    shares, gradient = _moving(torch.log_softmax(logs, -1), concentration)
    return (gradient * shares * (grad - (shares * grad).sum(-1, keepdim=True)),)


def _row_tangent(noise: tuple[Tensor, Tensor], concentration: Tensor, tangent: Tensor) -> Tensor:
    logs = log_gamma_reference(noise, concentration.detach())
    shares, gradient = _moving(torch.log_softmax(logs, -1), concentration.expand(logs.shape))
    moved = gradient * tangent
    return shares * (moved - (shares * moved).sum(-1, keepdim=True))


_LAW = replace(
    LOG_GAMMA_LAW, name="dirichlet", reference=_reference, reference_grad=_row_gradient, tangent=_row_tangent
)


class DirichletOperators(LawOperators):
    """`rsample::dirichlet` and its gradient, whose kernels are those of the gamma numbers and of `_SHARES`."""

    def __init__(self, law: Law) -> None:
        super().__init__(law)
        self._logs: Callable[..., Any] = draw_engine(
            LOG_GAMMA_LAW, Plans(planner(LOG_GAMMA_LAW), law.noise.elements_per_block)
        )
        self._of_shares = gradient_engine(_SHARES)
        self.run_forward = self._draw  # type: ignore[method-assign]
        self.plans = Plans(
            lambda params, shape, dtype: lambda key, given: self._draw(key, given, shape, dtype),
            law.noise.elements_per_block,
        )
        self.run_backward = self._gradient  # type: ignore[method-assign]

    def _draw(
        self, key: Sequence[Tensor], params: Sequence[Tensor], shape: Sequence[int], dtype: torch.dtype
    ) -> Tensor:
        # Logarithms of small numbers are large, too large for the resolution of float16 and bfloat16.
        compute = compute_dtype(dtype)
        logs = self._logs(key, [p.to(compute) for p in params], shape, compute)
        return torch.softmax(logs, -1).to(dtype).clamp_(min=torch.finfo(dtype).tiny)

    def _gradient(
        self, key: Sequence[Tensor], given: Sequence[Tensor], params: Sequence[Tensor], needs: Sequence[bool]
    ) -> list[Tensor]:
        compute = compute_dtype(given[0].dtype)
        grad, concentration = given[0].to(compute), params[0].to(compute)
        if grad.numel() == 0:
            return [torch.zeros_like(params[0])]
        logs = self._logs(key, (concentration,), grad.shape, compute)
        if backend_for(grad.device, grad.numel(), (grad, concentration)) == "compiled":
            result = GRADIENT(grad, concentration.expand(grad.shape), logs)
            if result is not None:
                return [result.sum_to_size(params[0].shape).to(params[0].dtype)]
        return [self._gradient_of_logs(key, grad, concentration, logs).to(params[0].dtype)]

    def _gradient_of_logs(self, key: Sequence[Tensor], grad: Tensor, concentration: Tensor, logs: Tensor) -> Tensor:
        """As `engines/cpu/dirichlet.h`, but that what draws have in common may be summed up."""
        top, index = logs.max(-1, keepdim=True)
        # Beside the greatest, which is 1: what is left of it, and how it moves, keep their precision.
        small = torch.exp_(logs - top).scatter_(-1, index, 0.0)
        rest = small.sum(-1, keepdim=True)
        log_sum = torch.log1p(rest)
        log_rest = torch.log(rest.clamp(min=torch.finfo(grad.dtype).tiny)) - log_sum
        grad = grad - grad.gather(-1, index)
        grad -= (small * grad).sum(-1, keepdim=True) / (1 + rest)
        operands = (concentration, others(concentration), logs - (top + log_sum), log_rest)
        (result,) = self._of_shares(key, (grad,), operands, (True, False, False, False))
        return result


class DirichletLaw(native_core.NativeLaw):
    """The draws of Dirichlet as the native core knows them."""

    def __init__(self, operators: LawOperators) -> None:
        super().__init__(operators)
        # By dtype, and for few numbers and for many: where the function for gamma numbers lies, its program, and where
        # that for gradients lies, 0 as long as it is not built.
        self._functions: dict[tuple[torch.dtype, bool], tuple[int, int, int]] = {}

    def draw(self, params: Sequence[Tensor], shape: Sequence[int], differentiable: bool) -> Any:
        core, (concentration,) = native_core.CORE, params
        if core is None or type(concentration) not in (Tensor, Parameter) or not concentration.is_cpu:
            return None
        dtype, numel = concentration.dtype, math.prod(shape)
        functions = self._functions.get((dtype, numel >= compiled.INTERPRETED_NUMEL))
        if functions is None or (not functions[-1] and GRADIENT.built(dtype)):
            functions = self._found(dtype, numel)
        return None if functions is None else core.dirichlet(self, *functions, concentration, shape, differentiable)

    def _found(self, dtype: torch.dtype, numel: int) -> tuple[int, int, int] | None:
        if forced() is not None or dtype not in cpp.TYPES:
            return None
        functions = compiled.functions(LOG_GAMMA_LAW, dtype, numel)
        if functions is None:
            return None
        found = (*native_core.addresses(functions.forward), native_core.addresses(GRADIENT.built(dtype))[0])
        self._functions[dtype, numel >= compiled.INTERPRETED_NUMEL] = found
        return found

    def gradients(
        self,
        words: Tensor,
        grads: Sequence[Tensor | None],
        saved: Sequence[Tensor],
        shape: tuple[int, ...],
        sizes: tuple[tuple[int, ...], ...],
        needs: tuple[bool, ...],
        teaches: bool,
    ) -> tuple[Tensor | None, ...]:
        """The gradient where the core's own does not do; `saved` begins with the concentration."""
        return super().gradients(words, grads, saved[:1], shape, sizes, needs, teaches)


DIRICHLET = Sampler(_LAW, DirichletOperators, DirichletLaw)
