"""The results as a plot: a column for each draw, time a sample above, ratio below."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from results import Pair

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

COLOURS = {"rsample": "#0b6e99", "torch": "#b5651d"}
INK, FAINT = "#2f3437", "#dcdfe3"


def draw_plot(pairs: list[Pair], path: Path) -> None:
    """Write a PNG of the float32 sweep; draws that were measured at one size only are left out."""
    sweeps: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.rsample.dtype == "float32":
            sweeps.setdefault(pair.rsample.draw, []).append(pair)
    sweeps = {draw: sweep for draw, sweep in sweeps.items() if len(sweep) > 1}
    style = {"font.size": 10, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK}
    with plt.rc_context({**style, "axes.edgecolor": INK, "axes.axisbelow": True}):
        columns = max(1, len(sweeps))
        figure, axes = plt.subplots(
            2,
            columns,
            figsize=(2.7 * columns + 0.9, 5.8),
            sharex=True,
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        for column, (draw, sweep) in enumerate(sweeps.items()):
            _times(axes[0][column], sweep)
            _ratio(axes[1][column], sweep)
            axes[0][column].set_title(draw, fontsize=11, fontweight="bold")
        axes[0][0].set_ylabel("nanoseconds a sample")
        axes[1][0].set_ylabel("times faster than torch")
        if sweeps:
            axes[0][-1].legend(frameon=False, loc="upper right")
        figure.supxlabel("samples (float32; line: median, band: 20% to 80% of the rounds)", fontsize=10)
        row = pairs[0].rsample
        figure.suptitle(
            f"{row.device}, {row.threads} threads   torch {row.torch}   {row.timestamp[:10]}",
            fontsize=10,
            x=0.01,
            ha="left",
        )
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _times(axes: Axes, sweep: list[Pair]) -> None:
    for library, label in (("torch", "torch.distributions"), ("rsample", "rsample")):
        rows = [getattr(pair, library) for pair in sweep]
        n = [row.n for row in rows]
        axes.plot(n, [row.ns_per_sample for row in rows], "o-", color=COLOURS[library], ms=4, lw=1.8, label=label)
        low, high = ([getattr(row, q) * 1e9 / row.n for row in rows] for q in ("p20", "p80"))
        axes.fill_between(n, low, high, color=COLOURS[library], alpha=0.15, lw=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    _frame(axes, n)


def _ratio(axes: Axes, sweep: list[Pair]) -> None:
    rows = [pair.rsample for pair in sweep]
    n = [row.n for row in rows]
    axes.axhline(1, color=INK, lw=1, ls=(0, (4, 3)))
    axes.plot(n, [row.ratio for row in rows], "o-", color=COLOURS["rsample"], ms=4, lw=1.8)
    axes.fill_between(
        n, [row.ratio_p20 for row in rows], [row.ratio_p80 for row in rows], color=COLOURS["rsample"], alpha=0.15, lw=0
    )
    axes.annotate(f"{rows[-1].ratio:.1f}x", (n[-1], rows[-1].ratio), (0, 7), textcoords="offset points", ha="center")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}x"))
    _frame(axes, n)


def _frame(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes[::2], [f"$2^{{{n.bit_length() - 1}}}$" for n in sizes[::2]])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=FAINT, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0)
