"""The comparison of two versions of the estimator: every case, and one that is off shows."""

import json

import speed
from conftest import ROOT


def test_a_small_run_measures_every_version(tmp_path):
    path = tmp_path / "speed.json"
    speed.main(["--quick", "--rounds", "1", "--json", str(path)])
    made = json.loads(path.read_text())
    assert [row["case"] for row in made["rows"]] == list(speed.QUICK)
    assert made["commits"]["before"] == made["commits"]["after"]  # this checkout, where no other is given
    for row in made["rows"]:
        assert all(row[version]["cpu_seconds"] > 0 for version in speed.VERSIONS)
        assert row["after"]["largest_error"] < 1e-6 < row["the paper's formula"]["largest_error"]


def test_the_committed_run_is_that_of_all_cases():
    rows = json.loads((ROOT / "benchmarks" / "speed.json").read_text())["rows"]
    assert [row["case"] for row in rows] == list(speed.FULL)
    for row in rows:
        assert max(row[version]["largest_error"] for version in ("before", "after")) < 1e-6
        assert row["after"]["cpu_seconds"] < 1.1 * row["before"]["cpu_seconds"]
    plain, compiled = (row["after"]["cpu_seconds"] for row in (rows[3], rows[0]))
    assert plain < 10 * compiled
