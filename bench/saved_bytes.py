"""Memory that draws keep for their backward pass, beside torch.distributions: bytes per number of the sample.

It is what one more number adds, counted at two sizes of sample_shape. What hangs on the parameters alone, such as a
key or the logarithm of a scale, drops out. It is decided above the backends and so the same on every device.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from cases import DRAWS, FAMILIES, LIBRARIES, ROW_SWEEPS, Draw, plain_draws
from torch import Tensor

import rsample.distributions
from rsample.kernels import use_backend

CATEGORIES = 64
SIZES = (1024, 2048)
_PLAIN = [draw for family in FAMILIES for draw in plain_draws(family)]
EXAMPLES = {(d.distribution, d.parameters): d for d in (*_PLAIN, *DRAWS, Draw("Wishart", "df scale_tril"))}


@dataclass(frozen=True)
class SavedBytes:
    """Bytes a float32 number that the draw of each library keeps; None where torch has no such draw."""

    rsample: float
    torch: float | None

    def __str__(self) -> str:
        ours, theirs = ("" if value is None else f"{round(value, 1):g}" for value in (self.rsample, self.torch))
        return f"{ours} ({theirs})" if theirs else ours


def saved_bytes(distribution: str, *, log_prob: bool = False) -> list[SavedBytes]:
    """One for each way to give the parameters; none where there is no rsample, or it is that of another distribution.

    Args:
        distribution: a class of rsample.distributions.
        log_prob: of `rsample_with_log_prob`, and of torch's `rsample` and then `log_prob`; else of `rsample`.
    """
    rows = []
    for example in EXAMPLES.values():
        if example.distribution == distribution:
            ours, theirs = (_of_one_more_number(library, example, log_prob) for library in ("rsample", "torch"))
            if ours is not None:
                rows.append(SavedBytes(ours, theirs))
    return rows


def saved_for_backward(draw: Callable[[], Iterable[Tensor]], parameters: Iterable[Tensor]) -> int:
    """Bytes of the storages that a call saves for backward, other than those of `parameters` and of what it returns."""
    saved: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def pack(tensor: Tensor) -> _Saved:
        held = _Saved(tensor)
        saved.add(held)
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.tensor):
        outputs = draw()
    # Of what is saved the graph of the outputs is the only owner: what led to no output is gone.
    storages = [held.tensor.untyped_storage() for held in saved]
    known = {tensor.untyped_storage().data_ptr() for tensor in (*parameters, *outputs)}
    return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in known}.values())


@dataclass(frozen=True, eq=False)
class _Saved:
    tensor: Tensor


def _of_one_more_number(library: str, example: Draw, log_prob: bool) -> float | None:
    if not getattr(rsample.distributions, example.distribution).has_rsample or not LIBRARIES[library](
        example.distribution
    ):
        return None
    try:
        with use_backend("reference"):  # plain torch: nothing needs compiling
            (few, at_few), (many, at_many) = (_numbers_and_saved(library, example, log_prob, size) for size in SIZES)
    except (AttributeError, NotImplementedError):  # torch, or what stands for it, has no such method
        if library == "rsample":
            raise
        return None
    return (at_many - at_few) / (many - few)


def _numbers_and_saved(library: str, example: Draw, log_prob: bool, size: int) -> tuple[int, int]:
    if example.distribution == "Wishart":
        parameters = {"df": torch.tensor(9.0), "scale_tril": torch.eye(4)}
    else:  # one number of each parameter, or one row
        shape = (CATEGORIES,) if example.sweep in ROW_SWEEPS else ()
        parameters = example.parameters_of(shape, torch.float32, torch.device("cpu"))
    for parameter in parameters.values():
        parameter.requires_grad_()
    # A new one each time: torch's keep probs or logits that a draw has computed from the other.
    distribution = example.distribution_of(library, parameters)
    outputs: list[Tensor] = []

    def draw() -> list[Tensor]:
        if log_prob and library == "rsample":
            outputs.extend(distribution.rsample_with_log_prob((size,)))
        else:
            outputs.append(distribution.rsample(torch.Size((size,))))
            if log_prob:
                outputs.append(distribution.log_prob(outputs[0]))
        return outputs

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Singular sample")  # torch's Wishart says so of every sample
        saved = saved_for_backward(draw, parameters.values())
    return outputs[0].numel(), saved
