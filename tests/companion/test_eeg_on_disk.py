"""A user's recordings, with odd names and one of them damaged, all the way through the notebook."""

import pytest
from conftest import assert_ignored_by_git, run_on_users_data

from companion.data import simulated_eeg


@pytest.mark.slow
def test_the_notebook_runs_on_a_users_recordings(tmp_path):
    folder = tmp_path / "data" / "deap" / "data_preprocessed_python"
    simulated_eeg.write(folder, subjects=3, seed=5)
    (folder / "s01.dat").rename(folder / "Anna (copy).dat")
    with (folder / "s03.dat").open("r+b") as file:
        file.truncate(1_000_000)
    result, page = run_on_users_data("deap", tmp_path / "data", tmp_path)
    assert result["data"]["n"] == 2 * 40 * 60
    assert result["data"]["source"] == "DEAP, 2 of 32 subjects under the data root"
    assert not result["data"]["stand_in"]
    assert result["values"]["subjects"] == 2
    # Nothing is known of what was planted, and nothing is simulated beside real recordings.
    assert result["values"]["map_correlation"] == result["values"]["effect_recovered"] == {}
    assert result["values"]["null_corrected_p_values"] == []
    assert not (tmp_path / "data" / "simulated_eeg").exists()
    assert page.count("s03.dat") == 1


def test_nothing_made_from_a_users_recordings_is_taken_by_git():
    made = ["results/quick/deap.ipynb", "results/paper/deap.ipynb", "deap/data_preprocessed_python/s01.dat"]
    assert_ignored_by_git(made)
