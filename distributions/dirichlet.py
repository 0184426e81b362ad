"""Dirichlet distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rsample.kernels.draw import Sampler
from rsample.kernels.maps.log_gamma import LOG_GAMMA_MAP
from rsample.kernels.rows.simplex import positive_softmax

from ._sampling import KeyedSampling, checked_sample_shape

if TYPE_CHECKING:
    from typing_extensions import Self


class Dirichlet(KeyedSampling, torch.distributions.Dirichlet):
    r"""Dirichlet distribution on the simplex, with density proportional to :math:`\prod_k x_k^{\alpha_k - 1}`.

    A draw is the softmax of logarithms of gamma numbers, so that concentrations of 1e-3 and less give no 0 / 0.
    Gradients are those of the gamma numbers, implicit (Figurnov, Mohamed and Mnih 2018). The gamma numbers and their
    normalisation are two kernels.

    Example::

        >>> Dirichlet(torch.full((3,), 0.5)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        concentration: :math:`\alpha`, positive, of shape `batch_shape + (K,)`; a floating-point tensor.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `concentration` is not positive or NaN, or it has no dimension.
    """

    _sampler = Sampler(LOG_GAMMA_MAP)

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(concentration, validate_args=False)
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
        dtype = self.concentration.dtype
        # Logarithms of small numbers are large, too large for the resolution of float16 and bfloat16.
        concentration = self.concentration.float() if dtype.itemsize == 2 else self.concentration
        logs = Dirichlet._sampler((concentration,), shape, generator=generator, key=key, differentiable=differentiable)
        return (positive_softmax(logs, dtype),)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them."""
        new: Self = self._get_checked_instance(Dirichlet, _instance)
        super().expand(torch.Size(batch_shape), _instance=new)
        return new
