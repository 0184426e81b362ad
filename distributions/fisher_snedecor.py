"""Fisher and Snedecor's F distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import broadcast_all

from rsample.kernels.draws.draw import Sampler
from rsample.kernels.laws.fisher_snedecor import FISHER_SNEDECOR_LAW

from ._arguments import broadcastable
from ._examples import Example
from ._sampling import FusedSampling


class FisherSnedecor(FusedSampling, torch.distributions.FisherSnedecor):
    r"""F distribution: of :math:`(X_1 / d_1) / (X_2 / d_2)` with chi-squared X of :math:`d_1` and :math:`d_2` degrees.

    Both chi-squared numbers are drawn in one kernel; gradients are theirs, implicit (Figurnov, Mohamed and Mnih 2018).

    Example::

        >>> FisherSnedecor(torch.full((3,), 4.0), 6.0).rsample((16,)).shape
        torch.Size([16, 3])

    Args:
        df1: :math:`d_1`, positive; a number or floating-point tensor.
        df2: :math:`d_2`, positive; broadcasts with `df1`.
        validate_args: check the arguments; on by default, as everywhere in torch.distributions.

    Raises:
        ValueError: validation is on and a parameter is not positive or NaN.
        RuntimeError: `df1` and `df2` do not broadcast.
    """

    _examples = (Example({"df1": (3.0, 5.0), "df2": (3.0, 5.0)}, scipy=lambda stats, df1, df2: stats.f(df1, df2)),)

    _samplers = (Sampler(FISHER_SNEDECOR_LAW),)

    def __init__(self, df1: Tensor | float, df2: Tensor | float, validate_args: bool | None = None) -> None:
        df1, df2 = broadcastable(df1=df1, df2=df2)
        # torch's constructor also validates two gamma distributions, which torch.compile cannot trace.
        if not any(isinstance(df, Tensor) and df.is_floating_point() for df in (df1, df2)):
            # Whole numbers alone draw, as in torch, which halves them.
            df1, df2 = (df.to(torch.get_default_dtype()) if isinstance(df, Tensor) else df for df in (df1, df2))
        self.df1, self.df2 = broadcast_all(df1, df2)
        self._gamma1 = torch.distributions.Gamma(0.5 * self.df1, self.df1, validate_args=False)
        self._gamma2 = torch.distributions.Gamma(0.5 * self.df2, self.df2, validate_args=False)
        Distribution.__init__(self, self.df1.shape, validate_args=False)
        self._accept(validate_args, df1=df1, df2=df2)
