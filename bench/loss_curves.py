"""The losses of trainings as a plot: by step, where both libraries' must agree, and by time."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from end_to_end import Model, Run
from plot import BAR, FAINT, PALETTE, STYLE

matplotlib.use("Agg")

from matplotlib import pyplot as plt

STYLES = {"torch": {"color": PALETTE[3], "ls": "--"}, "rsample": {"color": BAR, "ls": "-"}}
LABELS = {"torch": "torch.distributions", "rsample": "rsample"}


def draw_curves(runs: dict[Model, dict[str, Run]], length: int, path: Path) -> None:
    """Write a PNG.

    Args:
        length: steps per slice.
    """
    with plt.rc_context(STYLE):
        figure, rows = plt.subplots(2, len(runs), figsize=(13, 5.6), sharey="col", layout="constrained")
        for (model, found), (by_step, by_time) in zip(runs.items(), rows.T, strict=True):
            for library, run in found.items():
                time = np.cumsum(np.repeat(run.steps, length))
                by_step.plot(
                    range(1, len(run.losses) + 1), run.losses, lw=1.5, label=LABELS[library], **STYLES[library]
                )
                by_time.plot(time, run.losses, lw=1.5, **STYLES[library])
            by_step.set_title(model.name, loc="left", fontweight="bold", fontsize=10)
            by_step.set_xlabel("step")
            by_time.set_xlabel("seconds")
            for axes in (by_step, by_time):
                axes.set_ylabel(model.loss)
                axes.grid(color=FAINT, lw=0.8)
                axes.spines[["top", "right"]].set_visible(False)
                axes.tick_params(length=0)
        handles, labels = rows[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=2, frameon=False, loc="outside lower left")
        figure.savefig(path, dpi=150)
        plt.close(figure)
