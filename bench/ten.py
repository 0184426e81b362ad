"""The ten draws that matter, large and small, beside torch.distributions, numpy and, where it is installed, JAX.

python bench/ten.py [--device cuda] [--budget SECONDS] [--results FOLDER]

On the CPU: the CPU time of the process, on one thread, which other programs disturb little. On a GPU: large draws by
its events, small ones by the CPU time of the host; without other libraries.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import machine
import peers
import torch
from allocator import keep_freed_memory
from cases import DRAWS, ROW_SWEEPS, Draw, Shape
from cpuinfo import get_cpu_info
from markdown_table import pipe_table
from pairing import interleaved
from progress import tracked
from results import size_label, write_csv
from summary import TEN
from timers import EventTimer, ProcessTimer, ThreadTimer, Timer

from rsample.kernels.draws import native_core

# Of draws of one number per sample, and of rows.
SMALL: tuple[Shape, Shape] = ((8,), (8, 4))
LABELS = {"rsample": "rsample", "torch": "torch", "numpy": "numpy", "jax": "JAX"}


@dataclass(frozen=True)
class Time:
    """One library's time of one draw. `us` is of the fastest round; `ratio` is the median over the rounds of its time
    over that of rsample."""

    draw: str
    shape: str
    n: int
    size: str  # large or small
    library: str
    us: float
    ratio: float
    rounds: int
    load: float
    timestamp: str
    device: str
    threads: int
    torch: str
    triton: str
    rsample: str
    python: str


def large(exponent: int) -> tuple[Shape, Shape]:
    """Shapes of 2**exponent numbers, and of half as many in rows of 128."""
    return (2**exponent,), (2 ** (exponent - 8), 128)


def draws() -> list[Draw]:
    by_name = {draw.name: draw for draw in DRAWS}
    return [by_name[name] for name in TEN]


def times(
    draw: Draw, shape: Shape, device: torch.device, timer: Timer, budget: float
) -> dict[str, tuple[list[float], list[float]]]:
    """Of each other library, seconds per call in each round, and rsample's beside it.

    Each has rounds of its own with rsample: what a library leaves running or in the caches does not reach the others.
    """
    setups = {"torch": lambda: draw.setup("torch", shape, torch.float32, device)}
    if device.type == "cpu":
        for library, peer in peers.installed().items():
            setups[library] = functools.partial(peer, draw, draw.parameters_of(shape, torch.float32, device))
    ours = draw.setup("rsample", shape, torch.float32, device)
    found = {}
    for library, setup in setups.items():
        run = setup()
        if run is not None:
            pair = interleaved({library: run, "rsample": ours}, timer, budget, min_rounds=5)
            found[library] = pair[library], pair["rsample"]
    return found


def measure(device: torch.device, exponent: int, budget: float) -> list[Time]:
    load = machine.load_average()
    names = machine.describe(device, get_cpu_info().get("brand_raw", "CPU"))
    timestamp = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    on_cpu = device.type == "cpu"
    rows = []
    jobs = [(draw, size) for size in ("small", "large") for draw in draws()]
    for draw, size in tracked("ten draws", jobs, lambda job: f"{job[0].name}, {job[1]}"):
        shape = (large(exponent) if size == "large" else SMALL)[draw.sweep in ROW_SWEEPS]
        timer = ProcessTimer() if on_cpu else EventTimer(device) if size == "large" else ThreadTimer()
        found = times(draw, shape, device, timer, budget)
        fastest = min((beside for _, beside in found.values()), key=min)
        for library, (seconds, beside) in {"rsample": (fastest, fastest), **found}.items():
            ratio = statistics.median(a / b for a, b in zip(seconds, beside, strict=True))
            this = (draw.name, str(shape), math.prod(shape), size, library, min(seconds) * 1e6, ratio, len(seconds))
            rows.append(Time(*this, load, timestamp, **names))
    return rows


def table(rows: Sequence[Time]) -> str:
    """Markdown: nanoseconds per number of large draws, microseconds per call of small ones."""
    libraries = [library for library in LABELS if any(row.library == library for row in rows)]
    found = {(row.draw, row.size, row.library): row for row in rows}
    first = rows[0]
    cells = []
    for name in TEN:
        line = [name]
        for size, per in (("large", lambda row: row.us * 1e3 / row.n), ("small", lambda row: row.us)):
            line.append(size_label(found[name, size, "rsample"].shape))
            for library in libraries:
                row = found.get((name, size, library))
                factor = "" if row is None or library == "rsample" else f" ({row.ratio:.1f}x)"
                line.append("" if row is None else f"{per(row):.{2 if size == 'large' else 1}f}{factor}")
        cells.append(line)
    heads = [LABELS[library] for library in libraries]
    how = (
        "CPU time on one thread" if "cores" in first.device else "large draws by the device's events, small the host's"
    )
    caption = (
        f"{first.device}; torch {first.torch}, rsample {first.rsample}, Python {first.python}; {first.timestamp[:10]}; "
        f"{how}. Large draws of float32: nanoseconds per number. Small draws: microseconds per call. The fastest of "
        "rounds that alternate between the libraries; in brackets, how many times longer than rsample it takes, the "
        "median of rounds. Empty: the library has no such draw."
    )
    head = ("draw", "large", *(f"{h}, ns" for h in heads), "small", *(f"{h}, µs" for h in heads))
    return "\n".join([caption, "", *pipe_table(head, cells), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--exponent", type=int, default=20, help="of 2, how many numbers a large draw has")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for a draw, where 5 rounds fit in")
    parser.add_argument("--results", type=Path, default=Path(__file__).resolve().parent / "results", metavar="FOLDER")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.autograd.set_multithreading_enabled(False)
    keep_freed_memory()
    native_core.wait()
    for name in LABELS.keys() - {"rsample", "torch"} - peers.installed().keys():
        print(f"{LABELS[name]} is not installed: no column of it (make bench PEERS=1 installs it)")
    rows = measure(torch.device(options.device), options.exponent, options.budget)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{machine.slug(rows[0].device)}-ten.csv"
    write_csv(rows, path)
    path.with_suffix(".md").write_text(table(rows))
    print(f"\n{table(rows)}")
    if rows[0].load > 0.5:
        print(f"Other programs were running (load average {rows[0].load:.1f} before the start).")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
