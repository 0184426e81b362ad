"""Poisson: the noise itself, a count whose mean is `rate`."""

from __future__ import annotations

from torch import Tensor

from .law import Law
from .rejection.law import Part, first_of, noise_of
from .rejection.poisson import POISSON
from .support import FINITE


def poisson_reference(count: Tensor, rate: Tensor) -> Tensor:
    return count


POISSON_LAW = Law(
    name="poisson",
    parameters=("rate",),
    noise=noise_of("poisson", 1, Part(POISSON, first_of), values=1),
    reference=poisson_reference,
    support=FINITE,
)
