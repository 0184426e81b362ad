"""The bandwidth of a large copy within the device's memory: the ceiling of every draw that only moves numbers."""

from __future__ import annotations

import statistics

import torch
from timers import EventTimer

ROUNDS = 11
COPIES = 4  # per round


def copy_bandwidth(device: torch.device, size: int) -> float:
    """Bytes per second, read plus written, of copies of `size` bytes: the median of the rounds.

    The bytes are random: memory may move zeros faster.
    """
    source = torch.randint(256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timer = EventTimer(device)
    timer.seconds(lambda: target.copy_(source), COPIES)
    return 2 * size / statistics.median(timer.seconds(lambda: target.copy_(source), COPIES) for _ in range(ROUNDS))
