"""Distributions of transformed samples."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.distributions.transforms import AffineTransform

from ._delegation import DelegatedSampling
from ._examples import Example
from .normal import Normal


class TransformedDistribution(DelegatedSampling, torch.distributions.TransformedDistribution):
    """The distribution of a base distribution's samples after some transforms: torch's class of that name that passes
    `generator=` and `key=` on to its base.

    `rsample_with_log_prob` takes the base's density from the kernel that draws, and adds the transforms' Jacobians in
    the forward direction, without inverting them.

    Example::

        >>> from rsample.distributions import Normal
        >>> TransformedDistribution(Normal(0.0, 1.0), torch.distributions.ExpTransform()).rsample((16,)).shape
        torch.Size([16])

    Args:
        base_distribution: draws.
        transforms: one transform or a list of them, applied in order.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: the base distribution's shape and the transforms do not go together.
    """

    _examples: ClassVar[tuple[Example, ...]] = (
        Example(
            {
                "base_distribution": lambda p: Normal(p(-1.0, 1.0), p(0.5, 2.0)),
                "transforms": lambda p: AffineTransform(1.0, 2.0),
            }
        ),
    )

    __init__ = torch.distributions.TransformedDistribution.__init__
