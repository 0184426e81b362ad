"""Times every launch configuration of three draws, beside its registers and how many blocks a multiprocessor holds.

Those of launch.CONFIGS, among which a large draw chooses, and a wider grid.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timers import EventTimer

from gpu.bandwidth import copy_bandwidth
from gpu.driver import blocks_per_multiprocessor
from gpu.part_options import DEVICE, part_options
from gpu.plan import Plan
from gpu.pool import results_of
from rsample.kernels.engines.triton import elementwise, launch
from rsample.kernels.engines.triton.launch import Config
from rsample.kernels.laws.bernoulli import BERNOULLI_PROBS_LAW
from rsample.kernels.laws.normal import NORMAL_LAW
from rsample.kernels.laws.uniform import UNIFORM_LAW
from rsample.kernels.stream.layout import describe

COMPILE_LIMIT = 35.0
LAWS = {law.name: law for law in (NORMAL_LAW, BERNOULLI_PROBS_LAW, UNIFORM_LAW)}
KEY = torch.tensor([2026, 0], dtype=torch.uint64)
ROUNDS = 7


@dataclass(frozen=True)
class Tuned:
    """One configuration.

    Attributes:
        p50, p20, p80: seconds per launch, over the rounds.
        of_copy: the bytes that must move, a second, over the bandwidth of a large copy.
        table: whether launch.CONFIGS has it; the first of these is the default.
        registers: of a thread; spills: what of them goes to memory, in words.
        blocks: that a multiprocessor holds at a time, as the driver says.
        occupancy: their threads over the most that a multiprocessor holds.
    """

    draw: str
    dtype: str
    n: int
    warps: int
    unroll: int
    passes: int
    table: str
    p50: float
    p20: float
    p80: float
    of_copy: float
    registers: int
    spills: int
    blocks: int
    occupancy: float


class Kept:
    """A kernel that keeps what its last launch by Triton had compiled."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.compiled: Any = None

    def __getitem__(self, grid: Any) -> Any:
        def launched(*args: Any, **options: Any) -> Any:
            self.compiled = self._kernel[grid](*args, **options)
            return self.compiled

        return launched


class Launch:
    """Launches of one law's forward kernel into the same output, with dense parameters."""

    def __init__(self, draw: str, dtype: torch.dtype, n: int) -> None:
        self.law, self.n = LAWS[draw], n
        self.out = torch.empty(n, dtype=dtype, device=DEVICE)
        self._params = [torch.rand(n, device=DEVICE).to(dtype) for _ in self.law.parameters]
        self.kernel = Kept(elementwise.elementwise_forward_kernel)

    @property
    def bytes_moved(self) -> int:
        return (len(self._params) + 1) * self.out.nbytes

    def __call__(self, config: Config) -> None:
        group = launch.group_size(self.out.dtype)
        launched = launch.launch_elements(
            self.kernel,
            (*launch.slots((self.out,), 2), *launch.slots(self._params)),
            describe(self.out.shape, self._params, group),
            self.n,
            group,
            (KEY,),
            {**self.law.device_constants(), **elementwise.bound_constants(self.law, self.out.dtype)},
            device=DEVICE,
            tune=False,
            config=config,
        )
        if launched is not None:
            self.kernel.compiled = launched.program.compiled


def configurations(plan: Plan) -> list[Config]:
    """Those that launches choose among, and the grid."""
    grid = (Config(*chosen) for chosen in itertools.product(plan.warps, plan.unrolls, plan.passes))
    return list(dict.fromkeys((*launch.CONFIGS, *grid)))


def compiled_once(task: tuple[str, torch.dtype, int, int]) -> None:
    """Launch one kernel on few samples: how many passes it makes is no part of its code."""
    draw, dtype, warps, unroll = task
    Launch(draw, dtype, 1)(Config(warps, unroll))


def measured(draw: str, dtype: torch.dtype, plan: Plan, bandwidth: float) -> Iterator[Tuned]:
    """A row for each configuration."""
    run, timer = Launch(draw, dtype, plan.tuned_numel), EventTimer(DEVICE)
    threads_held = torch.cuda.get_device_properties(DEVICE).max_threads_per_multi_processor
    for config in configurations(plan):
        call = functools.partial(run, config)
        call()
        calls = max(1, round(timer.min_round / timer.seconds(call, 3)))
        times = [timer.seconds(call, calls) for _ in range(ROUNDS)]
        p20, p50, p80 = (statistics.quantiles(times, n=10, method="inclusive")[i] for i in (1, 4, 7))
        kernel, threads = run.kernel.compiled, 32 * config.warps
        blocks = blocks_per_multiprocessor(kernel.function, threads, kernel.metadata.shared)
        yield Tuned(
            draw=draw,
            dtype=str(dtype).removeprefix("torch."),
            n=run.n,
            warps=config.warps,
            unroll=config.unroll,
            passes=config.passes,
            table="default" if config == launch.CONFIGS[0] else "yes" if config in launch.CONFIGS else "",
            p50=p50,
            p20=p20,
            p80=p80,
            of_copy=run.bytes_moved / p50 / bandwidth,
            registers=kernel.n_regs,
            spills=kernel.n_spills,
            blocks=blocks,
            occupancy=blocks * threads / threads_held,
        )


def main() -> None:
    options = part_options(__doc__)
    plan, table, failed = options.plan, options.table("tuning", Tuned), 0
    kinds = list(itertools.product(LAWS, plan.dtypes))[: plan.draws]
    codes = list(dict.fromkeys((config.warps, config.unroll) for config in configurations(plan)))
    tasks = [(draw, dtype, *code) for draw, dtype in kinds for code in codes]
    limit = COMPILE_LIMIT * (10 if options.rehearsing else 1)
    for task, _, error in results_of(compiled_once, tasks, plan.workers, limit):
        if error:
            print(f"{task} did not compile:\n{error}", file=sys.stderr, flush=True)
            failed += 1
    bandwidth = copy_bandwidth(DEVICE, plan.copy_bytes)
    for draw, dtype in kinds:
        rows = []
        for row in measured(draw, dtype, plan, bandwidth):
            table.add(row)
            rows.append(row)
        best = min(rows, key=lambda row: row.p50)
        print(
            f"{draw} {best.dtype}: default {rows[0].p50 * 1e6:.1f} us, {rows[0].of_copy:.0%} of copy; best "
            f"{best.p50 * 1e6:.1f} us with {best.warps} warps, unroll {best.unroll}, {best.passes} passes "
            f"({best.registers} registers, occupancy {best.occupancy:.0%})",
            flush=True,
        )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
