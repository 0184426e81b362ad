"""Logistic: loc + scale * e, e the log-odds of a uniform number."""

from __future__ import annotations

import torch
from torch import Tensor

from ..stream.noise import CENTERED
from .location_scale import Standard, location_scale_law
from .support import REAL_LINE


def standard_logistic(t: Tensor) -> Tensor:
    # |t| is uniform in (0, 1/2]: its log-odds are one half of the distribution, the sign of t picks the half.
    p = torch.abs(t)
    return torch.copysign(torch.log(p / (1 - p)), t)


def standard_logistic_log_density(t: Tensor) -> Tensor:
    # sigmoid(e) sigmoid(-e) = p (1 - p)
    p = torch.abs(t)
    return torch.log(p * (1 - p))


def standard_logistic_slope(t: Tensor) -> Tensor:
    # -tanh(e / 2) = -sign(e) (1 - 2 p)
    return torch.where(t > 0, 2 * t - 1, 2 * t + 1)


def logistic_log_prob(e: Tensor) -> Tensor:
    """The logarithm of the standard logistic density: log sigmoid(e) + log sigmoid(-e)."""
    return torch.nn.functional.logsigmoid(e) + torch.nn.functional.logsigmoid(-e)


def logistic_log_prob_at(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return logistic_log_prob((x - loc) / scale) - torch.log(scale)


def logistic_cdf(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return torch.sigmoid((x - loc) / scale)


LOGISTIC_LAW = location_scale_law(
    "logistic",
    Standard(
        noise=CENTERED,
        reference=standard_logistic,
        log_density=standard_logistic_log_density,
        slope=standard_logistic_slope,
    ),
    at=logistic_log_prob_at,
    support=REAL_LINE,
)
