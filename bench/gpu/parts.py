"""All parts of `make gpu`, one after the other; see run.py, which starts them."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from machine import slug

from gpu.links import environment, link_packages
from gpu.part import Outcome, run_part
from gpu.part_options import DEVICE, facts, results_file
from gpu.table import Table

HERE = Path(__file__).resolve().parent

# Seconds that each part may take: with the report and the imports, less than eight minutes.
LIMITS = {"checks": 60, "tests": 120, "timings": 180, "tuning": 60}
# A rehearsal has few cores, and compiles as much for each kernel.
REHEARSAL_LIMIT = 600


@dataclass(frozen=True)
class Options:
    base: Path
    parts: tuple[str, ...]
    rehearsing: bool


def parse() -> Options:
    parser = argparse.ArgumentParser(prog="bench/gpu/run.py")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", metavar="FOLDER")
    parser.add_argument("--parts", type=lambda names: tuple(names.split(",")), default=tuple(LIMITS), metavar="NAMES")
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(LIMITS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(LIMITS)}")
    if not torch.cuda.is_available():
        parser.error("no CUDA GPU is visible")
    base = options.results.resolve() / f"{slug(torch.cuda.get_device_name(DEVICE))}-gpu"
    return Options(base, options.parts, options.rehearse)


def main() -> None:
    # Whoever ends this ends its part with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    options = parse()
    table = Table(results_file(options.base, "parts"), Outcome, facts())
    arguments = [str(options.base), *(["--rehearse"] if options.rehearsing else [])]
    outcomes = []
    # Parts run in the folder of links: in the repository's, `kernels` and `distributions` would be packages themselves.
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        link_packages(folder)
        for name in options.parts:
            print(f"\n== {name}", flush=True)
            limit = REHEARSAL_LIMIT if options.rehearsing else LIMITS[name]
            command = [sys.executable, "-m", f"gpu.{name}", *arguments]
            outcome = run_part(name, command, limit, folder, environment(folder))
            table.add(outcome)
            outcomes.append(outcome)
        print(flush=True)
        report = subprocess.run([sys.executable, "-m", "gpu.report", str(options.base)], cwd=folder, check=False)
    print()
    for outcome in outcomes:
        print(f"{outcome.part:10} {outcome.outcome:8} {outcome.seconds:4.0f} s of {outcome.limit:.0f}")
    sys.exit(report.returncode or any(outcome.outcome != "passed" for outcome in outcomes))


if __name__ == "__main__":
    main()
