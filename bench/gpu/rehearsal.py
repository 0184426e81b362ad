"""What may fail in a rehearsal, on a device whose kernels do not run: comparisons of values, and nothing else.

A rehearsal is for what breaks before a value is looked at: an import, an argument, a name that another version of torch
or Triton lacks. A test passes it that fails because of the numbers it got.
"""

from __future__ import annotations

import torch

# Exceptions that numbers cause, by the names of their types.
OF_VALUES = {
    "AssertionError": "a comparison of values",
    "GradcheckError": "a comparison of values, by torch.autograd.gradcheck",
    "Failed": "an exception that values should have caused did not come (pytest.raises)",
}

# What else fails for want of a device, by a part of the message in lower case.
OF_DEVICE = {
    "cublas": "there is no matrix library without a device",
    "cusolver": "there is no library of linear algebra without a device",
    "capture": "nothing is captured into a graph where nothing is launched",
}


def unexpected(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Those rows of the tests' outcomes that failed for another reason."""
    return [
        row
        for row in rows
        if row["outcome"] in ("failed", "error")
        and row["error"] not in OF_VALUES
        and not (row["error"] == "RuntimeError" and any(part in row["message"].lower() for part in OF_DEVICE))
    ]


def pytest_configure() -> None:
    """Shows tensors without their numbers, in failed comparisons and in what torch.compile logs.

    How many of them are finite is itself counted on the device: nobody has, and memory for any number is asked for.
    """
    torch.Tensor.__repr__ = lambda self, **options: f"tensor(of shape {tuple(self.shape)}, {self.dtype}, {self.device})"
