"""Binomial: k or n - k, from probs or from logits; the noise k counts the rarer of success and failure."""

from __future__ import annotations

import torch
from torch import Tensor

from .law import Law
from .rejection.binomial import BINOMIAL, rarer_of_logits, rarer_of_probs
from .rejection.law import Part, noise_of
from .support import FINITE

_PROBS = Part(BINOMIAL, lambda _, total_count, probs: (total_count, *rarer_of_probs(probs)))
_LOGITS = Part(BINOMIAL, lambda _, total_count, logits: (total_count, *rarer_of_logits(logits)))


def binomial_probs_reference(count: Tensor, total_count: Tensor, probs: Tensor) -> Tensor:
    return torch.where(probs > 0.5, total_count - count, count)


def binomial_logits_reference(count: Tensor, total_count: Tensor, logits: Tensor) -> Tensor:
    return torch.where(logits > 0, total_count - count, count)


BINOMIAL_PROBS_LAW = Law(
    name="binomial_probs",
    parameters=("total_count", "probs"),
    noise=noise_of("binomial_probs", 2, _PROBS, values=1),
    reference=binomial_probs_reference,
    support=FINITE,
)
BINOMIAL_LOGITS_LAW = Law(
    name="binomial_logits",
    parameters=("total_count", "logits"),
    noise=noise_of("binomial_logits", 2, _LOGITS, values=1),
    reference=binomial_logits_reference,
    support=FINITE,
)
