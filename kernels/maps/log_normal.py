"""Log-normal: exp(loc + scale * eps), eps standard normal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..devicemath import divide, exp, log
from ..language import tl, triton
from ..noise import NORMAL
from .map import Density, Map
from .normal import HALF_LOG_2_PI, normal_log_prob, standard_normal_log_density_device
from .support import POSITIVE


def log_normal_reference(eps: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return torch.exp(torch.addcmul(loc, scale, eps))


def log_normal_reference_grad(eps: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    grad_log = grad * torch.exp(torch.addcmul(loc, scale, eps))
    return grad_log, grad_log * eps


def log_normal_log_prob_reference(eps: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return -0.5 * eps * eps - HALF_LOG_2_PI - torch.log(scale) - torch.addcmul(loc, scale, eps)


def log_normal_log_prob_reference_grad(eps: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    return -grad, -grad * (eps + torch.reciprocal(scale))


def log_normal_reference_score(eps: Tensor, grad: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    unit = grad / scale
    return unit * eps, unit * (eps * eps - 1)


def log_normal_log_prob_at(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    y = torch.log(x)
    return normal_log_prob(y, loc, scale) - y


@triton.jit
def log_normal_transform(eps, loc, scale, HARDWARE: tl.constexpr):
    return exp(tl.fma(scale, eps, loc), HARDWARE)


@triton.jit
def log_normal_transform_grad(eps, grad, loc, scale, HARDWARE: tl.constexpr):
    grad_log = grad * exp(tl.fma(scale, eps, loc), HARDWARE)
    return grad_log, grad_log * eps


@triton.jit
def log_normal_log_prob(eps, loc, scale, HARDWARE: tl.constexpr):
    return standard_normal_log_density_device(eps, HARDWARE) - log(scale, HARDWARE) - tl.fma(scale, eps, loc)


@triton.jit
def log_normal_log_prob_grad(eps, grad, loc, scale, HARDWARE: tl.constexpr):
    return -grad, -tl.fma(grad, eps, divide(grad, scale, HARDWARE))


@triton.jit
def log_normal_score(eps, grad, loc, scale, HARDWARE: tl.constexpr):
    unit = divide(grad, scale, HARDWARE)
    return unit * eps, unit * tl.fma(eps, eps, -1.0)


LOG_NORMAL_MAP = Map(
    name="log_normal",
    parameters=("loc", "scale"),
    noise=NORMAL,
    reference=log_normal_reference,
    reference_grad=log_normal_reference_grad,
    support=POSITIVE,
    transform=log_normal_transform,
    transform_grad=log_normal_transform_grad,
    density=Density(
        at=log_normal_log_prob_at,
        reference=log_normal_log_prob_reference,
        reference_grad=log_normal_log_prob_reference_grad,
        reference_score=log_normal_reference_score,
        transform=log_normal_log_prob,
        transform_grad=log_normal_log_prob_grad,
        score=log_normal_score,
    ),
)
