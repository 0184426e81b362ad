"""Draws of distributions that are made of others: how each library makes them. bench/calls.py times what calling costs.

The last dimension of a shape is that of the event, the rows and columns of a matrix, or the components of a mixture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from cases import LIBRARIES, Draw, Shape
from torch.distributions import ExpTransform

MATRIX = 3  # rows
SHAPES = ((1, MATRIX), (8, MATRIX), (64, MATRIX))

# A class of one library by its name, and parameters, to a distribution.
_MAKE: dict[str, Callable[..., Any]] = {
    "Independent": lambda of, loc, scale: of("Independent")(of("Normal")(loc, scale), 1),
    "LKJCholesky": lambda of, concentration: of("LKJCholesky")(MATRIX, concentration),
    "MixtureSameFamily": lambda of, logits, loc, scale: of("MixtureSameFamily")(
        of("Categorical")(logits=logits), of("Normal")(loc, scale)
    ),
    "TransformedDistribution": lambda of, loc, scale: of("TransformedDistribution")(
        of("Normal")(loc, scale), ExpTransform()
    ),
    "Wishart": lambda of, df, scale_tril: of("Wishart")(df, scale_tril=scale_tril),
}


class Composition(Draw):
    """A draw of such a distribution."""

    def parameters_of(self, shape: Shape, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
        parameters = super().parameters_of(shape, dtype, device)
        if self.distribution in ("LKJCholesky", "Wishart"):
            for name in {"concentration", "df"}.intersection(parameters):  # one number for each matrix
                given = parameters[name]
                parameters[name] = given.detach()[..., 0].contiguous().requires_grad_(given.requires_grad)
        return parameters

    def distribution_of(self, library: str, parameters: dict[str, Any]) -> Any:
        return _MAKE[self.distribution](LIBRARIES[library], **parameters)


COMPOSITIONS = (
    Composition("Independent", "loc scale"),
    Composition("TransformedDistribution", "loc scale"),
    Composition("MixtureSameFamily", "logits loc scale", "sample"),
    Composition("LKJCholesky", "concentration", "sample"),
    Composition("Wishart", "df scale_tril"),
)
