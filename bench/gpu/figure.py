"""The timings of a GPU as a plot: how near each draw is to a copy, and the time of three draws at every size."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from results import size_label

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, PercentFormatter

Row = dict[str, str]
# Colours that the colour-blind tell apart (Okabe and Ito).
COLOURS = {"rsample": "#0072b2", "torch.compile": "#e69f00", "torch": "#999999"}
INK, FAINT = "#2f3437", "#dcdfe3"
BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
SWEPT = 3  # the first draws are shown at every size


def draw_figure(rows: list[Row], path: Path) -> None:
    """Write a PNG of the timings."""
    style = {"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    with plt.rc_context({**style, "axes.edgecolor": INK, "axes.axisbelow": True}):
        figure = plt.figure(figsize=(13, 9.5), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=(6, 4))
        dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
        largest = max(int(row["n"]) for row in rows)
        for axes, dtype in zip(upper.subplots(1, len(dtypes), sharey=True, squeeze=False)[0], dtypes, strict=True):
            _bars(axes, [row for row in rows if row["dtype"] == dtype and int(row["n"]) == largest])
            size = _power(largest)
            axes.set_title(f"share of a copy's bandwidth, {size} {dtype} samples", loc="left", fontweight="bold")
        handles = upper.axes[0].get_legend_handles_labels()[0]
        upper.legend(handles=handles, ncols=len(handles), frameon=False, fontsize=8, loc="outside lower right")
        swept = list(dict.fromkeys(row["draw"] for row in rows))[:SWEPT]
        for axes, draw in zip(lower.subplots(1, len(swept), squeeze=False)[0], swept, strict=True):
            _times(axes, [row for row in rows if row["draw"] == draw and row["dtype"] == dtypes[0]])
            axes.set_title(f"{draw}, {dtypes[0]}", loc="left", fontweight="bold")
        row = rows[0]
        heading = f"{row['device']}, torch {row['torch']}, triton {row['triton']}, {row['timestamp'][:10]}"
        figure.suptitle(heading, fontsize=9, x=0.01, ha="left")
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _bars(axes: Axes, rows: list[Row]) -> None:
    """Each draw's bandwidth in each library, over that of a copy."""
    draws = list(dict.fromkeys(row["draw"] for row in rows))
    height = 0.8 / len(COLOURS)
    for i, (library, colour) in enumerate(COLOURS.items()):
        found = {row["draw"]: float(row["of_copy"]) for row in rows if row["library"] == library}
        y = [draws.index(draw) + (i - 1) * height for draw in found]
        axes.barh(y, list(found.values()), height=height * 0.92, color=colour, label=library)
        for at, share in zip(y, found.values(), strict=True):
            axes.text(share + 0.01, at, f"{share:.0%}", va="center", fontsize=7, bbox=BEHIND_TEXT)
    axes.axvline(1, color=INK, lw=1, ls=(0, (4, 3)))
    axes.set_yticks(range(len(draws)), draws)
    axes.set_ylim(len(draws) - 0.5, -0.5)
    axes.set_xlim(0, max(1.1, axes.get_xlim()[1] * 1.05))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="x", color=FAINT, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)


def _times(axes: Axes, rows: list[Row]) -> None:
    """Microseconds per call against the number of samples."""
    for library, colour in COLOURS.items():
        own = sorted((row for row in rows if row["library"] == library), key=lambda row: int(row["n"]))
        n = [int(row["n"]) for row in own]
        axes.plot(n, [float(row["p50"]) * 1e6 for row in own], "o-", color=colour, ms=3.5, lw=1.6, label=library)
        expected = [float(row["predicted"]) * 1e6 for row in own if row["predicted"]]
        if expected:
            axes.plot(n, expected, color=INK, lw=1.2, ls=(0, (4, 3)), label="predicted of rsample")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = sorted({int(row["n"]) for row in rows})
    axes.set_xticks(sizes, [_power(n) for n in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("samples")
    axes.set_ylabel("microseconds per call")
    axes.grid(color=FAINT, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0)
    axes.legend(frameon=False, fontsize=8)


def _power(n: int) -> str:
    base, _, exponent = size_label(f"({n},)").partition("^")
    return f"${base}^{{{exponent}}}$" if exponent else base
