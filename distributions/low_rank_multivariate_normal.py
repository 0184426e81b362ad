"""Multivariate normal distribution with a low-rank covariance plus a diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.lowrank_multivariate_normal import _batch_capacitance_tril
from torch.distributions.utils import lazy_property

from rsample.kernels.draws.matrices.draw import draw_product
from rsample.kernels.engines.matrix_product import LOW_RANK_MULTIVARIATE_NORMAL

from ._examples import Example
from ._sampling import KeyedSampling, checked_sample_shape
from .multivariate_normal import broadcast_batch

if TYPE_CHECKING:
    from typing_extensions import Self


class LowRankMultivariateNormal(KeyedSampling, torch.distributions.LowRankMultivariateNormal):
    r"""Normal distribution over vectors with covariance :math:`WW^\top + \mathrm{diag}(D)`, W of few columns.

    A draw is :math:`\mu + W\epsilon_W + \sqrt{D}\,\epsilon_D` with standard normal noise made inside the matrix
    product; :math:`\epsilon_D` is the noise of the draw's own elements, as in `Normal`, and :math:`\epsilon_W` has a
    stream of its own. Pathwise gradients make both again from the key.

    Example::

        >>> d = LowRankMultivariateNormal(torch.zeros(3), torch.ones(3, 1), torch.ones(3))
        >>> d.rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        loc: mean, a floating-point tensor of shape (..., K).
        cov_factor: W, of shape (..., K, rank).
        cov_diag: D, positive, of shape (..., K). Batch dimensions of the three broadcast.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: an argument has too few dimensions, or validation is on and `cov_diag` is not positive or an
            argument is NaN.
        RuntimeError: the shapes of the arguments do not go together.
    """

    _examples = (Example({"loc": (-1.0, 1.0, 3), "cov_factor": (0.5, 1.0, 3, 2), "cov_diag": (0.5, 2.0, 3)}),)

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None) -> None:
        given = {"loc": (loc, 1), "cov_factor": (cov_factor, 2), "cov_diag": (cov_diag, 1)}
        for name, (p, dims) in given.items():
            if p.dim() < dims:
                raise ValueError(f"{name} of shape {tuple(p.shape)} has too few dimensions")
        self._set_parameters(loc, cov_factor, cov_diag, broadcast_batch(given))
        self._check_arguments(validate_args)

    def _set_parameters(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, batch_shape: torch.Size) -> None:
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        self.loc = loc.expand(batch_shape + loc.shape[-1:])
        self.cov_factor = cov_factor.expand(batch_shape + cov_factor.shape[-2:])
        self.cov_diag = cov_diag.expand(batch_shape + cov_diag.shape[-1:])
        Distribution.__init__(self, batch_shape, loc.shape[-1:], validate_args=False)

    @lazy_property
    def _capacitance_tril(self) -> Tensor:
        """The Cholesky factor of I + W^T D^-1 W, which densities need, and draws do not."""
        factor: Tensor = _batch_capacitance_tril(self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag)
        return factor

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them."""
        new: Self = self._get_checked_instance(LowRankMultivariateNormal, _instance)
        batch_shape = torch.Size(batch_shape)
        new._set_parameters(self.loc, self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag, batch_shape)
        new._validate_args = self._validate_args
        return new

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
        params = {
            "loc": self.loc,
            "cov_factor": self._unbroadcasted_cov_factor,
            "cov_diag": self._unbroadcasted_cov_diag.sqrt(),
        }
        (sample,) = draw_product(
            LOW_RANK_MULTIVARIATE_NORMAL, params, shape, generator=generator, key=key, differentiable=differentiable
        )
        return (sample,)
