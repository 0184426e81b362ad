"""What a draw should cost on a GPU, from counts, and which measurements disagree.

No version of a kernel runs faster than the slowest of what it must do:

    bytes           bytes that must move / bandwidth of a large copy, measured on the device
    issue           instructions per sample * n / (multiprocessors * 128 lanes * clock)
    multiplies      32 x 32 -> 64-bit multiplies per sample * n / (multiprocessors * 32 lanes * clock), of which the
                    10 rounds of Philox take two each per block: 5 per sample, or 4.5 where the counter's second word
                    is the same for all
    least           2 us, from launch to launch, however small the kernel

Timings that others have published of kernels of this kind lie above this bound by a median factor of 1.16 (12 of 14
between 1.05 and 1.5), so the prediction is 1.16 times the sum of the kernels' bounds; or the host's own time for the
call, as measured, where that is longer: calls are queued one after the other, and the device waits for the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ISSUE_LANES = 128
WIDE_LANES = 32
LEAST = 2e-6
ABOVE_BOUND = 1.16
# A measurement disagrees if it is off its prediction by more than this factor, to either side.
TOLERANCE = 1.3


@dataclass(frozen=True)
class Gpu:
    """A device. `clock` is in Hz, `bandwidth` in bytes per second, read plus written."""

    multiprocessors: int
    clock: float
    bandwidth: float


@dataclass(frozen=True)
class Kernel:
    """What one launch costs for each sample: bytes moved, instructions, and wide multiplies among these."""

    bytes: float
    instructions: float
    multiplies: float = 4.5


def bound(kernel: Kernel, n: int, gpu: Gpu) -> float:
    """The least seconds that a kernel takes for n samples."""
    per_lane = n / (gpu.multiprocessors * gpu.clock)
    return max(
        kernel.bytes * n / gpu.bandwidth,
        kernel.instructions * per_lane / ISSUE_LANES,
        kernel.multiplies * per_lane / WIDE_LANES,
        LEAST,
    )


def predicted(kernels: Sequence[Kernel], n: int, gpu: Gpu, host: float) -> float:
    """Seconds of a call that launches these kernels, and costs the host `host` seconds."""
    return max(ABOVE_BOUND * sum(bound(kernel, n, gpu) for kernel in kernels), host)


def disagreements(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Those rows of the timings that are off their prediction, the farthest off first."""
    off = [(max(x, 1 / x), row) for row in rows if row["of_predicted"] and (x := float(row["of_predicted"]))]
    return [row for factor, row in sorted(off, key=lambda pair: -pair[0]) if factor > TOLERANCE]
