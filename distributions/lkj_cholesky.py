"""LKJ distribution of Cholesky factors of correlation matrices."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.constants import constant
from rsample.kernels.draws.lean_function import wants_derivative
from rsample.kernels.draws.matrices.onion import onion

from ._delegation import two_keys
from ._examples import Example
from ._sampling import KeyedSampling, checked_sample_shape
from ._validation import refuse_dtensors
from .beta import Beta
from .normal import standard_normal

if TYPE_CHECKING:
    from typing_extensions import Self


class LKJCholesky(KeyedSampling, torch.distributions.LKJCholesky):
    r"""LKJ distribution: the Cholesky factor of a correlation matrix C of density :math:`\propto \det C^{\eta - 1}`.

    A draw is by the onion method: row i is a point of a sphere, the direction of normal numbers, at a distance whose
    square is a Beta(i / 2, eta + (d - 1 - i) / 2) number (Lewandowski, Kurowicka and Joe, "Generating random
    correlation matrices based on vines and extended onion method", 2009, section 3.2). That of torch 2.14 is
    Beta(i - 1 / 2, ...), which is not the law of its `log_prob` from the third row on. There is no reparameterised
    draw.

    Example::

        >>> LKJCholesky(3, 1.5).sample((16,)).shape
        torch.Size([16, 3, 3])

    Args:
        dim: of the matrices, at least 2.
        concentration: :math:`\eta`, positive; 1 is the uniform law of correlation matrices.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: `dim` is below 2, or validation is on and `concentration` is not positive.
    """

    _examples = (Example({"dim": 3, "concentration": (0.5, 2.0)}),)

    def __init__(self, dim: int, concentration: Tensor | float = 1.0, validate_args: bool | None = None) -> None:
        refuse_dtensors(self, concentration)
        if dim < 2:
            raise ValueError(f"dim must be at least 2, got {dim}")
        (concentration,) = broadcast_all(concentration)
        self._set_parameters(dim, concentration)
        self._check_arguments(validate_args)

    def _set_parameters(self, dim: int, concentration: Tensor) -> None:
        self.dim, self.concentration = dim, concentration
        Distribution.__init__(self, concentration.shape, torch.Size((dim, dim)), validate_args=False)

    def _draw(
        self,
        sample_shape: Sequence[int],
        generator: torch.Generator | None,
        key: Tensor | None,
        *,
        differentiable: bool,
        log_prob: bool,
    ) -> tuple[Tensor, ...]:
        shape = checked_sample_shape(sample_shape) + self._batch_shape
        first, second = two_keys(key, generator)
        concentration = self.concentration
        with torch.set_grad_enabled(False) if wants_derivative((concentration,)) else nullcontext():
            one, more = constant(_halves, concentration, self.dim)
            zero = concentration.unsqueeze(-1) + more
            (sampler,) = Beta._samplers
            squares = sampler([one, zero], (*shape, self.dim), generator=generator, key=first)
            normals = standard_normal(shape + self._event_shape, squares, generator, second)
            return (onion(squares, normals),)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them."""
        new: Self = self._get_checked_instance(LKJCholesky, _instance)
        new._set_parameters(self.dim, self.concentration.expand(torch.Size(batch_shape)))
        new._validate_args = self._validate_args
        return new


def _halves(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of n rows, the first concentration of each one's squared length, and what the second is greater than eta by."""
    half = 0.5 * torch.arange(n, dtype=dtype, device=device)
    # That of the first row, which has no length, does not count.
    return half.clamp(min=0.5), half.flip(-1)
