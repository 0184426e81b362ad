"""Mixtures of one family's distributions."""

from __future__ import annotations

import torch

from ._delegation import DelegatedSampling
from ._examples import Example
from .categorical import Categorical
from .normal import Normal


class MixtureSameFamily(DelegatedSampling, torch.distributions.MixtureSameFamily):
    """A mixture whose components are the last batch dimension of one distribution: torch's class of that name that
    passes `generator=` and `key=` on.

    The component and the values draw from keys of their own, `torch.func._random.fold_in` of 0 and of 1.

    Example::

        >>> from rsample.distributions import Normal
        >>> which = torch.distributions.Categorical(torch.ones(3))
        >>> MixtureSameFamily(which, Normal(torch.tensor([-9.0, 0.0, 9.0]), 1.0)).sample((16,)).shape
        torch.Size([16])

    Args:
        mixture_distribution: a Categorical that picks the component.
        component_distribution: its last batch dimension runs over the components.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: the two distributions do not go together.
    """

    _examples = (
        Example(
            {
                "mixture_distribution": lambda p: Categorical(logits=p(-1.0, 1.0, 3)),
                "component_distribution": lambda p: Normal(p(-1.0, 1.0, 3), p(0.5, 2.0, 3)),
            }
        ),
    )

    __init__ = torch.distributions.MixtureSameFamily.__init__
