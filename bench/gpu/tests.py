"""Runs the tests that launch kernels, on all cores, and keeps the outcome of each."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

from gpu.links import ROOT
from gpu.part_options import part_options, results_file
from gpu.rehearsal import unexpected
from gpu.table import read


def files() -> list[str]:
    """The files that hold such tests: others may need packages that are not there, and take time to collect."""
    found = sorted((ROOT / "tests").glob("test_*.py"))
    return [str(path) for path in found if re.search(r"mark\.(kernel|cuda)\b", path.read_text())]


def main() -> None:
    options = part_options(__doc__)
    outcomes = results_file(options.base, "tests")
    command = [
        *(sys.executable, "-m", "pytest", *files()),
        *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)),
        *("-m", "kernel or cuda", "-k", options.plan.tests),
        # One test at a time for each worker, so that the order is kept and none waits behind a long one.
        *("--numprocesses", str(options.plan.workers), "--dist", "load", "--maxschedchunk", "1"),
        # The rows of --outcomes are written one by one, and so are there when the part is cut off.
        *("-p", "gpu.outcomes", "--outcomes", str(outcomes), "--junitxml", str(outcomes.with_suffix(".xml"))),
        *("-p", "no:cacheprovider"),
        *("--quiet", "--no-header", "--tb", "short", "--show-capture", "no"),
    ]
    if options.rehearsing:
        command += ["-p", "gpu.rehearsal"]
    status = subprocess.run(command, check=False).returncode
    rows = read(outcomes)
    counts = Counter(row["outcome"] for row in rows)
    print(", ".join(f"{n} {outcome}" for outcome, n in counts.items()) or "no test ran")
    if not options.rehearsing:
        sys.exit(status)
    broken = unexpected(rows)
    for row in broken:
        print(f"not for its values: {row['test']}: {row['error']}: {row['message']}")
    # pytest's own statuses beyond "tests failed" are those of tests that never ran.
    sys.exit(bool(broken) or status not in (0, 1))


if __name__ == "__main__":
    main()
