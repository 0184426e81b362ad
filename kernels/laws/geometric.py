"""Geometric: floor(E / L), the failures before the first success, E standard exponential.

L = -log(1 - p) is the rate at which the probability of failures alone decays.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..formula.devicemath import divide, exp, log, log1p, negative
from ..formula.special import log_chances, log_chances_of_logits
from ..runtime.language import HAS_TRITON, tl, triton
from ..stream.noise import EXPONENTIAL, open_unit_device
from .map import Density, Map
from .support import HALF_LINE

if HAS_TRITON:
    from triton.language.extra.cuda import libdevice

# A rate from logits is greater by this, so that no sample of float32 or float64 overflows; more changes no other rate.
_LEAST_RATE_32, _LEAST_RATE_64 = 1.5e-37, 1e-306
_DEVICE_LEAST_RATE_32, _DEVICE_LEAST_RATE_64 = tl.constexpr(_LEAST_RATE_32), tl.constexpr(_LEAST_RATE_64)


def _probs_rate(probs: Tensor) -> Tensor:
    # Of either sign at 0, as the processor or the vectors' logarithm like: the sample's would follow.
    return torch.abs(torch.log1p(-probs))


def _logits_rate(logits: Tensor) -> Tensor:
    # The sample is 0 with a rate beyond 50.
    return torch.log1p(torch.exp(torch.clamp(logits, -1e4, 80.0)))


def _failures_log_prob(failures: Tensor, rate: Tensor) -> Tensor:
    return torch.where(failures > 0, -failures * rate, 0.0)


def geometric_probs_reference(x: Tensor, probs: Tensor) -> Tensor:
    return torch.floor(x / _probs_rate(probs))


def geometric_probs_log_prob_reference(x: Tensor, probs: Tensor) -> Tensor:
    return torch.log(probs) + _failures_log_prob(geometric_probs_reference(x, probs), _probs_rate(probs))


def geometric_probs_reference_score(x: Tensor, grad: Tensor, probs: Tensor) -> tuple[Tensor]:
    failures = geometric_probs_reference(x, probs)
    # No failure where p is 1.
    return (grad * (1 / probs - torch.where(failures > 0, failures / (1 - probs), 0.0)),)


def geometric_logits_reference(x: Tensor, logits: Tensor) -> Tensor:
    least = _LEAST_RATE_64 if x.dtype == torch.float64 else _LEAST_RATE_32
    return torch.floor(x / (_logits_rate(logits) + least))


def geometric_logits_log_prob_reference(x: Tensor, logits: Tensor) -> Tensor:
    rate = _logits_rate(logits)
    # log p = -log(1 + exp(-logits))
    log_p = -torch.log1p(torch.exp(-torch.abs(logits))) + torch.where(logits < 0, logits, 0.0)
    return log_p + _failures_log_prob(geometric_logits_reference(x, logits), rate)


def geometric_logits_reference_score(x: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    failure = 1 / (1 + torch.exp(logits))
    return (grad * (failure - geometric_logits_reference(x, logits) * (1 / (1 + torch.exp(-logits)))),)


def geometric_logits_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Log-mass of x failures."""
    return log_chances_of_logits(torch.ones_like(x), x, logits)


def geometric_probs_log_prob_at(x: Tensor, probs: Tensor) -> Tensor:
    """Log-mass of x failures."""
    return log_chances(torch.ones_like(x), x, probs)


def geometric_probs_entropy(probs: Tensor) -> Tensor:
    """-log(p) - (1 - p) log(1 - p) / p."""
    return -torch.log(probs) - (1 - probs) * torch.log1p(-torch.where(probs == 1, 0.0, probs)) / probs


def geometric_logits_entropy(logits: Tensor) -> Tensor:
    """log(1 + 1 / o) + log(1 + o) / o with odds o."""
    rare = logits < 0
    odds = torch.exp(torch.where(rare, logits, 0.0))
    tiny = odds < 1e-20
    of_rare = torch.where(tiny, 1.0, torch.log1p(odds) / torch.where(tiny, 1.0, odds))
    common = torch.where(rare, 0.0, logits)
    return softplus(-logits) + torch.where(rare, of_rare, torch.exp(-common) * softplus(common))


# On the hardware E and L are logarithms to base 2, which cancels in their ratio and spares a multiplication each.

_exponential_device = EXPONENTIAL.device


@triton.jit
def _exponential_of_word(w):
    """E / log(2): its logarithm as in :func:`formula.devicemath.exponential_of_centered`.

    A count needs no more of a small E than the grid of u next to 1, 6e-8, in units of the rate: fewer than one in a
    million falls below even where the rate is 1e-6.
    """
    u = open_unit_device(w, w, tl.float32)
    return negative(tl.where(u > 0.99942, tl.fma(u, 1.4426950, -1.4426950), libdevice.fast_log2f(u)))


