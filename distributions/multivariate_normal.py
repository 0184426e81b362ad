"""Multivariate normal distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.multivariate_normal import _precision_to_scale_tril

from rsample.kernels.draws import keys
from rsample.kernels.draws.lean_function import wants_derivative
from rsample.kernels.draws.matrices.draw import draw_product
from rsample.kernels.engines.matrix_product import MULTIVARIATE_NORMAL, MULTIVARIATE_NORMAL_WITH_NORM

from ._arguments import broadcast_shapes
from ._examples import Example, lower_triangular
from ._sampling import KeyedSampling, checked_sample_shape

if TYPE_CHECKING:
    from typing_extensions import Self


class MultivariateNormal(KeyedSampling, torch.distributions.MultivariateNormal):
    r"""Normal distribution over vectors of K numbers with any covariance :math:`\Sigma = LL^\top`.

    A draw is :math:`\mu + L\epsilon` with standard normal :math:`\epsilon`, made inside the matrix product; pathwise
    gradients are :math:`g` for :math:`\mu` and :math:`g\epsilon^\top` for the lower triangle of :math:`L`, summed over
    the samples that share them, with :math:`\epsilon` made again from the key. Of `scale_tril` only the lower triangle
    is read, where torch, not validating it, multiplies by all of it. :meth:`rsample_with_log_prob` has the density from
    :math:`\epsilon` itself, and solves no system.

    Example::

        >>> loc = torch.zeros(3, requires_grad=True)
        >>> z = MultivariateNormal(loc, scale_tril=torch.eye(3)).rsample((16,))
        >>> z.sum().backward()
        >>> loc.grad
        tensor([16., 16., 16.])

    Args:
        loc: mean, a floating-point tensor of shape (..., K).
        covariance_matrix: positive definite, of shape (..., K, K).
        precision_matrix: its inverse.
        scale_tril: its Cholesky factor L, lower triangular with a positive diagonal; exactly one of the three matrices
            is given. Its batch dimensions broadcast with those of `loc`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: not exactly one matrix is given, an argument has too few dimensions, or validation is on and a
            matrix is not positive definite (or triangular), or an argument is NaN.
        RuntimeError: the shapes of `loc` and the matrix do not go together.
    """

    _examples = (Example({"loc": (-1.0, 1.0, 3), "scale_tril": lower_triangular}),)

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        matrices = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        given = {name: matrix for name, matrix in matrices.items() if matrix is not None}
        name, matrix = next(iter(given.items()), ("", loc))
        if len(given) != 1 or matrix.dim() < 2 or loc.dim() < 1:
            torch.distributions.MultivariateNormal.__init__(self, loc, **given, validate_args=validate_args)  # raises
        batch_shape = broadcast_batch({"loc": (loc, 1), name: (matrix, 2)}, square=name)
        self.loc = loc.expand(batch_shape + loc.shape[-1:])
        setattr(self, name, matrix.expand(batch_shape + matrix.shape[-2:]))
        if scale_tril is not None or loc.is_meta or loc.is_cpu:
            Distribution.__init__(self, batch_shape, loc.shape[-1:], validate_args=False)
            self._check_arguments(validate_args)
        else:
            # Checked before it is factorised, which waits for a GPU anyway.
            Distribution.__init__(self, batch_shape, loc.shape[-1:], validate_args=validate_args)
        if scale_tril is not None:
            self._unbroadcasted_scale_tril = matrix
        elif covariance_matrix is not None:
            self._unbroadcasted_scale_tril = torch.linalg.cholesky(matrix)
        else:
            self._unbroadcasted_scale_tril = _precision_to_scale_tril(matrix)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        new: Self = self._get_checked_instance(MultivariateNormal, _instance)
        super().expand(torch.Size(batch_shape), _instance=new)
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
        factor = self._unbroadcasted_scale_tril
        params = {"loc": self.loc, "scale_tril": factor}
        # At a constant sample the density moves with the parameters, and then it is a function of the sample.
        of_noise = log_prob and (differentiable or not (keys.watched() or wants_derivative((self.loc, factor))))
        kind = MULTIVARIATE_NORMAL_WITH_NORM if of_noise else MULTIVARIATE_NORMAL
        sample, *norm = draw_product(kind, params, shape, generator=generator, key=key, differentiable=differentiable)
        if not of_noise:
            return (sample,)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return sample, -0.5 * (shape[-1] * math.log(2 * math.pi) + norm[0]) - log_det


def broadcast_batch(parameters: dict[str, tuple[Tensor, int]], square: str | None = None) -> torch.Size:
    """The batch shape of parameters that are given with their numbers of event dimensions.

    Args:
        parameters: of their event dimensions the first is that of the event.
        square: the one whose two event dimensions are of one size.

    Raises:
        RuntimeError: their batch and event shapes do not go together; it names them.
    """
    events = [p.shape[p.dim() - dims] for p, dims in parameters.values()]
    if square is not None:
        events.append(parameters[square][0].shape[-1])
    batches = [p.shape[: p.dim() - dims] for p, dims in parameters.values()]
    batch = max(batches, key=len)
    try:
        if not all(len(b) == 0 or b == batch for b in batches):
            batch = broadcast_shapes(*batches)
        # Sizes may be symbols, or tensors that torch.jit.trace follows: they compare, and hash by identity.
        fits = all(size == events[0] for size in events)
    except RuntimeError:
        fits = False
    if not fits:
        listed = ", ".join(f"{name} of shape {tuple(p.shape)}" for name, (p, _) in parameters.items())
        raise RuntimeError(f"the shapes of parameters do not go together: {listed}")
    return batch
