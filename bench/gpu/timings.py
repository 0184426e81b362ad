"""Times draws of rsample, torch.distributions and torch.compile of the latter, beside what is predicted of rsample's.

Everything is compiled first, by processes that run every case: Triton's and Inductor's caches on disk then have it. A
case's libraries are timed in alternating rounds between two events of the device; calls are queued one after the other,
as in an eager program, so that the time is that of the host where this is longer. Every call draws from the same
parameters: what fits into the device's cache, which is all up to about 2**20 samples, is read from there, as in a
program whose previous kernel has written it.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import instructions
import numpy as np
import torch
from cases import Case
from pairing import interleaved
from results import size_label
from timers import EventTimer

from gpu.bandwidth import copy_bandwidth
from gpu.draws import LIBRARIES, TIMED, Timed, setup, timed_cases
from gpu.driver import clock_hz
from gpu.part_options import DEVICE, PartOptions, part_options
from gpu.plan import FULL, REHEARSAL
from gpu.pool import results_of
from gpu.prediction import Gpu, predicted

COMPILE_LIMIT = 80.0
HOST_CALLS = 50  # queued, less than the device's queue holds
HOST_ROUNDS = 11
COUNTS = Path(__file__).resolve().parents[1] / "results" / instructions.NAME


@dataclass(frozen=True)
class Timing:
    """One library's time for one case.

    Attributes:
        shape: of the sample, or of the logits.
        p50, p20, p80: seconds per call, over the rounds.
        host: seconds of the calling thread's CPU for the same call at the smallest size, backward included.
        gbps: counts the bytes that must move.
        of_copy: that over the bandwidth of a large copy.
        ratio: torch's time over this library's, the median over neighbouring rounds, with its quantiles beside it.
        predicted: seconds, of rsample (see prediction.py); of_predicted: the time over that.
    """

    draw: str
    library: str
    dtype: str
    shape: str
    n: int
    p50: float
    p20: float
    p80: float
    host: float
    gbps: float
    of_copy: float
    ratio: float | str
    ratio_p20: float | str
    ratio_p80: float | str
    predicted: float | str
    of_predicted: float | str
    rounds: int


def known_instructions() -> dict[tuple[str, str, str], float]:
    """Instructions per sample by draw, kernel and dtype, for dense parameters."""
    return {
        (row["draw"], row["kernel"], row["dtype"]): float(row["instructions"])
        for row in instructions.read_counts(COUNTS)
        if row["layout"] == "dense"
    }


def warm(task: tuple[int, str, str], rehearsing: bool) -> None:
    """Run all sizes of a draw (its number in TIMED) in a library, largest first, as they are timed."""
    number, library, dtype_name = task
    for timed, case in timed_cases(REHEARSAL if rehearsing else FULL):
        if timed is TIMED[number] and case.dtype_name == dtype_name:
            setup(timed, library, case, DEVICE)()
            torch.cuda.synchronize()
            torch.cuda.empty_cache()


def compile_all(options: PartOptions) -> int:
    """How many draws could not be compiled."""
    known = {}
    for timed, case in timed_cases(options.plan):
        for library in LIBRARIES[1:]:
            known[TIMED.index(timed), library, case.dtype_name] = None
    start, failed = time.monotonic(), 0
    limit = COMPILE_LIMIT * (5 if options.rehearsing else 1)
    function = functools.partial(warm, rehearsing=options.rehearsing)
    for (number, library, dtype), _, error in results_of(function, list(known), options.plan.workers, limit):
        if error:
            print(f"{TIMED[number].draw.name} {dtype}, {library}:\n{error}", file=sys.stderr, flush=True)
            failed += 1
    print(f"compiled {len(known) - failed} of {len(known)} in {time.monotonic() - start:.0f} s", flush=True)
    return failed


def host_seconds(run: Callable[[], object]) -> float:
    """The calling thread's CPU time for a call, while the device does not keep it waiting."""
    rounds = []
    # Backward in this thread too, whose time is taken.
    with torch.autograd.set_multithreading_enabled(False):
        for _ in range(HOST_ROUNDS):
            torch.cuda.synchronize()
            start = time.thread_time_ns()
            for _ in range(HOST_CALLS):
                run()
            rounds.append((time.thread_time_ns() - start) * 1e-9 / HOST_CALLS)
    torch.cuda.synchronize()
    return statistics.median(rounds)


