"""Geometric: floor(E / L), the failures before the first success, E standard exponential.

L = -log(1 - p) is the rate at which the probability of failures alone decays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..formula.devicemath import log2, negative
from ..formula.special import log_chances, log_chances_of_logits
from ..runtime.language import tl, triton
from ..stream.noise import EXPONENTIAL, open_unit_device
from .law import Density, Law
from .support import HALF_LINE

# A rate from logits is greater by this, so that no sample overflows; more changes no other rate.
_LEAST_RATE = {torch.float32: 1.5e-37, torch.float64: 1e-306}


def _probs_rate(probs: Tensor) -> Tensor:
    # Of either sign at 0, as the processor or the vectors' logarithm like: the sample's would follow.
    return torch.abs(torch.log1p(-probs))


def _logits_rate(logits: Tensor) -> Tensor:
    # The sample is 0 with a rate beyond 50.
    return torch.log1p(torch.exp(torch.clamp(logits, -1e4, 80.0)))


def _probs_sample(x: Tensor, probs: Tensor) -> Tensor:
    return torch.floor(x / _probs_rate(probs))


def _logits_sample(x: Tensor, logits: Tensor) -> Tensor:
    return torch.floor(x / (_logits_rate(logits) + _LEAST_RATE[x.dtype]))


def _of_failures(function: Callable[..., Any], sample: Callable[..., Tensor]) -> Callable[..., Any]:
    """A function of the noise that is one of the failures; both are also functions of a parameter, the last one."""
    return lambda x, *given: function(sample(x, given[-1]), *given)


def _probs_log_mass(failures: Tensor, probs: Tensor) -> Tensor:
    return torch.log(probs) + torch.where(failures > 0, -failures * _probs_rate(probs), 0.0)


def _probs_score(failures: Tensor, grad: Tensor, probs: Tensor) -> tuple[Tensor]:
    # No failure where p is 1.
    return (grad * (1 / probs - torch.where(failures > 0, failures / (1 - probs), 0.0)),)


def _logits_log_mass(failures: Tensor, logits: Tensor) -> Tensor:
    # log p = -log(1 + exp(-logits))
    log_p = -torch.log1p(torch.exp(-torch.abs(logits))) + torch.where(logits < 0, logits, 0.0)
    return log_p + torch.where(failures > 0, -failures * _logits_rate(logits), 0.0)


def _logits_score(failures: Tensor, grad: Tensor, logits: Tensor) -> tuple[Tensor]:
    failure = 1 / (1 + torch.exp(logits))
    return (grad * (failure - failures * (1 / (1 + torch.exp(-logits)))),)


def geometric_logits_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Log-mass of x failures."""
    return log_chances_of_logits(torch.ones_like(x), x, logits)


def geometric_probs_log_prob(x: Tensor, probs: Tensor) -> Tensor:
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


# On a GPU E and L of float32 are logarithms to base 2, which cancels in their ratio, and L is as exact as a count
# needs: a sixth fewer instructions of a draw with one parameter, and a quarter fewer with one for each sample.

_exponential_device = EXPONENTIAL.device


@triton.jit
def _exponential_of_word(w, HARDWARE: tl.constexpr):
    """E / log(2): its logarithm as in :func:`formula.devicemath.exponential_of_centered`.

    A count needs no more of a small E than the grid of u next to 1, 6e-8, in units of the rate: fewer than one in a
    million falls below even where the rate is 1e-6.
    """
    u = open_unit_device(w, w, tl.float32)
    return negative(tl.where(u > 0.99942, tl.fma(u, 1.4426950, -1.4426950), log2(u, HARDWARE)))


@triton.jit
def _noise_device(w0, w1, w2, w3, DTYPE: tl.constexpr, HARDWARE: tl.constexpr):
    if tl.float64 == DTYPE:
        return _exponential_device(w0, w1, w2, w3, DTYPE, HARDWARE)
    else:
        return (
            _exponential_of_word(w0, HARDWARE),
            _exponential_of_word(w1, HARDWARE),
            _exponential_of_word(w2, HARDWARE),
            _exponential_of_word(w3, HARDWARE),
        )


def _device_log1p(x: Tensor, least: float = -0.0) -> Tensor:
    """log(1 + x) in the units of the noise, and next to 0 `least` more; in float32 within 1.2e-5 relative."""
    if x.dtype == torch.float64:
        return torch.log1p(x) + least
    # Next to 0 minimax, to where the hardware's logarithm, of an absolute error of 2**-22, is as good.
    return torch.where(torch.abs(x) < 0.0145, x * (1.4426950 - 0.7213475 * x) + least, torch.log2(1 + x))


def _device_probs_sample(x: Tensor, probs: Tensor) -> Tensor:
    return torch.floor(x / -_device_log1p(-probs))


def _device_logits_sample(x: Tensor, logits: Tensor) -> Tensor:
    return torch.floor(x / _device_log1p(torch.exp(logits), _LEAST_RATE[x.dtype]))


def _device_logits_log_mass(failures: Tensor, logits: Tensor) -> Tensor:
    """With one exponential and one logarithm: a fifth fewer instructions of the draw with its log-mass."""
    softplus = torch.log1p(torch.exp(-torch.abs(logits)))
    rate = torch.where(logits > 0, logits, 0.0) + softplus
    return torch.where(logits < 0, logits, 0.0) - softplus - torch.where(failures > 0, failures * rate, 0.0)


def _law(
    parameter: str,
    at: Callable[..., Tensor],
    sample: Callable[..., Tensor],
    log_mass: Callable[..., Tensor],
    score: Callable[..., tuple[Tensor]],
    device_sample: Callable[..., Tensor],
    device_log_mass: Callable[..., Tensor],
) -> Law:
    return Law(
        name=f"geometric_{parameter}",
        parameters=(parameter,),
        noise=replace(EXPONENTIAL, device=_noise_device),
        reference=sample,
        reference_grad=None,
        support=HALF_LINE,
        transform=device_sample,
        density=Density(
            at=at,
            reference=_of_failures(log_mass, sample),
            reference_score=_of_failures(score, sample),
            transform=_of_failures(device_log_mass, device_sample),
            score=_of_failures(score, device_sample),
        ),
    )


GEOMETRIC_PROBS_LAW = _law(
    "probs",
    geometric_probs_log_prob,
    _probs_sample,
    _probs_log_mass,
    _probs_score,
    _device_probs_sample,
    _probs_log_mass,
)
GEOMETRIC_LOGITS_LAW = _law(
    "logits",
    geometric_logits_log_prob,
    _logits_sample,
    _logits_log_mass,
    _logits_score,
    _device_logits_sample,
    _device_logits_log_mass,
)
