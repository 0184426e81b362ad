"""The results of one device as the piece of Markdown that bench/README.md shows."""

from __future__ import annotations

from cases import DRAWS, FULL
from markdown_table import pipe_table
from requirements import verdicts
from results import Pair, size_label

SWEPT = {draw.name for draw in DRAWS if draw.sweep == FULL}
# Left out of the table, which has many columns; they are in the CSV file.
LEFT_OUT = ("2^12",)


def fragment(pairs: list[Pair], plot: str, data: str) -> str:
    """Tables of the results.

    Args:
        plot, data: where the plot and the CSV file are, as links from there.
    """
    row = pairs[0].rsample
    lines = [
        f"{row.device}, {row.threads} threads; {row.timestamp[:10]}; torch {row.torch}, triton {row.triton}, "
        f"rsample {row.rsample}, Python {row.python}; `make bench-all`.",
        "",
        f"![times faster than torch.distributions, by distribution and by number of samples]({plot})",
        "",
        "**Times faster than `torch.distributions`**, and rsample's nanoseconds per sample; float32, one parameter of "
        "each kind per sample. The libraries are timed in alternating rounds; the ratio is the median quotient of "
        "neighbouring rounds. `backward`: a draw and the parameters' gradients for a given gradient of the sample. "
        "`construct`: making the distribution too. `graph`: a draw that records a graph. `log_prob`: a draw and its "
        "log-density. Where torch has no class of its own, what users write instead (`bench/counterparts.py`). On the "
        "CPU the process keeps the memory it frees, so that page faults, which come and go with the C library's limits "
        "and slow both libraries, are not in the times up to 32 MiB.",
    ]
    float32 = [pair for pair in pairs if pair.rsample.dtype == "float32"]
    others = [pair for pair in pairs if pair.rsample.dtype != "float32"]
    flat = [pair for pair in float32 if size_label(pair.rsample.shape).startswith("2^")]
    tables = (
        ("", _sizes([p for p in flat if p.rsample.draw in SWEPT])),
        ("Other dtypes, 2^20 samples or the nearest size measured:", _dtypes(others)),
        ("The other distributions:", _sizes([p for p in flat if p.rsample.draw not in SWEPT])),
        ("Rows x categories, and nanoseconds per category:", _sizes([p for p in float32 if p not in flat])),
        _requirements(pairs),
    )
    for heading, table in tables:
        if table:
            lines += ["", *([heading, ""] if heading else []), *table]
    lines += ["", f"Every number: [{data}]({data})"]
    return "\n".join(lines) + "\n"


def _cell(pair: Pair) -> str:
    return f"**{pair.rsample.ratio:.2f}x** {pair.rsample.ns_per_sample:.2f}"


def _grid(cells: dict[str, dict[str, str]], columns: list[str]) -> list[str]:
    """A row for each draw; empty if there is none."""
    rows = [[draw, *(found.get(column, "") for column in columns)] for draw, found in cells.items()]
    return pipe_table(["draw", *columns], rows) if rows else []


def _sizes(pairs: list[Pair]) -> list[str]:
    cells: dict[str, dict[str, str]] = {}
    for pair in pairs:
        cells.setdefault(pair.rsample.draw, {})[size_label(pair.rsample.shape)] = _cell(pair)
    sizes = dict.fromkeys(size_label(pair.rsample.shape) for pair in sorted(pairs, key=lambda pair: pair.rsample.n))
    return _grid(cells, [size for size in sizes if size not in LEFT_OUT])


def _dtypes(pairs: list[Pair]) -> list[str]:
    cells: dict[str, dict[str, str]] = {pair.rsample.draw: {} for pair in pairs}
    for pair in sorted(pairs, key=lambda pair: -abs(pair.rsample.n - 2**20)):
        cells[pair.rsample.draw][pair.rsample.dtype] = _cell(pair)
    return _grid(cells, list(dict.fromkeys(pair.rsample.dtype for pair in pairs)))


def _requirements(pairs: list[Pair]) -> tuple[str, list[str]]:
    """One line per draw: what is required and what was measured, at each size."""
    checked = verdicts(pairs)
    cells: dict[str, list[str]] = {}
    for v in checked:
        row = v.pair.rsample
        text = f"{row.ratio:.3g} of {v.required:.3g} at {size_label(row.shape)}"
        cells.setdefault(row.draw, []).append(text if v.met else f"**{text}: not met**")
    met = sum(v.met for v in checked)
    rows = [[draw, "; ".join(texts)] for draw, texts in cells.items()]
    heading = f"{met} of {len(checked)} required ratios are met:"
    return heading, pipe_table(["draw", "measured, of required"], rows, left=2) if rows else []
