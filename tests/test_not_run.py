"""What a test run says at its end of the tests that it has not run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU runs them all")
def test_the_last_lines_say_what_was_skipped_and_how_to_run_it():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "cuda", "tests/test_scalar_parameters.py"],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (skipped,) = re.findall(r"= (\d+) skipped", done.stdout)
    assert f"tests not run: {skipped} that need an NVIDIA GPU (make gpu)\n" in done.stdout
