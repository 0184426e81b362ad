"""The results as plots: the sweep of sizes next to every draw's ratio at one size; a few ratios for the first page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from cases import DRAWS, FULL, OVERHEAD
from requirements import required_of
from results import Pair, size_label

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Colours that the colour-blind tell apart (Okabe and Ito), one per swept draw.
PALETTE = ("#0072b2", "#56b4e9", "#332288", "#d55e00", "#e69f00", "#009e73", "#cc79a7")
BAR, INK, FAINT = "#0b6e99", "#2f3437", "#dcdfe3"
SWEPT = [draw.name for draw in DRAWS if draw.sweep == FULL]
# Where ratios are compared; draws over rows stand at a size of their own.
COMPARED = 2**20
STYLE = {
    "font.size": 9,
    "axes.axisbelow": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


def draw_plot(pairs: list[Pair], path: Path) -> None:
    """Write a PNG of the float32 results."""
    float32 = [pair for pair in pairs if pair.rsample.dtype == "float32"]
    with plt.rc_context(STYLE):
        compared = _compared(float32)
        figure = plt.figure(figsize=(13, max(6.5, 1.7 + 0.19 * len(compared))), layout="constrained")
        if any(pair.rsample.draw in SWEPT for pair in float32):
            left, right = figure.subfigures(1, 2, width_ratios=(10, 14))
            _draw_sweeps(left, float32)
            _draw_bars(right, compared)
        else:
            _draw_bars(figure.subfigures(1, 1), compared)
        row = pairs[0].rsample
        heading = f"{row.device}, {row.threads} threads, torch {row.torch}, {row.timestamp[:10]}; float32"
        figure.suptitle(heading, fontsize=9, x=0.01, ha="left")
        figure.savefig(path, dpi=150)
        plt.close(figure)


def draw_bars(bars: Sequence[tuple[str, float, float, float]], heading: str, path: Path) -> None:
    """Write a PNG of 800 pixels' width.

    Args:
        bars: of each draw its name, how many times faster it is, and from where to where 20% to 80% of the rounds lie.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.9 + 0.26 * len(bars)), layout="constrained")
        names, ratios, low, high = zip(*bars, strict=True)
        axes.barh(names, ratios, color=BAR, alpha=0.85, height=0.72)
        axes.hlines(names, low, high, color=INK, lw=1)
        for name, ratio, end in zip(names, ratios, high, strict=True):
            axes.annotate(f"{ratio:.1f}x", (max(ratio, end), name), (4, 0), textcoords="offset points", va="center")
        axes.axvline(1, color=INK, lw=1, ls=(0, (4, 3)))
        axes.invert_yaxis()
        axes.margins(x=0.08)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}x"))
        axes.grid(visible=True, axis="x", color=FAINT, lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=0)
        axes.set_title("times faster than torch.distributions", loc="left", fontweight="bold", fontsize=10)
        figure.supxlabel(f"{heading}; line: from 20% to 80% of the rounds", x=0.01, ha="left", fontsize=8)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def draw_sizes(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG of 800 pixels' width: microseconds per call against the size of the draw, of both libraries.

    Args:
        rows: of sizes.py.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
        names = list(dict.fromkeys(row["draw"] for row in rows))
        for name, colour in zip(names, (PALETTE[0], PALETTE[3], PALETTE[5]), strict=False):
            of_draw = [row for row in rows if row["draw"] == name]
            sizes = [int(row["n"]) for row in of_draw]
            axes.plot(sizes, [float(row["us"]) for row in of_draw], color=colour, lw=1.8, label=name)
            axes.plot(sizes, [float(row["torch_us"]) for row in of_draw], color=colour, lw=1.3, ls=":")
        reference = Line2D([], [], color=INK, ls=":", lw=1.3, label="torch.distributions")
        axes.legend(handles=[*axes.get_legend_handles_labels()[0], reference], frameon=False, loc="upper left")
        axes.set_title("time per call", loc="left", fontweight="bold", fontsize=10)
        _frame(axes, axes.yaxis, "")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda us, _: _duration(us)))
        axes.set_xscale("log", base=2)
        ticks = [2**exponent for exponent in range(0, max(int(row["n"]) for row in rows).bit_length(), 4)]
        axes.set_xticks(ticks, [_power(n) if n > 1 else "1" for n in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("numbers drawn")
        how = "CPU time, one thread" if "cores" in rows[0]["device"] else "by the device's events"
        heading = f"{rows[0]['device']}; torch {rows[0]['torch']}; float32; {how}"
        figure.supxlabel(heading, x=0.01, ha="left", fontsize=8)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def draw_small_calls(calls: Sequence[tuple[str, float, float]], heading: str, path: Path) -> None:
    """Write a PNG of 800 pixels' width: the time of small calls, of both libraries.

    Args:
        calls: of each draw its name, and rsample's and torch's microseconds.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8, 0.9 + 0.32 * len(calls)), layout="constrained")
        series = (("rsample", -0.19, BAR, [ours for _, ours, _ in calls]),)
        series += (("torch.distributions", 0.19, "#b6bcc2", [torchs for _, _, torchs in calls]),)
        for label, offset, colour, values in series:
            places = [i + offset for i in range(len(calls))]
            axes.barh(places, values, color=colour, height=0.36, label=label)
            for place, value in zip(places, values, strict=True):
                axes.annotate(
                    f"{value:.0f}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=7.5
                )
        axes.set_yticks(range(len(calls)), [name for name, _, _ in calls])
        axes.invert_yaxis()
        axes.margins(x=0.08)
        axes.grid(visible=True, axis="x", color=FAINT, lw=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=0)
        figure.legend(ncols=2, frameon=False, loc="outside lower right")
        axes.set_title("microseconds of the host's CPU time per call", loc="left", fontweight="bold", fontsize=10)
        figure.supxlabel(heading, x=0.01, ha="left", fontsize=8)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _draw_sweeps(figure: SubFigure, pairs: list[Pair]) -> None:
    """Time per sample above and ratio below against the number of samples, with bands from 20% to 80% of the rounds."""
    times, ratios = figure.subplots(2, 1)
    sizes: set[int] = set()
    for name, colour in zip(SWEPT, PALETTE, strict=True):
        sweep = [pair for pair in pairs if pair.rsample.draw == name]
        ours = [pair.rsample for pair in sweep]
        n = [row.n for row in ours]
        sizes.update(n)
        times.plot(n, [row.ns_per_sample for row in ours], "o-", color=colour, ms=3, lw=1.6, label=name)
        times.plot(n, [pair.torch.ns_per_sample for pair in sweep], ":", color=colour, lw=1.3)
        ratios.plot(n, [row.ratio for row in ours], "o-", color=colour, ms=3, lw=1.6)
        ratios.fill_between(
            n, [row.ratio_p20 for row in ours], [row.ratio_p80 for row in ours], color=colour, alpha=0.15, lw=0
        )
    ratios.axhline(1, color=INK, lw=1, ls=(0, (4, 3)))
    reference = Line2D([], [], color=INK, ls=":", lw=1.3, label="torch.distributions")
    handles = [*times.get_legend_handles_labels()[0], reference]
    figure.legend(handles=handles, ncols=3, frameon=False, fontsize=7.5, loc="outside lower left")
    times.set_title("nanoseconds per sample", loc="left", fontweight="bold", fontsize=10)
    ratios.set_title("times faster than torch.distributions", loc="left", fontweight="bold", fontsize=10)
    ratios.set_xlabel("samples (line: median, band: from 20% to 80% of the rounds)")
    for axes, unit in ((times, ""), (ratios, "x")):
        _frame(axes, axes.yaxis, unit)
        axes.set_xscale("log", base=2)
        ticks = sorted(sizes)[::2]
        axes.set_xticks(ticks, [_power(n) for n in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())


def _compared(pairs: list[Pair]) -> list[Pair]:
    """Each draw at the size nearest to COMPARED, rows of categories at each of theirs; the greatest ratio first."""
    chosen: dict[tuple[str, str], Pair] = {}
    for pair in sorted(pairs, key=lambda pair: -abs(pair.rsample.n - COMPARED)):
        rows = "x" in size_label(pair.rsample.shape)
        chosen[pair.rsample.draw, pair.rsample.shape if rows else ""] = pair
    overhead = {draw.name for draw in DRAWS if draw.sweep is OVERHEAD}
    return sorted((p for p in chosen.values() if p.rsample.draw not in overhead), key=lambda pair: -pair.rsample.ratio)


def _draw_bars(figure: SubFigure, pairs: list[Pair]) -> None:
    """Ratios, with the required ones and what 20% to 80% of the rounds lie in."""
    axes = figure.subplots()
    for y, pair in enumerate(pairs):
        row, required = pair.rsample, required_of(pair)
        axes.barh(y, row.ratio, color=BAR, alpha=0.85, height=0.72)
        axes.plot([row.ratio_p20, row.ratio_p80], [y, y], color=INK, lw=1)
        axes.text(
            max(row.ratio_p80, row.ratio, required or 0) * 1.06, y, f"{row.ratio:.1f}x", va="center", fontsize=7.5
        )
        if required is not None:
            axes.plot([required] * 2, [y - 0.42, y + 0.42], color=PALETTE[3], lw=2.2)
    axes.axvline(1, color=INK, lw=1, ls=(0, (4, 3)))
    axes.set_xscale("log")
    axes.set_yticks(range(len(pairs)), [_label(pair) for pair in pairs], fontsize=7.5)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    _frame(axes, axes.xaxis, "x")
    axes.set_xlim(min([0.8, *(0.9 * pair.rsample.ratio for pair in pairs)]), axes.get_xlim()[1] * 1.3)
    axes.grid(visible=False, axis="y")
    sizes = {size_label(pair.rsample.shape) for pair in pairs if "x" not in size_label(pair.rsample.shape)}
    at = f" at {_power(COMPARED)} samples" if sizes == {size_label(str((COMPARED,)))} else ""
    axes.set_title(f"times faster{at}", loc="left", fontweight="bold", fontsize=10)
    marks = [
        Line2D([], [], color=PALETTE[3], lw=2.2, label="required"),
        Line2D([], [], color=INK, lw=1, label="from 20% to 80% of the rounds"),
    ]
    figure.legend(handles=marks, ncols=2, frameon=False, fontsize=7.5, loc="outside lower right")


def _label(pair: Pair) -> str:
    size = size_label(pair.rsample.shape)
    return f"{pair.rsample.draw}, {size}" if "x" in size else pair.rsample.draw


def _frame(axes: Axes, axis: matplotlib.axis.Axis, unit: str) -> None:
    """Makes `axis` logarithmic with plain numbers, and the frame light."""
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}{unit}"))
    axis.set_minor_formatter(NullFormatter())
    axes.grid(color=FAINT, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", length=0)


def _duration(us: float) -> str:
    """A power of ten of microseconds in the unit of which it is the smallest number."""
    unit, size = next(((unit, size) for unit, size in (("s", 1e6), ("ms", 1e3)) if us >= size), ("µs", 1.0))
    return f"{us / size:g} {unit}"


def _power(n: int) -> str:
    base, exponent = size_label(str((n,))).split("^")
    return f"${base}^{{{exponent}}}$"
