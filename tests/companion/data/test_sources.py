"""The data root."""

from pathlib import Path

import pytest

from companion.data import DataError, sources


def test_the_data_root_is_what_was_set_then_the_environment_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VAEMI_DATA", str(tmp_path / "environment"))
    assert sources.data_root() == tmp_path / "environment"
    sources.set_data_root(tmp_path / "set")
    try:
        assert sources.data_root() == tmp_path / "set"
    finally:
        sources.set_data_root(None)
    monkeypatch.delenv("VAEMI_DATA")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert sources.data_root().name == "vaemi"
    assert Path.home() in sources.data_root().parents


def test_a_file_is_no_data_root(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        sources.set_data_root(tmp_path / "file")
    with pytest.raises(DataError, match="VAEMI_DATA"):
        sources.writable_folder(tmp_path / "file" / "folder")
