"""A user's recordings, with odd names and one of them damaged, all the way through the notebook."""

import shutil

import pytest
from conftest import assert_ignored_by_git, run_on_users_data

from companion.data import simulated_eeg


@pytest.fixture(scope="module")
def deap_root(tmp_path_factory):
    """A data root with three recordings in DEAP's layout, the last of them cut off."""
    root = tmp_path_factory.mktemp("deap-root")
    made, folder = root / "made", root / "deap" / "data_preprocessed_python"
    simulated_eeg.write(made, subjects=3, seed=5)
    folder.mkdir(parents=True)
    for number, name in enumerate(("Anna (copy).dat", "s07 new.dat", "s31.dat"), start=1):
        shutil.move(made / f"s{number:02}.dat", folder / name)
    with (folder / "s31.dat").open("r+b") as file:
        file.truncate(1_000_000)
    return root


@pytest.mark.slow
def test_the_notebook_runs_on_a_users_recordings(deap_root, tmp_path):
    result, page = run_on_users_data("deap", deap_root, tmp_path)
    assert result["data"]["n"] == 2 * 40 * 60
    assert result["data"]["source"] == "DEAP, 2 of 32 subjects under the data root"
    assert not result["data"]["stand_in"]
    assert result["values"]["subjects"] == 2
    # Nothing is known of what was planted, and nothing is simulated beside real recordings.
    assert result["values"]["map_correlation"] == result["values"]["effect_recovered"] == {}
    assert result["values"]["null_corrected_p_values"] == []
    assert not (deap_root / "simulated_eeg").exists()
    assert page.count("s31.dat") == 1


def test_nothing_made_from_a_users_recordings_is_taken_by_git():
    made = [
        "results/quick/deap.ipynb",
        "results/paper/deap.ipynb",
        "results/paper/deap.failed.ipynb",
        "results/paper/all/deap-0123.ipynb",
        "results/paper/checkpoints/convvae-0123.ckpt",
        "deap/data_preprocessed_python/s01.dat",
    ]
    assert_ignored_by_git(made)
