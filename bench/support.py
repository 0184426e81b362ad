"""What each distribution offers, and what it costs, as the table that distributions/README.md shows."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cases import DRAWS, FAMILIES, plain_draws
from instructions import read_counts
from markdown_table import pipe_table
from saved_bytes import saved_bytes

import rsample.distributions

HEAD = (
    "distribution",
    "sample",
    "rsample",
    "log-prob",
    "bytes kept",
    "with log-prob",
    "instructions per sample",
    "times faster on the CPU",
)


@dataclass(frozen=True)
class Measured:
    """Results by what they are about: instructions by law, ratios by draw."""

    instructions: dict[str, float]
    ratios: dict[str, float]


def measured(instructions: Path, results: Path | None) -> Measured:
    """Of float32: the forward kernel's instructions for dense parameters, and ratios at 2^20 or the nearest size."""
    counts = {
        row["draw"]: float(row["instructions"])
        for row in read_counts(instructions)
        if (row["kernel"], row["dtype"], row["layout"]) == ("forward", "float32", "dense")
    }
    rows: list[dict[str, str]] = []
    if results is not None:
        with results.open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if (r["library"], r["dtype"]) == ("rsample", "float32")]
    rows.sort(key=lambda row: -abs(int(row["n"]) - 2**20))
    return Measured(counts, {row["draw"]: float(row["ratio"]) for row in rows})


def support_table(known: Measured) -> str:
    """A line for each class of rsample.distributions."""
    lines = [
        "**What is supported.** `log-prob`: `sample_with_log_prob` and `rsample_with_log_prob` make the sample and "
        "its log-density in one kernel (fused), or the density after the sample. Bytes kept: what `rsample`, and what "
        "`rsample_with_log_prob`, saves for backward for each float32 number of a sample, besides the parameters, "
        "which all samples share, and the outputs themselves; in brackets what `torch.distributions` saves. "
        "Instructions: of the machine code of sm_90, forward, dense float32 parameters; of draws that loop, where the "
        "first round is accepted. Times faster than `torch.distributions`, or than what its users write instead: 2^20 "
        "float32 samples, as measured in [bench/README.md](../bench/README.md). Two numbers: from probs, from logits.",
        "",
        *pipe_table(HEAD, [_row(name, known) for name in FAMILIES], left=4),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, known: Measured) -> tuple[str, ...]:
    draws = [draw for draw in DRAWS if (draw.distribution, draw.work) == (name, "")] or plain_draws(name)
    if not draws:
        # Made of other distributions, whose draws they are.
        always = getattr(rsample.distributions, name).has_rsample
        offered = _yes(always) if isinstance(always, bool) else "as its base"
        return name, "yes", offered, "", *_bytes_kept(name), "", ""
    examples = [
        draw.distribution_of("rsample", draw.parameters_of((4, 4), torch.float32, torch.device("cpu")))
        for draw in draws
    ]
    reparameterised = examples[0].has_rsample
    # One for each way to give the parameters.
    draws = [draw for draw in draws if not draw.variant]
    methods = {draw.method for draw in draws}
    method = "rsample" if reparameterised and "rsample" in methods else "sample"  # torch may have no rsample
    plain = [i for i, draw in enumerate(draws) if draw.method == method]
    return (
        name,
        "yes",
        _yes(reparameterised),
        _log_prob(examples[0]),
        *_bytes_kept(name),
        _numbers(known.instructions.get(_kernel_name(examples[i])) for i in plain),
        _numbers(known.ratios.get(draws[i].name) for i in plain),
    )


def _yes(holds: bool) -> str:
    return "yes" if holds else ""


# Draws that have no law, and whose own kernel makes the log-density too.
FUSED = {
    "Categorical",
    "ExpRelaxedCategorical",
    "MultivariateNormal",
    "OneHotCategorical",
    "OneHotCategoricalStraightThrough",
    "RelaxedOneHotCategorical",
}


def _log_prob(distribution: Any) -> str:
    if not hasattr(distribution, "_draw_with"):
        return "fused" if type(distribution).__name__ in FUSED else "after"
    return "after" if distribution._draw_with()[0].with_score is None else "fused"


def _bytes_kept(name: str) -> tuple[str, str]:
    """Of `rsample` and of `rsample_with_log_prob`; ways to give the parameters that keep as much are shown once."""
    cells = ({str(row): None for row in saved_bytes(name, log_prob=log_prob)} for log_prob in (False, True))
    without, with_log_prob = (", ".join(cell) for cell in cells)
    return without, with_log_prob


def _kernel_name(distribution: Any) -> str:
    """What the instruction counts call the kernel: by its law, or where that is for rows by the distribution."""
    if not hasattr(distribution, "_draw_with"):
        return type(distribution).__name__
    return distribution._draw_with()[0].law.name


def _numbers(values: Iterable[float | None]) -> str:
    found = list(values)
    return ", ".join("-" if value is None else f"{value:.1f}" for value in found) if any(found) else ""
