"""The benchmark of reading faces: its readers give the same pictures, and its table has all rows."""

import json

import faces as bench
import pytest
import torch

from companion.data import celeba


def test_both_readers_make_the_same_pictures(own_data_root):
    bench.write_pictures(celeba.folder(), 10)
    pictures = bench.load().train.images
    for name, picture in zip(bench.names(10), pictures, strict=False):
        peer = bench.TRANSFORMS(bench.pil_loader(str(celeba.folder() / "img_align_celeba" / name)))
        assert torch.equal(picture, peer)


def test_a_small_run_has_all_rows(tmp_path, capsys):
    path = tmp_path / "faces.json"
    bench.main(["--pictures", "100", "--batches", "1", "--steps", "1", "--rounds", "1", "--json", str(path)])
    rows = json.loads(path.read_text())["rows"]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(rows) == 9
    assert all(row["pictures_per_second"] == pytest.approx(row["pictures"] / row["seconds"][0]) for row in rows)
    assert {row["times_as_fast"] for row in rows if row["reader"] == row["against"]} == {1.0}
