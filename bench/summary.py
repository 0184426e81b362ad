"""What the first page shows of the results: ten draws, and the programs that `accelerate()` was measured with."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from markdown_table import pipe_table
from plot import draw_bars, draw_small_calls
from results import size_label

TEN = (
    "Normal.rsample",
    "Normal.rsample, backward",
    "Bernoulli(logits).sample",
    "Gamma.rsample",
    "Gamma.rsample, backward",
    "Beta.rsample",
    "Poisson.sample",
    "Categorical(logits).sample",
    "Dirichlet.rsample",
    "MultivariateNormal.rsample",
)
# The small calls of a GPU's host that are drawn, and those of the table of calls.
SHOWN = (
    "Normal.rsample",
    "Normal.sample",
    "Normal.rsample, graph",
    "Normal.rsample, backward",
    "Normal.rsample, construct",
    "Bernoulli(logits).sample",
    "Categorical(logits).sample",
    "Categorical(logits).sample, construct",
    "Gamma.rsample",
    "Gamma.rsample, backward",
)
# The shapes of small calls.
SMALL = {"(8,)", "(8, 4)"}

# Of the pictures, from the folder of the first page.
PICTURE = "bench/results/first-page.png"
HOST_PICTURE = "bench/results/host-time.png"

Row = dict[str, str]


def summary(sweep: Path, calls: Iterable[Path]) -> str:
    """The table of ten draws.

    Args:
        sweep: the CSV file of run.py.
        calls: those of calls.py, on a CPU and for a GPU's host; the last of each kind counts.
    """
    large = _large(_rows(sweep))
    on_cpu, on_host = _small(calls)
    lines = [
        f"![how many times faster than torch.distributions ten draws are]({PICTURE})",
        "",
        f"Large draws of float32 numbers on the CPU ({_device(large)}): times faster than `torch.distributions`, and "
        "nanoseconds per number. Small draws, of 8 numbers or of 8 rows of 4: microseconds of CPU time per call, on "
        f"the CPU ({_device(on_cpu)}) and on the host of a GPU ({_device(on_host)}). In brackets torch's. Empty: not "
        "measured.",
        "",
        *pipe_table(
            ("draw", "large draw", "times faster", "ns per number", "µs per small call", "µs on the GPU's host"),
            [
                (
                    name,
                    size_label(large[name]["shape"]) if name in large else "",
                    f"**{float(large[name]['ratio']):.1f}**" if name in large else "",
                    _both(large.get(name), "ns_per_sample", 2),
                    _both(on_cpu.get(name), "us", 1),
                    _both(on_host.get(name), "us", 1),
                )
                for name in TEN
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def draw_picture(sweep: Path, root: Path) -> None:
    """Draw the ten ratios of large draws.

    Args:
        sweep: the CSV file of run.py.
        root: the first page's folder.
    """
    large = _large(_rows(sweep))
    rows = [(f"{name}, {size_label(large[name]['shape'])}", large[name]) for name in TEN if name in large]
    bars = [(name, *(float(row[column]) for column in ("ratio", "ratio_p20", "ratio_p80"))) for name, row in rows]
    if bars:
        (root / PICTURE).parent.mkdir(parents=True, exist_ok=True)
        draw_bars(bars, f"{_device(large)}; float32 on the CPU", root / PICTURE)


def draw_host_picture(calls: Iterable[Path], root: Path) -> None:
    """Draw what small calls cost the host of a GPU, where it has been measured.

    Args:
        calls: the CSV files of calls.py.
        root: the first page's folder.
    """
    _, on_host = _small(calls)
    shown = [(name, float(on_host[name]["us"]), float(on_host[name]["torch_us"])) for name in SHOWN if name in on_host]
    if shown:
        (root / HOST_PICTURE).parent.mkdir(parents=True, exist_ok=True)
        draw_small_calls(shown, f"{_device(on_host)}; 8 numbers, or 8 rows of 4", root / HOST_PICTURE)


def accelerated(programs: Iterable[Path]) -> str:
    """What programs take under `accelerate()` of the time that they take without."""
    lines = []
    for path in programs:
        rows = sorted(_rows(path), key=lambda row: float(row["ratio"]))
        if rows:
            lines.append(
                f"Time per step under `accelerate()`, as a share of the time without it; below 1 is faster "
                f"({rows[0]['device']}; torch {rows[0]['torch']}):\n"
            )
        lines += [f"- {float(row['ratio']):.2f}: {row['program']}" for row in rows]
    return "\n".join(lines) + "\n"


def _rows(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _small(calls: Iterable[Path]) -> tuple[dict[str, Row], dict[str, Row]]:
    """Each draw's row of small calls: on a CPU, and on the host of a GPU."""
    on_cpu: dict[str, Row] = {}
    on_host: dict[str, Row] = {}
    for path in calls:
        small = {row["draw"]: row for row in _rows(path) if row["shape"] in SMALL}
        if small:
            is_cpu = "cores" in next(iter(small.values()))["device"]
            on_cpu, on_host = (small, on_host) if is_cpu else (on_cpu, small)
    return on_cpu, on_host


def _large(rows: list[Row]) -> dict[str, Row]:
    """Each draw's float32 row of rsample at the size nearest to 2**20, with torch's time per number beside ours."""
    of_torch = {(r["draw"], r["dtype"], r["shape"]): r["ns_per_sample"] for r in rows if r["library"] == "torch"}
    ours = [row for row in rows if (row["library"], row["dtype"]) == ("rsample", "float32")]
    ours.sort(key=lambda row: -abs(int(row["n"]) - 2**20))
    return {
        row["draw"]: row | {"torch_ns_per_sample": of_torch[row["draw"], row["dtype"], row["shape"]]} for row in ours
    }


def _both(row: Row | None, column: str, digits: int) -> str:
    if row is None:
        return ""
    return f"{float(row[column]):.{digits}f} ({float(row[f'torch_{column}']):.{digits}f})"


def _device(rows: dict[str, Row]) -> str:
    return next((f"{row['device']}; torch {row['torch']}" for row in rows.values()), "none")
