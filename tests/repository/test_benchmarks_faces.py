"""The benchmark of reading faces: its readers give the same pictures, and its table has all rows."""

import importlib.util
import json
import sys

import pytest
import torch
from conftest import ROOT

from companion.data import celeba


@pytest.fixture(scope="module")
def bench():
    specification = importlib.util.spec_from_file_location("faces", ROOT / "benchmarks" / "faces.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    yield module
    del sys.modules[specification.name]


def test_both_readers_make_the_same_pictures(bench, own_data_root):
    bench.write_pictures(celeba.folder(), 10)
    pictures = bench.load().train.images
    for name, picture in zip(bench.names(10), pictures, strict=False):
        peer = bench.TRANSFORMS(bench.pil_loader(str(celeba.folder() / "img_align_celeba" / name)))
        assert torch.equal(picture, peer)


def test_a_small_run_has_all_rows(bench, tmp_path, capsys):
    path = tmp_path / "faces.json"
    bench.main(["--pictures", "100", "--batches", "1", "--steps", "1", "--rounds", "1", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(rows) == 9
    assert all(row["pictures_per_second"] == pytest.approx(row["pictures"] / row["seconds"][0]) for row in rows)
    assert {row["times_as_fast"] for row in rows if row["reader"] == row["against"]} == {1.0}
