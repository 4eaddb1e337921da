"""Encoders of known information as tasks for other estimators: shapes, the truth, and files that bmi reads."""

import bmi_tasks
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.feature_selection import mutual_info_regression

import vaemi
from vaemi.information import gaussian_joint_information, joint_information

TASKS = {task.task_id: task for task in bmi_tasks.all_tasks()}
FACTORS = [name for name, task in TASKS.items() if task.sampler.dim_y == 1]
CONTINUOUS = [name for name in FACTORS if TASKS[name].task_params["x"] == "continuous"]


def test_a_sample_depends_on_its_seed_alone():
    for task in TASKS.values():
        x, y = task.sampler.sample(7, 1)
        assert x.shape == (7, task.sampler.dim_x)
        assert y.shape == (7, task.sampler.dim_y)
        np.testing.assert_array_equal(task.sampler.sample(7, 1), (x, y))
        assert (task.sampler.sample(7, 2)[1] != y).all()


def test_x_distinguishes_the_posteriors():
    for task in TASKS.values():
        x, _ = task.sampler.sample(500, 0)
        assert (x.std(0) > 0).all()
        values = len(np.unique(x[:, 0]))
        assert (values == 2) == (task.task_params["x"] == "two values")


@pytest.mark.parametrize("name", FACTORS)
def test_the_truth_is_that_of_the_exact_estimate(name):
    task = TASKS[name]
    mean, std = task.sampler.posterior(np.random.default_rng(0), 20_000)
    info = vaemi.factor_information(mean, 2 * np.log(std))
    assert task.metadata["mi_true"] == pytest.approx(float(info.nats[0]), abs=5 * float(info.stderr[0]) + 1e-3)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_nearest_neighbours_find_about_the_truth_in_the_samples(name):
    x, y = TASKS[name].sampler.sample(4000, 0)
    nats = mutual_info_regression(x, y[:, 0], random_state=0)[0]
    assert nats == pytest.approx(TASKS[name].metadata["mi_true"], abs=0.12)


def test_draws_follow_the_posterior_of_their_x():
    # The draws of two groups lie around their means; those of two widths have the widths that X holds.
    x, y = TASKS["encoder-rare-group-0.1"].sampler.sample(5000, 0)
    assert (y - x).std() == pytest.approx(0.1, rel=0.05)
    x, y = TASKS["encoder-two-widths-0.1"].sampler.sample(5000, 0)
    assert (y * np.exp(-x / 2)).std() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("dimension", bmi_tasks.LINEAR_DIMENSIONS)
def test_the_information_of_a_linear_encoder_does_not_depend_on_its_dimension(dimension):
    task = TASKS[f"encoder-linear-{dimension}"]
    mean, std = task.sampler.posterior(np.random.default_rng(0), 4000)
    log_variance = 2 * np.log(std)
    truth = task.metadata["mi_true"]
    assert gaussian_joint_information(mean, log_variance) == pytest.approx(truth, abs=0.12)
    bracket = joint_information(mean, log_variance, points=500)
    assert bracket.plug_in - 0.15 < truth < bracket.leave_one_out + 0.15
    if dimension > 2:
        correlation = np.corrcoef(mean.T)
        assert np.abs(correlation - np.eye(dimension)).max() > 0.2


def test_the_files_read_back(tmp_path, capsys):
    bmi_tasks.main([str(tmp_path), "--samples", "50", "80", "--seeds", "2"])
    printed = capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == set(TASKS)
    for name, task in TASKS.items():
        assert name in printed
        folder = tmp_path / name
        assert yaml.safe_load((folder / "metadata.yaml").read_text()) == task.metadata
        files = {path.name for path in folder.glob("*.csv")}
        assert files == {"50-0.csv", "50-1.csv", "80-0.csv", "80-1.csv"}
        table = pd.read_csv(folder / "80-1.csv")
        dimension = task.sampler.dim_y
        assert list(table) == [f"{axis}{i}" for axis in "XY" for i in range(dimension)]
        np.testing.assert_allclose(table, np.hstack(task.sampler.sample(80, 1)), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the pydantic that bmi uses
def test_bmi_accepts_the_tasks(tmp_path):
    bmi = pytest.importorskip("bmi")
    bmi_tasks.main([str(tmp_path), "--samples", "60", "--seeds", "1"])
    for task in bmi_tasks.as_bmi_tasks():
        ours = TASKS[task.id]
        assert task.metadata.model_dump() == ours.metadata
        x, y = bmi.utils.read_sample(tmp_path / task.id / "60-0.csv")
        np.testing.assert_allclose(np.hstack([x, y]), np.hstack(task.sample(60, 0)), rtol=1e-12)
        task.save_metadata(tmp_path / "theirs.yaml")
        assert yaml.safe_load((tmp_path / "theirs.yaml").read_text()) == ours.metadata
    result = bmi.run_estimator(
        bmi.estimators.KSGEnsembleFirstEstimator(), "ksg", tmp_path / task.id / "60-0.csv", task.id
    )
    assert result.success
