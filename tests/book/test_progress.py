"""What `make book` prints: the plan, a line per step with the time left, failures, and the summary."""

import json
import re
import subprocess
import sys

import make
import progress
import pytest
from conftest import ROOT

# Two runs, the verdicts and a site, with the plan and the logs of the real Snakefile.
ONSTART = re.search(r"^onstart:\n(?:.*\n)+?(?=\n)", (ROOT / "Snakefile").read_text(), re.MULTILINE)[0]
SNAKEFILE = f"""
from snakemake.logging import logger
LOG = "log/toy"
{ONSTART}
rule site:
    input: "claims.txt"
    output: "site.txt"
    log: LOG + "/site.log"
    shell: config["last"]
rule claims:
    input: "one.json", "two.json"
    output: "claims.txt"
    log: LOG + "/claims.log"
    shell: "echo noise > {{log}}; touch {{output}}"
rule run:
    output: "{{experiment}}.json"
    log: LOG + "/{{experiment}}.log"
    shell: "echo noise > {{log}}; touch {{output}}"
"""
RUN = f"""
import sys
sys.path.insert(0, {str(ROOT / "book")!r})
import make
raise SystemExit(make.run_snakemake("toy", "1", False, None))
"""


@pytest.fixture
def built(tmp_path):
    """Run the toy workflow with a command for its last step."""

    def build(last):
        (tmp_path / "config.yaml").write_text(json.dumps({"last": last}))
        (tmp_path / "Snakefile").write_text(f'configfile: "config.yaml"\n{SNAKEFILE}')
        return subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return build


def test_a_build_prints_its_plan_and_a_line_per_step(built, tmp_path):
    done = built("echo noise > {log}; touch {output}")
    assert (done.returncode, done.stderr) == (0, "")
    first, runs, then, *lines = done.stdout.splitlines()
    assert first == "4 steps, not timed here before."
    assert (runs, then) == ("  run    one, two", "  then   site, verdicts")
    found = [re.fullmatch(r"\[ (\d)/4\] (\w+) +\d+ s *(about \d+ s left)?", line).groups() for line in lines]
    # The two runs come in any order.
    assert [number for number, *_ in found] == ["1", "2", "3", "4"]
    assert {name for _, name, _ in found[:2]} == {"one", "two"}
    assert [name for _, name, _ in found[2:]] == ["verdicts", "site"]
    assert [left is not None for *_, left in found] == [True, True, True, False]
    assert json.loads((tmp_path / "log" / "toy" / "durations.json").read_text()).keys() == {
        "one", "two", "verdicts", "site",
    }  # fmt: skip


def test_a_step_that_fails_says_why_and_where_the_rest_is(built):
    done = built("(echo noise; echo 'book: a fault.'; echo another.) > {log}; exit 1")
    assert done.returncode == 1
    assert done.stderr == "site failed:\nbook: a fault.\nanother.\nAll it printed is in log/toy/site.log.\n"


def test_a_fault_of_the_workflow_is_printed_once(built):
    done = built("{nothing}")
    assert done.returncode == 1
    assert done.stderr.count("The name 'nothing' is unknown") == 1
    assert "At least one job" not in done.stderr


def test_the_time_left_follows_the_speed_of_the_machine():
    steps = progress.Progress(["a", "b", "c"], {"a": 300, "b": 600}, now=0)
    assert steps.left(0) is None  # nothing is known of c
    steps.start("a", 0)
    assert steps.finish("a", 600) == 600
    # Half as fast as expected: b needs 600 / 0.5, c as long as a did; the first 30 s count as usual.
    slower = (600 + 30) / (300 + 30)
    assert progress.Progress(["data: a", "b"], {"b": 1}, now=0).expected_of("data: a") is None
    assert steps.left(600) == pytest.approx((600 + 600) * slower)
    steps.start("b", 600)
    assert steps.left(700) == pytest.approx((500 + 600) * (700 + 30) / (300 + 30))
    steps.finish("b", 1000)
    steps.start("c", 1000)
    steps.finish("c", 1001)
    assert steps.left(1001) == 0


def test_what_a_running_step_does_is_read_from_its_bars(tmp_path):
    log = tmp_path / "mnist.log"
    log.write_text(
        "training:  10%|#   | 100/1000 [00:10<01:30, 10 it/s]\rtraining:  43%|##  | 430/1000 [02:10<03:01, 10 it/s]\n"
    )
    assert progress.last_bar([str(log)]) == ", training 43 %, 03:01 left"
    assert progress.last_bar([str(tmp_path / "none.log")]) == ""


def test_the_summary_names_the_site_the_data_and_every_verdict():
    lines = make.summary("paper", ROOT)
    text = "\n".join(lines)
    assert "_build/html/index.html" in lines[0]
    for name in ("mnist", "celeba", "deap"):
        result = json.loads((ROOT / "results" / "paper" / f"{name}.json").read_text())
        assert result["data"]["source"] in text
        for claim in result["claims"]:
            assert re.search(rf"^Verdicts  {claim['verdict']}: .*\b{claim['id']}\b", text, re.MULTILINE)
    assert "vaemi data status" in text  # the reference run has stand-ins