class Timer:
    """Times cases, and knows what they have in common."""

    def __init__(self, options: PartOptions) -> None:
        self._plan = options.plan
        self._instructions = known_instructions()
        self._host: dict[tuple[Timed, torch.dtype, str], float] = {}
        self._small = min(exponent for group in options.plan.exponents for exponent in group)
        properties = torch.cuda.get_device_properties(DEVICE)
        bandwidth = copy_bandwidth(DEVICE, options.plan.copy_bytes)
        self.gpu = Gpu(properties.multi_processor_count, clock_hz(DEVICE.index), bandwidth)
        print(
            f"{self.gpu.multiprocessors} multiprocessors, up to {self.gpu.clock * 1e-6:.0f} MHz; "
            f"copy {self.gpu.bandwidth * 1e-9:.0f} GB/s",
            flush=True,
        )

    def time(self, timed: Timed, case: Case) -> tuple[list[Timing], int]:
        """The rows of one case, and how many libraries failed at it."""
        runs, failed = {}, 0
        for library in LIBRARIES:
            try:
                run = setup(timed, library, case, DEVICE)
                run()  # compiles and tunes
                self._measure_host(timed, case, library)
                runs[library] = run
            except Exception:
                print(f"{case}, {library}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
                failed += 1
        times = interleaved(runs, EventTimer(DEVICE), self._plan.budget, self._plan.min_rounds) if runs else {}
        return [self._row(timed, case, library, times) for library in times], failed

    def _measure_host(self, timed: Timed, case: Case, library: str) -> None:
        known = (timed, case.dtype, library)
        if known not in self._host:
            small = setup(timed, library, Case(timed.draw, case.dtype, timed.shape(self._small)), DEVICE)
            for _ in range(3):
                small()
            self._host[known] = host_seconds(small)

    def _row(self, timed: Timed, case: Case, library: str, times: dict[str, list[float]]) -> Timing:
        ours = np.asarray(times[library])
        p20, p50, p80 = (float(q) for q in np.quantile(ours, (0.2, 0.5, 0.8)))
        ratios: tuple[float | str, ...] = ("", "", "")
        if "torch" in times:
            ratios = tuple(float(q) for q in np.quantile(np.asarray(times["torch"]) / ours, (0.2, 0.5, 0.8)))
        host, expected = self._host[timed, case.dtype, library], None
        if library == "rsample":
            expected = predicted(timed.kernels(case.dtype, self._instructions), case.n, self.gpu, host)
        return Timing(
            draw=case.draw.name,
            library=library,
            dtype=case.dtype_name,
            shape=str(case.shape),
            n=case.n,
            p50=p50,
            p20=p20,
            p80=p80,
            host=host,
            gbps=case.bytes_moved / p50 * 1e-9,
            of_copy=case.bytes_moved / p50 / self.gpu.bandwidth,
            ratio=ratios[1],
            ratio_p20=ratios[0],
            ratio_p80=ratios[2],
            predicted="" if expected is None else expected,
            of_predicted="" if expected is None else p50 / expected,
            rounds=len(ours),
        )


def line(rows: list[Timing]) -> str:
    """A case on one line."""
    texts = []
    for row in rows:
        text = f"{row.library} {row.p50 * 1e6:.1f} us (host {row.host * 1e6:.1f})"
        if row.predicted != "":
            text += f" {row.of_copy:.0%} of copy, {row.of_predicted:.2f} of predicted"
        texts.append(text)
    return f"{rows[0].draw} {rows[0].dtype} {size_label(rows[0].shape)}: {'; '.join(texts)}"


def main() -> None:
    options = part_options(__doc__)
    table = options.table("timings", Timing)
    failed = compile_all(options)
    timer = Timer(options)
    for timed, case in timed_cases(options.plan):
        rows, missing = timer.time(timed, case)
        failed += missing
        for row in rows:
            table.add(row)
        if rows:
            print(line(rows), flush=True)
        torch.cuda.empty_cache()
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
