"""Building ahead."""

import subprocess
import sys

import pytest

from rsample.kernels import build
from rsample.kernels.draws import native_core
from rsample.kernels.engines.cpu import elementwise as compiled
from rsample.kernels.laws.normal import NORMAL_LAW


def test_what_is_named_is_built():
    assert build.build(["Normal", "Categorical"]) == (native_core.CORE is not None)
    assert compiled._libraries[NORMAL_LAW.name, build._DTYPES[0]] is not None


@pytest.mark.parametrize(("names", "status"), [(["Normal"], 0), (["Norml"], 2)])
def test_the_command_says_what_it_does_not_know(names, status):
    command = [sys.executable, "-m", "rsample.kernels.build", *names]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert ("Norml" in done.stderr) == (status == 2)
