"""Student's t distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.student_t import STUDENT_T_LAW, student_t_entropy, student_t_log_prob

from ._arguments import broadcastable
from ._examples import LOC_SCALE, NORMAL_ROUNDING, Example
from ._sampling import FusedSampling, widened


class StudentT(FusedSampling, torch.distributions.StudentT):
    r"""Student's t distribution with `df` degrees of freedom, shifted and scaled.

    A draw is :math:`\mu + \sigma \cos\theta \sqrt{\nu (e^{2E/\nu} - 1)}` with exponential E and uniform
    :math:`\theta` (Bailey 1994): no rejection, and pathwise gradients in closed form to all three parameters. At large
    `df` it is Box and Muller's normal number.

    Example::

        >>> StudentT(torch.full((3,), 4.0)).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        df: degrees of freedom :math:`\nu`, positive; a number or floating-point tensor.
        loc: location :math:`\mu`; broadcasts with the others.
        scale: :math:`\sigma`, positive; broadcasts with the others.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and `df` or `scale` is not positive or an argument is NaN.
        RuntimeError: the parameters do not broadcast.
    """

    _examples = (
        Example(
            {"df": (2.0, 5.0), **LOC_SCALE},
            scipy=lambda stats, df, loc, scale: stats.t(df, loc, scale),
            rounding=NORMAL_ROUNDING,
        ),
    )

    _samplers = (Sampler(STUDENT_T_LAW),)

    def __init__(
        self,
        df: Tensor | float,
        loc: Tensor | float = 0.0,
        scale: Tensor | float = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        df, loc, scale = broadcastable(df=df, loc=loc, scale=scale)
        # torch's constructor also validates a chi-squared distribution, which torch.compile cannot trace, and waits
        # for a GPU to have its rate, a number.
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        half = 0.5 * self.df
        rate = torch.full_like(half, 0.5)
        self._chi2 = torch.distributions.Gamma(half, rate, validate_args=False)  # type: ignore[assignment]
        Distribution.__init__(self, self.df.shape, validate_args=False)
        self._accept(validate_args, df=df, loc=loc, scale=scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, exact at any `df`: its gamma functions enter by their quotient."""
        if self._validate_args:
            self._validate_sample(value)
        return widened(student_t_log_prob, value, self.df, self.loc, self.scale)

    def entropy(self) -> Tensor:
        return widened(student_t_entropy, self.df, self.scale)
