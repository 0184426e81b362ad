"""One part of `make gpu`: a process of its own, ended at its limit together with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """How a part ended. `outcome` is "passed", "failed" or "cut off"; times are seconds."""

    part: str
    outcome: str
    seconds: float
    limit: float


def run_part(
    name: str, command: Sequence[str], limit: float, folder: Path, environment: Mapping[str, str] | None = None
) -> Outcome:
    """Run a command in `folder` for at most `limit` seconds; its status 0 says that it passed."""
    start = time.monotonic()
    # A process group of its own, so that the end of the part is that of its workers too.
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
    try:
        outcome = "passed" if process.wait(limit) == 0 else "failed"
    except subprocess.TimeoutExpired:
        outcome = "cut off"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Outcome(name, outcome, time.monotonic() - start, limit)
