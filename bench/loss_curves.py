"""The losses of trainings against time, as a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from end_to_end import Model, Run
from plot import BAR, FAINT, PALETTE, STYLE

matplotlib.use("Agg")

from matplotlib import pyplot as plt

STYLES = {"torch": {"color": PALETTE[3], "ls": "--"}, "rsample": {"color": BAR, "ls": "-"}}
LABELS = {"torch": "torch.distributions", "rsample": "rsample"}


@dataclass(frozen=True)
class Loss:
    """One step of a training.

    Attributes:
        unit: what the loss is.
        seconds: from the beginning of the training to the end of this step.
    """

    model: str
    library: str
    unit: str
    step: int
    seconds: float
    loss: float


def losses(runs: Mapping[Model, Mapping[str, Run]], length: int) -> Iterator[Loss]:
    """Every step of every training.

    Args:
        length: steps per slice.
    """
    for model, found in runs.items():
        for library, run in found.items():
            times = np.cumsum(np.repeat(run.steps, length)).tolist()
            for step, (seconds, loss) in enumerate(zip(times, run.losses, strict=True), 1):
                yield Loss(model.name, library, model.loss, step, seconds, loss)


def draw_curves(rows: Iterable[Mapping[str, Any]], factors: Mapping[str, float], path: Path) -> None:
    """Write a PNG of 800 pixels' width.

    Args:
        rows: losses, as these or as a CSV file has them.
        factors: of each model, how many times faster a step is.
    """
    rows = list(rows)
    with plt.rc_context(STYLE):
        lines = math.ceil(len(factors) / 2)
        figure, grid = plt.subplots(lines, 2, figsize=(8, 0.6 + 2.4 * lines), layout="constrained", squeeze=False)
        for (model, factor), axes in zip(factors.items(), grid.flat, strict=False):
            for library, style in STYLES.items():
                own = [row for row in rows if (row["model"], row["library"]) == (model, library)]
                seconds, values = ([float(row[column]) for row in own] for column in ("seconds", "loss"))
                axes.plot(seconds, values, lw=1.4, label=LABELS[library], **style)
            axes.set_title(f"{model}: {factor:.2f}x as fast", loc="left", fontweight="bold", fontsize=8)
            axes.set_xlabel("seconds")
            axes.set_ylabel(next(row["unit"] for row in rows if row["model"] == model))
            axes.grid(color=FAINT, lw=0.8)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(length=0)
        for axes in grid.flat[len(factors) :]:
            axes.set_axis_off()
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=2, frameon=False, loc="outside lower left")
        figure.savefig(path, dpi=100)
        plt.close(figure)
