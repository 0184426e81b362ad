"""Host time of what draws few numbers: CPU time of one thread, in rounds that alternate between two ways.

So other programs on the machine disturb neither. On a GPU it is the host's share: nothing is waited for.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import machine
import torch
from cpuinfo import get_cpu_info
from pairing import no_garbage_collection
from results import write_csv
from timers import ThreadTimer

from rsample.kernels.draws import native_core


def paired_us(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    number: int,
    rounds: int,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[float, float, float]:
    """Least CPU microseconds of each, and the median quotient of neighbouring rounds; ours run inside `around`."""
    runs: tuple[list[float], list[float]] = ([], [])
    pairs = tuple(zip((ours, theirs), (around, nullcontext), runs, strict=True))
    for call, context, _ in pairs:
        with context():
            for _ in range(10):  # from the fourth draw of a kind on nothing is found out any more
                call()
    timer = ThreadTimer()
    with no_garbage_collection():
        for _ in range(rounds):
            for call, context, times in pairs:
                with context():
                    times.append(timer.seconds(call, number) * 1e6)
    return min(runs[0]), min(runs[1]), statistics.median(a / b for a, b in zip(*runs, strict=True))


def has_gpu(script: str) -> bool:
    """Whether there is a GPU, or a stand-in for its driver, which counts calls and runs nothing.

    Where there is neither, but the program `gpu_host` can be imported, the script is run again with that stand-in.
    """
    if torch.cuda.is_available():
        return True
    found = importlib.util.find_spec("gpu_host")
    # Not a mere folder of that name.
    is_program = found is not None and found.origin is not None
    if not is_program or "GPU_HOST_FOLDER" in os.environ or not torch.version.cuda:
        print(f"{Path(script).name}: no GPU; its host's time needs a CUDA build of torch and the program gpu_host")
        return False
    os.execv(sys.executable, [sys.executable, "-m", "gpu_host", str(Path(script).resolve()), *sys.argv[1:]])


def names(device: torch.device) -> dict[str, str | int]:
    """What the fields of a row say of the device and the software; one thread measures."""
    described = machine.describe(device, get_cpu_info().get("brand_raw", "CPU"))
    described.pop("threads")
    return described


def parser(description: str | None, number: int, rounds: int) -> argparse.ArgumentParser:
    """The options that these measurements share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=number, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--require", action="store_true", help="fail where a required ratio is missed")
    parser.add_argument("--results", type=Path, default=Path(__file__).resolve().parent / "results")
    return parser


def run(
    kind: str,
    options: argparse.Namespace,
    measure: Callable[[], Sequence[Any]],
    table: Callable[[Sequence[Any]], str],
    required: Callable[[Any], float],
) -> None:
    """Measures on one thread, prints the table, and writes it and all figures to files that end in `kind`.

    Args:
        measure: gives rows, dataclasses with `us`, `torch_us`, `ratio` and `device`, of which the first names each.
        required: the greatest ratio of a row; 0 for none.
    """
    torch.set_num_threads(1)
    torch.autograd.set_multithreading_enabled(False)
    core = native_core.wait()
    rows = measure()
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{machine.slug(rows[0].device)}-{kind}.csv"
    write_csv(rows, path)
    path.with_suffix(".md").write_text(table(rows))
    print(table(rows))
    print(f"{len(rows)} {kind}, {sum(row.ratio <= 1 for row in rows)} of them no slower than torch's; {path}")
    missed = [row for row in rows if 0 < required(row) < row.ratio]
    for row in missed:
        print(f"{row.name}: {row.us:.1f} us, {row.ratio:.2f} times torch's; at most {required(row)}")
    if options.require and (missed or not core):
        sys.exit("required ratios are missed" if core else "there is no native core")
