"""From pytest-benchmark's JSON file to rows, and from rows to CSV."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """One library's time for one case.

    p50, p20 and p80 are seconds per call. `ratio` is torch's time over this library's: the median over the rounds of
    the quotient of two neighbouring rounds, with its quantiles beside it; `ratio_best` is the quotient of the two
    fastest rounds, which other programs disturb least. `n` counts the numbers in `shape`, which are categories where a
    draw picks one per row. `gbps` counts the bytes that must move. `load` is the load average before the start: above
    0, other programs were running.
    """

    draw: str
    library: str
    dtype: str
    shape: str
    n: int
    p50: float
    p20: float
    p80: float
    ns_per_sample: float
    gbps: float
    ratio: float
    ratio_p20: float
    ratio_p80: float
    ratio_best: float
    rounds: int
    device: str
    threads: int
    load: float
    torch: str
    triton: str
    rsample: str
    python: str
    timestamp: str


def load(path: Path) -> list[Row]:
    """The rows of a pytest-benchmark JSON file, in the order of measurement."""
    document = json.loads(path.read_text())
    measured = document["machine_info"]["measured"]
    groups: dict[str, dict[str, dict]] = defaultdict(dict)
    for benchmark in document["benchmarks"]:
        groups[benchmark["group"]][benchmark["extra_info"]["library"]] = benchmark
    rows = []
    for group in groups.values():
        reference = np.asarray(group["torch"]["stats"]["data"])
        rows += [_row(benchmark, reference, measured) for benchmark in group.values()]
    return rows


def _row(benchmark: dict, reference: np.ndarray, measured: dict) -> Row:
    info = benchmark["extra_info"]
    times = np.asarray(benchmark["stats"]["data"])
    p20, p50, p80 = (float(q) for q in np.quantile(times, (0.2, 0.5, 0.8)))
    ratio_p20, ratio, ratio_p80 = (float(q) for q in np.quantile(reference / times, (0.2, 0.5, 0.8)))
    return Row(
        draw=info["draw"],
        library=info["library"],
        dtype=info["dtype"],
        shape=str(tuple(info["shape"])),
        n=info["n"],
        p50=p50,
        p20=p20,
        p80=p80,
        ns_per_sample=p50 * 1e9 / info["n"],
        gbps=info["bytes_moved"] / p50 * 1e-9,
        ratio=ratio,
        ratio_p20=ratio_p20,
        ratio_p80=ratio_p80,
        ratio_best=float(reference.min() / times.min()),
        rounds=len(times),
        **measured,
    )


def write_csv(rows: Sequence[Any], path: Path) -> None:
    """Write instances of one dataclass, a column for each field."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(rows[0])], lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells(row) for row in rows)


def cells(row: Any) -> dict[str, Any]:
    """A row by its columns, as CSV files have it: six digits are more than any timing has."""
    return {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()}


@dataclass(frozen=True)
class Pair:
    """The rows of one case."""

    torch: Row
    rsample: Row


def pairs(rows: list[Row]) -> list[Pair]:
    groups: dict[tuple[str, str, str], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        groups[row.draw, row.dtype, row.shape][row.library] = row
    return [Pair(**group) for group in groups.values()]


def size_label(shape: str) -> str:
    """2^k for the shape (2^k,), and 64 x 50257 for rows of categories."""
    sizes = [int(size) for size in re.findall(r"\d+", shape)]
    if len(sizes) == 1 and sizes[0].bit_count() == 1:
        return f"2^{sizes[0].bit_length() - 1}"
    return " x ".join(str(size) for size in sizes)
