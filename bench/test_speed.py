"""Every draw in both libraries, timed side by side."""

from __future__ import annotations

import pytest
from pairing import ReplayClock

CLOCK = ReplayClock()


@pytest.mark.benchmark(timer=CLOCK.now)
def test_speed(benchmark, case, library, device, paired_times):
    if not benchmark.enabled:
        case.setup(library, device)()
        return
    times = paired_times(case)[library]
    benchmark.group = str(case)
    benchmark.extra_info.update(
        draw=case.draw.name,
        library=library,
        dtype=case.dtype_name,
        shape=case.shape,
        n=case.n,
        bytes_moved=case.bytes_moved,
    )
    CLOCK.load(times)
    benchmark.pedantic(CLOCK.advance, rounds=len(times))
