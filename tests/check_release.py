"""Installs what was built for a release into empty environments, one each, and draws there.

python tests/check_release.py dist/rsample-*.whl dist/rsample-*.tar.gz

Of the packages that rsample depends on, those of this Python are used: nothing is downloaded but what builds a source
distribution.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

PROGRAM = """
import importlib.metadata
import pathlib
import runpy
import sys
import torch
import rsample
import rsample.distributions as dist

assert pathlib.Path(dist.__file__).is_relative_to(sys.prefix), dist.__file__
assert importlib.metadata.version("rsample") == rsample.__version__
assert dist.Normal(torch.zeros(3), 1.0).rsample((4,)).shape == (4, 3)
print("rsample", rsample.__version__, "is installed and draws")
runpy.run_module("rsample.kernels.info", run_name="__main__")
"""


def check(distribution: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = Path(folder) / "bin" / "python"
        pip = (sys.executable, "-m", "pip", "--python", str(python))
        subprocess.run([*pip, "install", "--quiet", "--no-deps", str(distribution.resolve())], check=True, cwd=folder)
        packages = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        # Behind the environment's own packages: what is installed there is what is imported.
        (Path(packages) / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        environment = {"RSAMPLE_BACKEND": "reference", "RSAMPLE_CACHE_DIR": f"{folder}/cache", "PATH": ""}
        subprocess.run([python, "-I", "-c", PROGRAM], check=True, cwd=folder, env=environment)


def main() -> None:
    for name in sys.argv[1:]:
        print(f"== {Path(name).name}", flush=True)
        check(Path(name))


if __name__ == "__main__":
    main()
