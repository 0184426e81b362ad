"""What `python -m rsample.kernels.info` says of a machine."""

import os
import subprocess
import sys

import pytest
import torch

import rsample
from rsample.kernels import info, use_backend
from rsample.kernels.draws import native_core


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where nothing is yet. The other caches may hold 100,000 files, which would all be measured."""
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_command_tells_versions_and_keeps_nothing(cache):
    command = [sys.executable, "-m", "rsample.kernels.info"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    told = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert told["rsample"].strip().startswith(rsample.__version__)
    assert told["torch"].strip() == torch.__version__
    assert told["native core"].strip() == "not built yet"
    assert told["cache of rsample"].strip() == f"{cache}, not there"
    assert not cache.exists()


def test_caches_are_measured(cache):
    cache.mkdir()
    (cache / "a.so").write_bytes(bytes(2**20))
    (cache / "b.so").write_bytes(bytes(2**19))
    assert info.info()["cache of rsample"] == f"{cache}, 2 files, 1.5 MiB"


def test_a_core_that_is_kept_or_has_failed_is_told(cache):
    kept = native_core.place()
    kept.parent.mkdir()
    failed = native_core.failure(kept)
    failed.write_text("error")
    assert info.info()["native core"] == f"none: its C++ did not compile, see {failed}"
    kept.with_name(f"{kept.name}-3.so").write_text("abc")
    assert info.info()["native core"] == "built"


def test_without_a_compiler_the_cpu_has_the_reference(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    told = info.info()
    assert told["compiler"] == "none: there is no C++ compiler no-such-compiler"
    assert told["device cpu"].startswith("reference")


def test_backends_are_told():
    if os.environ.get("RSAMPLE_BACKEND") is None:
        assert info.info()["device cpu"].split("; ")[0] in (
            "compiled",
            "reference, except for what has been compiled before",
        )
    with use_backend("reference"):
        assert info.info()["device cpu"].startswith("reference, as RSAMPLE_BACKEND or use_backend asks")


@pytest.mark.cuda
def test_a_gpu_is_told():
    assert torch.cuda.get_device_name(0) in info.info()["device cuda:0"]
