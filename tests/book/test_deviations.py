"""The page on the reference run: where its seeds differ from the published table, and why."""

import importlib
import math

import pandas as pd
import pytest
from conftest import ROOT

from companion import claims
from companion.runs import RunError


@pytest.fixture
def deviations(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book"))
    return importlib.import_module("deviations")


def run(deviation, classifier=0.2, exchanged=1.0, longer=-0.3):
    """A row of the table of a sweep, every accuracy so many points off the published one."""
    columns = {}
    for ratio, published in claims.published_accuracies().items():
        found = published + deviation
        columns |= {
            f"accuracy_percent_by_ratio_kept[{ratio}]": found,
            f"accuracy_percent_by_gaussian_ranking[{ratio}]": found - 0.1,
            f"accuracy_percent_of_longer_classifier[{ratio}]": found + longer,
            f"lowest_accuracy_percent_of_classifiers[{ratio}]": found - classifier,
            f"highest_accuracy_percent_of_classifiers[{ratio}]": found,
            f"lowest_accuracy_percent_after_exchange[{ratio}]": found - exchanged,
            f"highest_accuracy_percent_after_exchange[{ratio}]": found + exchanged,
        }
    return columns


def test_the_numbers_of_a_row(deviations):
    row = deviations.rows(pd.DataFrame([run(2.0), run(3.0), run(4.0, classifier=0.7)]))[4]
    assert (row.ratio, row.published) == ("0.05", 78.41)
    assert row.difference == pytest.approx(3.0)
    # Student's t at 97.5 % with two degrees of freedom is 4.3027; the standard deviation of 2, 3, 4 is 1.
    assert row.half_width == pytest.approx(4.302653 * math.sqrt(4 / 3), rel=1e-6)
    assert row.by_classifier == pytest.approx(0.7)
    assert row.by_longer_classifier == pytest.approx(-0.3)
    assert row.by_ranking == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ([run(2.5, classifier=3.0), run(2.6)], "Another classifier"),
        ([run(2.5), run(2.6, longer=-2.7)], "Another classifier"),
        ([run(2.5, exchanged=3.0), run(2.6)], "one exchange suffices"),
        ([run(1.5), run(3.5)], "another seed does"),
        ([run(2.5), run(2.6)], "not explained"),
        ([run(2.5)], "another seed does"),
    ],
)
def test_the_least_that_suffices_is_named(deviations, seeds, said):
    assert said in deviations.cause(deviations.rows(pd.DataFrame(seeds))[4])


def test_only_differences_of_more_than_two_points_get_a_paragraph(deviations, tmp_path):
    near, far = run(0.5), run(0.5)
    for name in far:
        if "[0.03]" in name:
            far[name] += 9
    (tmp_path / "sweeps").mkdir()
    pd.DataFrame([near, far]).to_csv(tmp_path / "sweeps" / "mnist-seeds.csv")
    deviations.stage(tmp_path, tmp_path)
    text = (tmp_path / "deviations.md").read_text()
    assert text.count("kept**") == 1
    assert "- **3 % kept**: the mean is 5.0 points above the published 51.93 %" in text
    assert "52.43, 61.43" in text


def test_without_a_reference_run_the_page_says_so(deviations, tmp_path):
    deviations.stage(tmp_path, tmp_path)
    assert "make reference" in (tmp_path / "deviations.md").read_text()


def test_a_table_of_another_version_is_one_sentence(deviations, tmp_path):
    (tmp_path / "sweeps").mkdir()
    table = pd.DataFrame([run(0.5)]).drop(columns="accuracy_percent_of_longer_classifier[0.5]")
    table.to_csv(tmp_path / "sweeps" / "mnist-seeds.csv")
    with pytest.raises(
        RunError, match=r"has no column 'accuracy_percent_of_longer_classifier\[0\.5\]'.*run make reference"
    ):
        deviations.stage(tmp_path, tmp_path)
