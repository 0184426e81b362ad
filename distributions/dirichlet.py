"""Dirichlet distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rsample.kernels.draws.rows.dirichlet import DIRICHLET

from ._examples import Example
from ._sampling import KeyedSampling, checked_sample_shape

if TYPE_CHECKING:
    from typing_extensions import Self


class Dirichlet(KeyedSampling, torch.distributions.Dirichlet):
    r"""Dirichlet distribution on the simplex, with density proportional to :math:`\prod_k x_k^{\alpha_k - 1}`.

    A draw is the softmax of logarithms of gamma numbers, so that concentrations of 1e-3 and less give no 0 / 0.
    Gradients are implicit, functions of the sample and the concentrations (Figurnov, Mohamed and Mnih 2018), within
    1e-4 relative. The gamma numbers and their normalisation are two kernels; backward draws the numbers again.

    Example::

        >>> Dirichlet(torch.full((3,), 0.5)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        concentration: :math:`\alpha`, positive, of shape `batch_shape + (K,)`; a floating-point tensor.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `concentration` is not positive or NaN, or it has no dimension.
    """

    _examples = (Example({"concentration": (0.4, 2.5, 3)}),)

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        torch.distributions.Dirichlet.__init__(self, concentration, validate_args=False)
        self._check_arguments(validate_args)

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        shape = checked_sample_shape(sample_shape) + self._batch_shape + self._event_shape
        x = DIRICHLET((self.concentration,), shape, generator=generator, key=key, differentiable=differentiable)
        return (x,)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them."""
        new: Self = self._get_checked_instance(Dirichlet, _instance)
        super().expand(torch.Size(batch_shape), _instance=new)
        return new
