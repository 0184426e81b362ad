"""Time per call against the size of the draw, from one number to 2^24, beside torch.distributions.

python bench/sizes.py [--largest EXPONENT] [--budget SECONDS] [--device cuda] [--results FOLDER]

On the CPU: the CPU time of the process, on one thread. On a GPU: by its events, small draws as fast as the host
launches them.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
from dataclasses import dataclass
from pathlib import Path

import machine
import torch
from allocator import keep_freed_memory
from cases import DRAWS
from cpuinfo import get_cpu_info
from pairing import interleaved
from plot import draw_sizes
from progress import tracked
from results import write_csv
from timers import EventTimer, ProcessTimer

from rsample.kernels.draws import native_core

SHOWN = ("Normal.rsample", "Bernoulli(logits).sample", "Gamma.rsample")


@dataclass(frozen=True)
class Size:
    """Both libraries' times of one draw of `n` numbers. Microseconds are of the fastest round; `ratio`, torch's over
    ours, is the median of rounds."""

    draw: str
    n: int
    us: float
    torch_us: float
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


def measure(device: torch.device, largest: int, budget: float) -> list[Size]:
    load = machine.load_average()
    names = machine.describe(device, get_cpu_info().get("brand_raw", "CPU"))
    timestamp = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    timer = ProcessTimer() if device.type == "cpu" else EventTimer(device)
    by_name = {draw.name: draw for draw in DRAWS}
    jobs = [(by_name[name], 2**exponent) for name in SHOWN for exponent in range(largest + 1)]
    rows = []
    for draw, n in tracked("sizes", jobs, lambda job: f"{job[0].name}, {job[1]:,}"):
        runs = {library: draw.setup(library, (n,), torch.float32, device) for library in ("rsample", "torch")}
        times = interleaved(runs, timer, budget, min_rounds=3)
        ours, torchs = times.values()
        ratio = statistics.median(b / a for a, b in zip(ours, torchs, strict=True))
        this = (draw.name, n, min(ours) * 1e6, min(torchs) * 1e6, ratio, len(ours))
        rows.append(Size(*this, load, timestamp, **names))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--largest", type=int, default=24, metavar="EXPONENT", help="of 2, the largest size")
    parser.add_argument("--budget", type=float, default=0.3, help="seconds for a size, where 3 rounds fit in")
    parser.add_argument("--results", type=Path, default=Path(__file__).resolve().parent / "results", metavar="FOLDER")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.autograd.set_multithreading_enabled(False)
    keep_freed_memory()
    native_core.wait()
    rows = measure(torch.device(options.device), options.largest, options.budget)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{machine.slug(rows[0].device)}-sizes.csv"
    write_csv(rows, path)
    draw_sizes([vars(row) for row in rows], path.with_suffix(".png"))
    print(f"wrote {path}, {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