@triton.jit
def _noise_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    if HARDWARE and tl.float64 != DTYPE:
        return _exponential_of_word(w0), _exponential_of_word(w1), _exponential_of_word(w2), _exponential_of_word(w3)
    else:
        return _exponential_device(w0, w1, w2, w3, DTYPE, HARDWARE)


_NOISE = replace(EXPONENTIAL, device=_noise_device)


@triton.jit
def _rate(x, HARDWARE: tl.constexpr):
    """log(1 + x) in the units of the noise, on the hardware within 1.2e-5 relative."""
    if HARDWARE and x.dtype == tl.float32:
        # Next to 0 minimax, to where the hardware's logarithm, of an absolute error of 2**-22, is as good.
        return tl.where(tl.abs(x) < 0.0145, x * tl.fma(x, -0.7213475, 1.4426950), libdevice.fast_log2f(1.0 + x))
    else:
        return log1p(x, HARDWARE)


@triton.jit
def _probs_rate_device(probs, HARDWARE: tl.constexpr):
    return negative(_rate(negative(probs), HARDWARE))


@triton.jit
def _logits_rate_device(logits, HARDWARE: tl.constexpr):
    if HARDWARE and logits.dtype == tl.float32:
        # As in `_rate`; the least rate comes with a multiplication.
        odds = exp(logits, HARDWARE)
        series = tl.fma(odds, tl.fma(odds, -0.7213475, 1.4426950), _DEVICE_LEAST_RATE_32)
        return tl.where(odds < 0.0145, series, libdevice.fast_log2f(1.0 + odds))
    elif logits.dtype == tl.float64:
        return _rate(exp(logits, HARDWARE), HARDWARE) + _DEVICE_LEAST_RATE_64
    else:
        return _rate(exp(logits, HARDWARE), HARDWARE) + _DEVICE_LEAST_RATE_32


@triton.jit
def _failures_log_prob_device(failures, log_failure):
    return tl.where(failures > 0, failures * log_failure, 0.0)


@triton.jit
def geometric_probs_transform(x, probs, HARDWARE: tl.constexpr):
    return tl.floor(divide(x, _probs_rate_device(probs, HARDWARE), HARDWARE))


@triton.jit
def geometric_probs_log_prob(x, probs, HARDWARE: tl.constexpr):
    failures = geometric_probs_transform(x, probs, HARDWARE)
    return log(probs, HARDWARE) + _failures_log_prob_device(failures, log1p(-probs, HARDWARE))


@triton.jit
def geometric_probs_score(x, grad, probs, HARDWARE: tl.constexpr):
    failures = geometric_probs_transform(x, probs, HARDWARE)
    of_failures = tl.where(failures > 0, divide(failures, 1.0 - probs, HARDWARE), 0.0)
    one = tl.full(probs.shape, 1.0, probs.dtype)
    return (grad * (divide(one, probs, HARDWARE) - of_failures),)


@triton.jit
def geometric_logits_transform(x, logits, HARDWARE: tl.constexpr):
    return tl.floor(divide(x, _logits_rate_device(logits, HARDWARE), HARDWARE))


@triton.jit
def geometric_logits_log_mass(x, logits, HARDWARE: tl.constexpr):
    failures = geometric_logits_transform(x, logits, HARDWARE)
    softplus = log1p(exp(-tl.abs(logits), HARDWARE), HARDWARE)
    return tl.minimum(logits, 0.0) - softplus + _failures_log_prob_device(failures, -tl.maximum(logits, 0.0) - softplus)


@triton.jit
def geometric_logits_score(x, grad, logits, HARDWARE: tl.constexpr):
    failures = geometric_logits_transform(x, logits, HARDWARE)
    one = tl.full(logits.shape, 1.0, logits.dtype)
    failure = divide(one, 1.0 + exp(logits, HARDWARE), HARDWARE)
    return (grad * (failure - failures * divide(one, 1.0 + exp(-logits, HARDWARE), HARDWARE)),)


GEOMETRIC_PROBS_MAP = Map(
    name="geometric_probs",
    parameters=("probs",),
    noise=_NOISE,
    reference=geometric_probs_reference,
    reference_grad=None,
    support=HALF_LINE,
    transform=geometric_probs_transform,
    density=Density(
        at=geometric_probs_log_prob_at,
        reference=geometric_probs_log_prob_reference,
        reference_score=geometric_probs_reference_score,
        transform=geometric_probs_log_prob,
        score=geometric_probs_score,
    ),
)
GEOMETRIC_LOGITS_MAP = Map(
    name="geometric_logits",
    parameters=("logits",),
    noise=_NOISE,
    reference=geometric_logits_reference,
    reference_grad=None,
    support=HALF_LINE,
    transform=geometric_logits_transform,
    density=Density(
        at=geometric_logits_log_prob,
        reference=geometric_logits_log_prob_reference,
        reference_score=geometric_logits_reference_score,
        transform=geometric_logits_log_mass,
        score=geometric_logits_score,
    ),
)
