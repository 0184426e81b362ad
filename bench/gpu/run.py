"""Check and measure on an NVIDIA GPU, from a bare checkout, in at most eight minutes: tables and plot in bench/results.

python bench/gpu/run.py [--results FOLDER] [--parts NAMES] [--rehearse]

Nothing of the repository need be installed, only the packages that it uses: the parts find `rsample` in a temporary
folder of links. They are, the most telling first:

    checks     draws against the CPU's of the same key, gradients too; the bandwidth of a large copy
    tests      the tests marked `cuda` and `kernel`, on all cores
    timings    draws of rsample, torch.distributions and torch.compile of the latter, beside what is predicted
    tuning     every launch configuration of three draws, with its registers and occupancy

Each has a process and a limit of its own, and writes what it finds as soon as it finds it. `--rehearse` runs the same
code, shorter, on a machine whose GPU computes nothing, so that values are not judged (see rehearsal.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def link_packages(folder: Path) -> None:
    """Make `folder` a place that rsample can be imported from, as an installation would lay it out."""
    (folder / "rsample").mkdir()
    for name in ("kernels", "distributions"):
        (folder / "rsample" / name).symlink_to(ROOT / name, target_is_directory=True)


def environment(folder: Path) -> dict[str, str]:
    """That of a process which imports rsample from `folder`, and the modules of bench."""
    path = [str(folder), str(ROOT / "bench"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def main() -> None:
    if {"-h", "--help"}.intersection(sys.argv):
        print(__doc__)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        link_packages(folder)
        command = [sys.executable, "-m", "gpu.session", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env=environment(folder), check=False).returncode)


if __name__ == "__main__":
    main()
