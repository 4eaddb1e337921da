"""The faces notebook on a folder in CelebA's layout, and what git ignores of its results."""

import subprocess

import pytest
from conftest import ROOT, assert_ignored_by_git, run_on_users_data

from companion.data import drawn_faces


@pytest.fixture(scope="module")
def celeba_root(tmp_path_factory):
    """A data root with CelebA's layout, in which a picture is missing, one is damaged and one is not listed."""
    root = tmp_path_factory.mktemp("celeba-root")
    drawn_faces.write(root / "celeba", 400, seed=5)
    # CelebA has no generating factors.
    (root / "celeba" / "generating_factors.csv").unlink()
    pictures = root / "celeba" / "img_align_celeba"
    (pictures / "000007.jpg").unlink()
    damaged = pictures / "000011.jpg"
    damaged.write_bytes(damaged.read_bytes()[:900])
    (pictures / "unlisted.jpg").write_bytes((pictures / "000001.jpg").read_bytes())
    return root


@pytest.mark.slow
def test_the_notebook_runs_on_a_users_pictures(celeba_root, tmp_path):
    result, page = run_on_users_data("celeba", celeba_root, tmp_path)
    assert result["data"]["n"] == 398
    assert not result["data"]["stand_in"]
    assert not result["values"]["generating_factors_known"]
    assert set(result["values"]["share_known"]) <= set(drawn_faces.ATTRIBUTE_FACTORS)
    for words in ("1 picture is listed but not there", "1 picture is there but not listed", "000011.jpg"):
        assert words in page


MADE_FROM_PICTURES = [
    "results/paper/celeba.ipynb",
    "results/paper/celeba.failed.ipynb",
    "results/paper/all/celeba-0123.ipynb",
    # A decoder trained on the pictures, and the codes of ten of them.
    "results/paper/celeba.safetensors",
    "results/paper/all/celeba-0123.safetensors",
    "results/paper/checkpoints/convvae-0123.ckpt",
]


def test_nothing_made_from_a_users_pictures_is_taken_by_git():
    made = [
        "results/quick/celeba.ipynb",
        "results/quick/checkpoints/convvae-0123.ckpt",
        *MADE_FROM_PICTURES,
        "img_align_celeba/000001.jpg",
        "data/celeba/img_align_celeba/000001.jpg",
        "celeba/img_align_celeba.zip",
    ]
    assert_ignored_by_git(made)


def test_nor_if_the_results_of_the_paper_profile_are_committed(tmp_path):
    rules = (ROOT / ".gitignore").read_text()
    assert "/results/paper/*\n" in rules
    (tmp_path / ".gitignore").write_text(rules.replace("/results/paper/*\n", ""))
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    asked = ["results/paper/celeba.json", *MADE_FROM_PICTURES]
    found = subprocess.run(["git", "check-ignore", *asked], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.stdout.split() == MADE_FROM_PICTURES
