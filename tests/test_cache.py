"""The folder in which libraries are kept: what lies there is loaded, so nobody else may write to it."""

import os

import pytest

from rsample.kernels.runtime import cache

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")


def test_a_folder_that_everybody_may_write_to_is_not_used(tmp_path, monkeypatch):
    open_, own = tmp_path / "open", tmp_path / "own"
    open_.mkdir()
    own.mkdir()
    open_.chmod(0o777)
    own.chmod(0o775)  # of a group, which the owner of the folder has chosen
    monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(open_))
    with pytest.warns(RuntimeWarning, match="everybody may write to it"):
        assert cache.folder() is None
    assert cache.folder() is None
    monkeypatch.setenv("RSAMPLE_CACHE_DIR", str(own))
    assert cache.folder() == own


def test_what_is_made_is_not_open_to_all(tmp_path):
    before = os.umask(0)
    try:
        cache.write(tmp_path / "kept" / "file", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "kept" / "file").read_bytes() == b"content"
    assert all(not path.stat().st_mode & 0o002 for path in (tmp_path / "kept", tmp_path / "kept" / "file"))
