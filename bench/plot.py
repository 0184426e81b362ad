"""The results as a plot: for each draw time a sample, and below it the ratio."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
from results import Pair, Row, size_label

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

COLOURS = {"torch": "#c2702d", "rsample": "#0b6e99"}
LABELS = {"torch": "torch.distributions", "rsample": "rsample"}
INK, FAINT = "#2f3437", "#dcdfe3"
COLUMNS = 3


def draw_plot(pairs: list[Pair], path: Path) -> None:
    """Write a PNG of the float32 sweep; draws that were measured at one size only are left out."""
    sweeps: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.rsample.dtype == "float32":
            sweeps.setdefault(pair.rsample.draw, []).append(pair)
    sweeps = {draw: sweep for draw, sweep in sweeps.items() if len(sweep) > 1}
    style = {"font.size": 10, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    with plt.rc_context({**style, "axes.edgecolor": INK, "axes.axisbelow": True, "axes.labelsize": 9}):
        figure = _figure(sweeps)
        row = pairs[0].rsample
        heading = f"{row.device}, {row.threads} threads, torch {row.torch}, {row.timestamp[:10]}"
        figure.suptitle(heading, fontsize=10, x=0.01, ha="left")
        figure.supxlabel("samples (float32; line: median, band: from 20% to 80% of the rounds)", fontsize=9)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _figure(sweeps: dict[str, list[Pair]]) -> Figure:
    """Bands of COLUMNS draws; in a band, times above and ratios below, each to one scale over the whole figure."""
    bands = max(1, math.ceil(len(sweeps) / COLUMNS))
    figure = plt.figure(figsize=(9.6, 4.6 * bands + 0.7), layout="constrained")
    grid = figure.subplots(
        2 * bands, COLUMNS, sharex=True, squeeze=False, gridspec_kw={"height_ratios": [5, 4] * bands}
    )
    for kind in (0, 1):
        first, *others = grid[kind::2].flat
        for axes in others:
            axes.sharey(first)
    for axes in grid.flat:
        axes.set_visible(False)
    for i, (draw, sweep) in enumerate(sweeps.items()):
        band, column = divmod(i, COLUMNS)
        times, ratios = grid[2 * band : 2 * band + 2, column]
        _draw_times(times, sweep)
        _draw_ratios(ratios, sweep)
        times.set_title(draw, fontsize=11, fontweight="bold")
        if column == 0:
            times.set_ylabel("nanoseconds a sample")
            ratios.set_ylabel("times faster than torch")
        if i == 0:
            times.legend(frameon=False, loc="upper right", fontsize=9)
    return figure


def _draw_times(axes: Axes, sweep: list[Pair]) -> None:
    for library, label in LABELS.items():
        rows = [getattr(pair, library) for pair in sweep]
        bounds = [[getattr(row, q) * 1e9 / row.n for row in rows] for q in ("p20", "p80")]
        _line(axes, rows, [row.ns_per_sample for row in rows], bounds, library, label)
    _frame(axes, [pair.rsample.n for pair in sweep], "")


def _draw_ratios(axes: Axes, sweep: list[Pair]) -> None:
    rows = [pair.rsample for pair in sweep]
    axes.axhline(1, color=INK, lw=1, ls=(0, (4, 3)))
    bounds = [[row.ratio_p20 for row in rows], [row.ratio_p80 for row in rows]]
    _line(axes, rows, [row.ratio for row in rows], bounds, "rsample", None)
    _frame(axes, [row.n for row in rows], "x")
    best = max(rows, key=lambda row: row.ratio)
    note = f"up to {best.ratio:.1f}x, at {_power(best.n)}"
    axes.text(0.97, 0.03, note, transform=axes.transAxes, ha="right", color=COLOURS["rsample"])


def _line(
    axes: Axes, rows: list[Row], middle: list[float], bounds: list[list[float]], library: str, label: str | None
) -> None:
    n = [row.n for row in rows]
    axes.plot(n, middle, "o-", color=COLOURS[library], ms=4, lw=1.8, label=label)
    axes.fill_between(n, *bounds, color=COLOURS[library], alpha=0.15, lw=0)


def _frame(axes: Axes, sizes: list[int], unit: str) -> None:
    axes.set_visible(True)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes[::2], [_power(n) for n in sizes[::2]])
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}{unit}"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color=FAINT, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0, labelbottom=True)


def _power(n: int) -> str:
    base, exponent = size_label(n).split("^")
    return f"${base}^{{{exponent}}}$"
