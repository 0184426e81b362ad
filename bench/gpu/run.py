"""Check and measure on an NVIDIA GPU, from a bare checkout, in at most eight minutes: tables and plot in bench/results.

python bench/gpu/run.py [--results FOLDER] [--parts NAMES] [--rehearse]

Nothing of the repository need be installed, only the packages that it uses. The parts are, the most telling first:

    checks     draws against the CPU's of the same key, gradients too; the bandwidth of a large copy
    tests      the tests marked `cuda` and `kernel`, on all cores
    timings    draws of rsample, torch.distributions and torch.compile of the latter, beside what is predicted
    tuning     every launch configuration of three draws, with its registers and occupancy

Each has a process and a limit of its own, and writes what it finds as soon as it finds it. `--rehearse` runs the same
code, shorter, on a machine whose GPU computes nothing, so that values are not judged (see rehearsal.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1]


def main() -> None:
    if {"-h", "--help"}.intersection(sys.argv):
        print(__doc__)
        return
    # The same process, with the modules of bench on its path.
    path = os.pathsep.join(filter(None, [str(BENCH), os.environ.get("PYTHONPATH")]))
    os.execve(sys.executable, [sys.executable, "-m", "gpu.parts", *sys.argv[1:]], os.environ | {"PYTHONPATH": path})


if __name__ == "__main__":
    main()
