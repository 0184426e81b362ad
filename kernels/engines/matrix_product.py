"""The draws of this layer: loc + factor @ eps, and in one of them additional noise of its own for every element."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MatrixProduct:
    """What to draw, of shape (..., N): loc + factor @ eps + scale * e, where the last term is there or not.

    With its noise fixed a draw is linear in its parameters. Rows of the draw, that is all dimensions but the last, are
    numbered row-major; eps of row r and column k is the noise of element r * K + k of its stream, e of element
    r * N + n that of the draw's own.

    Attributes:
        name: of the operator.
        parameters: the names of loc (..., N), factor (..., N, K) and, where there is one, scale (..., N).
        triangular: K = N, and only the lower triangle of the factor is read.
        stream: counter word 3 of eps; 0 is the stream of the draw's own elements.
        norm: return the sum of eps**2 of every row too.
    """

    name: str
    parameters: tuple[str, ...]
    triangular: bool
    stream: int
    norm: bool = False

    @property
    def events(self) -> tuple[int, ...]:
        """How many dimensions of each parameter are no batch dimensions."""
        return (1, 2, 1)[: len(self.parameters)]


MULTIVARIATE_NORMAL = MatrixProduct("multivariate_normal", ("loc", "scale_tril"), triangular=True, stream=0)
MULTIVARIATE_NORMAL_WITH_NORM = MatrixProduct(
    "multivariate_normal_with_norm", ("loc", "scale_tril"), triangular=True, stream=0, norm=True
)
LOW_RANK_MULTIVARIATE_NORMAL = MatrixProduct(
    "low_rank_multivariate_normal", ("loc", "cov_factor", "scale"), triangular=False, stream=1
)
KINDS = (MULTIVARIATE_NORMAL, MULTIVARIATE_NORMAL_WITH_NORM, LOW_RANK_MULTIVARIATE_NORMAL)
