"""The results as tables for a terminal."""

from __future__ import annotations

from requirements import verdicts
from results import Pair, size_label
from rich.table import Table


def seconds(value: float) -> str:
    """A time with three digits and its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:.0f} {unit}"
    return f"{value * 1e9:.3g} ns"


def results_table(pairs: list[Pair]) -> Table:
    table = Table(
        title="rsample against torch.distributions: medians; ratio of neighbouring rounds, of the fastest (best)",
        title_justify="left",
    )
    for name in ("draw", "dtype"):
        table.add_column(name, no_wrap=True)
    for name in ("samples", "rsample", "torch", "ns/sample", "torch", "GB/s", "torch", "ratio", "p20 - p80", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    last = None
    for pair in pairs:
        ours, theirs = pair.rsample, pair.torch
        if last is not None and last != (ours.draw, ours.dtype):
            table.add_section()
        table.add_row(
            ours.draw if last is None or last[0] != ours.draw else "",
            ours.dtype if last != (ours.draw, ours.dtype) else "",
            size_label(ours.shape),
            seconds(ours.p50),
            seconds(theirs.p50),
            f"{ours.ns_per_sample:.2f}",
            f"{theirs.ns_per_sample:.2f}",
            f"{ours.gbps:.1f}",
            f"{theirs.gbps:.1f}",
            f"[{'green' if ours.ratio >= 1 else 'yellow'}]{ours.ratio:.2f}x[/]",
            f"{ours.ratio_p20:.2f} - {ours.ratio_p80:.2f}",
            f"{ours.ratio_best:.2f}x",
        )
        last = (ours.draw, ours.dtype)
    return table


def requirements_table(pairs: list[Pair]) -> Table:
    table = Table(title="Required ratios, torch's time over rsample's, float32", title_justify="left")
    table.add_column("draw", no_wrap=True)
    for name in ("samples", "required", "ratio", "p20 - p80", "best", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for verdict in verdicts(pairs):
        row = verdict.pair.rsample
        table.add_row(
            row.draw,
            size_label(row.shape),
            f"{verdict.required:.3g}x",
            f"{row.ratio:.3g}x",
            f"{row.ratio_p20:.2f} - {row.ratio_p80:.2f}",
            f"{row.ratio_best:.2f}x",
            "[green]met[/]" if verdict.met else "[red]not met[/]",
        )
    return table
