"""What is built from the repository: the wheel has every source file, the source distribution what `make` needs."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import rsample

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    "pyproject.toml",
    "MANIFEST.in",
    "Makefile",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
]
FOLDERS = ("kernels", "distributions", "tests", "bench")


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def copied(folder):
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".*", "__pycache__", "api"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


def has_setuptools():
    try:
        return int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Clean sources, and what was built from such: (sources, source distribution, wheel)."""
    if not has_setuptools():
        pytest.skip("building needs setuptools 77 or newer in this environment")
    folder = tmp_path_factory.mktemp("built")
    sources = copied(folder / "built-from")
    build = "import sys; from setuptools import build_meta as b; f = sys.argv[1]; b.build_sdist(f); b.build_wheel(f)"
    done = subprocess.run([sys.executable, "-c", build, folder], cwd=sources, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return copied(folder / "copy"), *folder.glob("*.tar.gz"), *folder.glob("*.whl")


def test_the_source_distribution_has_all_that_make_needs(built):
    sources, archive, _ = built
    with tarfile.open(archive) as tar:
        packed = {name.partition("/")[2] for name in tar.getnames()}
    assert files(sources) <= packed


def test_the_wheel_has_every_source_file_in_its_place(built):
    sources, _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    root = {f"rsample/{name}" for name in files(sources / "distributions" / "top_level")}
    # Their pages are the repository's.
    kernels = {f"rsample/kernels/{name}" for name in files(sources / "kernels") - {"README.md"}}
    distributions = {f"rsample/distributions/{name}" for name in files(sources / "distributions") - {"README.md"}}
    assert packed == root | kernels | {name for name in distributions if "/top_level/" not in name}


def test_the_root_has_both_packages_and_the_version():
    assert rsample.distributions.Normal(0.0, 1.0).sample().shape == ()
    assert rsample.kernels.use_backend
    try:
        assert version("rsample") == rsample.__version__
    except PackageNotFoundError:
        assert rsample.__version__  # found in a folder of links


def test_the_version_is_that_of_the_changelog():
    headings = re.findall(r"(?m)^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert headings[0] == rsample.__version__
    assert len(headings) == len(set(headings))


def test_the_version_stands_in_one_place():
    """Pages and results say with what they were measured."""
    written = f'"{rsample.__version__}"'
    files = [path for path in (*ROOT.glob("*.toml"), *ROOT.glob("[dk]*/**/*.py")) if written in path.read_text()]
    assert files == [ROOT / "distributions" / "top_level" / "__init__.py"]


def test_a_folder_named_rsample_does_not_stand_in_for_the_package(tmp_path):
    (tmp_path / "rsample").mkdir()
    program = "import rsample; print(rsample.__file__)"
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).samefile(rsample.__file__)
