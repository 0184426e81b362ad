"""The results as the fragment of Markdown that README.md shows, and its place there."""

from __future__ import annotations

import re

from requirements import verdicts
from results import Pair, size_label

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

# Sizes that stand for the sweep, which is in the CSV file and the plot.
SHOWN_EXPONENTS = (10, 14, 16, 18, 20, 22, 24)


def fragment(pairs: list[Pair], plot: str, data: str) -> str:
    """Tables of the results.

    Args:
        plot, data: where the plot and the CSV file are, as links.
    """
    row = pairs[0].rsample
    lines = [
        f"{row.device}, {row.threads} threads; {row.timestamp[:10]}; torch {row.torch}, triton {row.triton}, "
        f"rsample {row.rsample}, Python {row.python}; `make bench`.",
        "",
        "**Times faster than `torch.distributions`**, and rsample's nanoseconds a sample; float32, one parameter of "
        "each kind a sample. The libraries are timed in alternating rounds; the ratio is the median quotient of "
        "neighbouring rounds. `backward`: a draw and the parameters' gradients for a given gradient of the sample. "
        "`graph`: a draw that records a graph. On the CPU the process keeps the memory it frees, so that page faults, "
        "which come and go with the C library's limits and slow both libraries, are not in the times up to 32 MiB.",
        "",
        *_ratios([p for p in pairs if p.rsample.dtype == "float32"]),
    ]
    others = [p for p in pairs if p.rsample.dtype != "float32"]
    if others:
        lines += ["", "Other dtypes, 2^20 samples or the nearest size measured:", "", *_dtypes(others)]
    checked = verdicts(pairs)
    if checked:
        met = sum(v.met for v in checked)
        lines += ["", f"{met} of {len(checked)} required ratios are met:", ""]
        lines += ["| draw | samples | required | measured | |", "| --- | ---: | ---: | ---: | --- |"]
        for v in checked:
            row = v.pair.rsample
            verdict = "met" if v.met else "**not met**"
            lines.append(f"| {row.draw} | {size_label(row.n)} | {v.required:.3g} | {row.ratio:.3g} | {verdict} |")
    lines += [
        "",
        f"![time a sample and ratio against the number of samples]({plot})",
        "",
        f"Every number: [{data}]({data})",
    ]
    return "\n".join(lines) + "\n"


def _ratios(pairs: list[Pair]) -> list[str]:
    sizes = sorted({p.rsample.n for p in pairs if p.rsample.n in {2**e for e in SHOWN_EXPONENTS}})
    cells: dict[str, dict[int, str]] = {}
    for p in pairs:
        cells.setdefault(p.rsample.draw, {})[p.rsample.n] = f"**{p.rsample.ratio:.2f}x** {p.rsample.ns_per_sample:.2f}"
    return _table("draw", [size_label(n) for n in sizes], {d: [c.get(n, "") for n in sizes] for d, c in cells.items()})


def _dtypes(pairs: list[Pair]) -> list[str]:
    dtypes = list(dict.fromkeys(p.rsample.dtype for p in pairs))
    largest: dict[str, dict[str, str]] = {}
    for p in sorted(pairs, key=lambda p: -abs(p.rsample.n - 2**20)):
        cell = f"**{p.rsample.ratio:.2f}x** {p.rsample.ns_per_sample:.2f}"
        largest.setdefault(p.rsample.draw, {})[p.rsample.dtype] = cell
    order = dict.fromkeys(p.rsample.draw for p in pairs)
    return _table("draw", dtypes, {d: [largest[d].get(t, "") for t in dtypes] for d in order})


def _table(corner: str, columns: list[str], rows: dict[str, list[str]]) -> list[str]:
    head = [f"| {corner} | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    return head + [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]


def inserted(document: str, text: str) -> str:
    """`document` with `text` in place of whatever stands between the two markers.

    Raises:
        ValueError: the document does not hold the markers once each, in order.
    """
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise ValueError(f"expected {BEGIN} and then {END}, once each")
    between = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    return between.sub(lambda _: f"{BEGIN}\n{text}{END}", document)
