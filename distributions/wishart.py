"""Wishart distribution of positive-definite matrices."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.distributions import Distribution
from torch.distributions.multivariate_normal import _precision_to_scale_tril
from torch.utils.checkpoint import checkpoint

from rsample.kernels.draws.constants import constant, one_half
from rsample.kernels.draws.keys import check_source, reserve, watched
from rsample.kernels.draws.lean_function import wants_derivative
from rsample.kernels.draws.matrices.bartlett import bartlett, has_loops
from rsample.kernels.draws.matrices.wishart import WishartDraw, half_degrees

from ._arguments import broadcast_shapes, check_one_of, is_cpu_scalar
from ._delegation import two_keys
from ._examples import Example, lower_triangular
from ._sampling import KeyedSampling, checked_sample_shape
from ._validation import refuse_dtensors
from .gamma import Gamma
from .normal import standard_normal

if TYPE_CHECKING:
    from typing_extensions import Self


class Wishart(KeyedSampling, torch.distributions.Wishart):  # type: ignore[misc]
    r"""Wishart distribution with :math:`\nu` degrees of freedom and scale matrix :math:`V = L L^T`.

    A draw is :math:`L A A^T L^T` with lower triangular A: roots of chi-squared numbers of :math:`\nu - i` degrees on
    its diagonal, standard normal ones below it (Bartlett, "On the theory of statistical regression", 1933). Pathwise
    gradients reach `df` and the matrix. Unlike torch's, a draw never looks at a sample to draw it again, which would
    wait for the device and change the law. Instead a chi-squared number next to which rounding to the dtype could make
    the sample singular is raised, to 256 p eps times the greatest number on the diagonal of :math:`A A^T`, and as much
    more as the numbers in its row are greater than the roots above them, which carry their errors on to it. Next to its
    least `df` one float32 sample in 10^5 may still be singular.

    Example::

        >>> Wishart(5.0, torch.eye(3)).rsample((16,)).shape
        torch.Size([16, 3, 3])

    Args:
        df: degrees of freedom :math:`\nu`, greater than the matrix's dimension less 1.
        covariance_matrix, precision_matrix, scale_tril: V, its inverse or L, of shape (..., p, p); one of them.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: not exactly one matrix, `df` too small, or validation is on and an argument is not valid.
    """

    _examples = (Example({"df": (5.0, 6.0), "scale_tril": lower_triangular}),)

    def __init__(
        self,
        df: Tensor | float,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        refuse_dtensors(self, df, covariance_matrix, precision_matrix, scale_tril)
        matrices: dict[str, Any] = check_one_of(
            covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril
        )
        ((name, matrix),) = matrices.items()
        if matrix.dim() < 2:
            raise ValueError(f"{name} must have at least two dimensions, got shape {tuple(matrix.shape)}")
        if not isinstance(df, Tensor):
            df = torch.full((), df, dtype=matrix.dtype, device=matrix.device)
        elif is_cpu_scalar(df):
            df = df.to(matrix.device)
        self._set_parameters(df, matrices, broadcast_shapes(df.shape, matrix.shape[:-2]))
        self._check_arguments(validate_args)
        if df.is_cpu and df.numel() > 0 and not watched():
            self._check_least(df.min().item())
        if name == "scale_tril":
            self._unbroadcasted_scale_tril = matrix
        elif name == "covariance_matrix":
            self._unbroadcasted_scale_tril = torch.linalg.cholesky(matrix)
        else:
            self._unbroadcasted_scale_tril = _precision_to_scale_tril(matrix)

    def _set_parameters(self, df: Tensor, matrices: dict[str, Tensor], batch_shape: torch.Size) -> None:
        self.df = df.expand(batch_shape)
        self._batch_dims = list(range(-1, -1 - len(batch_shape), -1))
        for name, matrix in matrices.items():
            setattr(self, name, matrix.expand(batch_shape + matrix.shape[-2:]))
        event_shape = next(iter(matrices.values())).shape[-2:]
        Distribution.__init__(self, batch_shape, event_shape, validate_args=False)

    def _check_least(self, df: float) -> None:
        """As torch does, with validation or without: a sample of too few degrees is NaN."""
        p = self._event_shape[-1]
        if df <= p - 1:
            raise ValueError(f"df must be greater than the matrix's dimension less 1, {p - 1}; the least is {df}")
        if df < p:
            warnings.warn(f"samples are likely to be singular: df is less than {p}", stacklevel=4)

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
        params = (self.df, self._unbroadcasted_scale_tril)
        with nullcontext() if differentiable or not wants_derivative(params) else torch.no_grad():
            return (_drawn(shape, *params, generator, key),)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """A distribution of the same type whose parameters are expanded to `batch_shape`, without copying them."""
        new: Self = self._get_checked_instance(Wishart, _instance)
        given = self.arg_constraints.keys() & self.__dict__.keys()
        matrices = {name: getattr(self, name) for name in given - {"df"}}
        new._set_parameters(self.df, matrices, torch.Size(batch_shape))
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        new._validate_args = self._validate_args
        return new


def _drawn(
    shape: torch.Size, df: Tensor, factor: Tensor, generator: torch.Generator | None, key: Tensor | None
) -> Tensor:
    """Matrices of a batch of this shape, as a function of the parameters."""
    first, second = two_keys(key, generator)
    p = factor.shape[-1]

    def draw(df: Tensor, factor: Tensor) -> Tensor:
        (gamma,) = Gamma._samplers
        chi_squared = [half_degrees(df, factor), constant(one_half, factor)]
        squares = gamma(chi_squared, (*shape, p), generator=generator, key=first, differentiable=True)
        normals = standard_normal((*shape, p, p), factor, generator, second)
        return bartlett(squares, normals, factor)

    if not wants_derivative((df, factor)) or watched() or forward_ad._current_level >= 0:
        return draw(df, factor)
    if has_loops(df, factor) and shape.numel() > 0:
        generator = check_source(key, generator, df.device)
        if first is None or second is None:
            # On the CPU they are keys, of any number of blocks.
            (first,), (second,) = (reserve(df.device, 0, generator) for _ in range(2))
        generator = None
        sample: Tensor = WishartDraw.apply(draw, shape, first, second, df, factor)
        return sample
    if generator is not None:
        return draw(df, factor)
    # Backward draws again rather than keep the products' factors.
    checkpointed: Tensor = checkpoint(draw, df, factor, use_reentrant=False, preserve_rng_state=key is None)
    return checkpointed
