"""`vaemi audit` and its report: from files to a table and a page, and one sentence for every mistake."""

import html
import io
import json
import os
import re
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import vaemi_command
from matplotlib import rc_context, rcParams
from safetensors.torch import save_file

import vaemi
from vaemi import cli
from vaemi.auditing import report
from vaemi.auditing.command import load_encoder
from vaemi.criteria import CRITERIA

SCRIPT = """
import torch
from beside import FACTORS

def encode(x):
    mean = x[:, :FACTORS] * torch.tensor([0.9, 0.6, 0.0])
    return mean, torch.tensor([0.19, 0.64, 1.0]).log().expand(len(x), FACTORS)

def spread(x):
    mean, log_variance = encode(x)
    return mean, (0.5 * log_variance).exp()

def maps(x):
    return tuple(part[:, :, None, None].expand(-1, -1, 2, 2) for part in encode(x))

class Model(torch.nn.Module):
    def encode(self, x):
        return encode(x)

def decode(z):
    return 3 * z[:, :1]

model = Model()
number = 3
"""


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """A working folder with an encoder, inputs in every kind of file, and posteriors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("my_vae", "beside", "broken", "stop"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "my_vae.py").write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("FACTORS = 3\n")
    x = torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    np.save("x.npy", x.numpy())
    np.savez("x.npz", data=x.numpy(), labels=np.array(["a", "b"]))
    torch.save({"x": x, "y": torch.zeros(600)}, "x.pt")
    save_file({"anything": x}, "x.safetensors")
    for folder in ("inputs", "posteriors"):
        (tmp_path / folder).mkdir()
    mean, log_variance = x[:, :3] * torch.tensor([0.9, 0.6, 0.0]), torch.tensor([0.19, 0.64, 1.0]).log().expand(600, 3)
    for number, (inputs, one) in enumerate(zip(x.split(250), mean.split(250), strict=True)):
        np.save(f"inputs/{number}.npy", inputs.numpy())
        posteriors = {"mean": one.contiguous(), "log_variance": log_variance[: len(one)].contiguous()}
        save_file(posteriors, f"posteriors/{number}.safetensors")
    return tmp_path


def test_ctrl_c_is_one_sentence(users_folder, capsys):
    (users_folder / "stop.py").write_text("def encode(x):\n    raise KeyboardInterrupt\n")
    assert cli.main(["audit", "stop.py:encode", "x.npy"]) == 130
    assert capsys.readouterr().err.endswith("vaemi: interrupted; earlier results are unchanged.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["my_vae.py:encode", "x.npz"],
        ["my_vae.py:encode", "x.pt"],
        ["my_vae.py:encode", "x.safetensors"],
        ["my_vae.py:encode", "inputs"],
        ["my_vae:encode", "x.npy"],
        ["my_vae.py:model", "x.npy", "--batch-size", "7", "--device", "cpu"],
        ["my_vae.py:spread", "x.npy", "--scale", "std"],
        ["posteriors"],
        ["posteriors/*.safetensors", "--state", "state.safetensors"],
    ],
)
def test_a_table_of_the_factors_is_printed(users_folder, arguments, capsys):
    assert cli.main(["audit", *arguments]) == 0
    printed = capsys.readouterr()
    x = torch.from_numpy(np.load("x.npy"))[:, :3]
    log_variance = torch.tensor([0.19, 0.64, 1.0]).log().expand(600, 3)
    expected = vaemi.factor_information(x * torch.tensor([0.9, 0.6, 0.0]), log_variance)
    rows = [line.split() for line in printed.out.splitlines()[1:4]]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert [float(row[1]) for row in rows] == pytest.approx(expected.nats.tolist(), abs=1e-4)
    assert "2 of 3 factors carry more than 0.1 nats, from 600 inputs" in printed.out
    assert "Remark" not in printed.out
    assert ("running my_vae.py, which may do anything" in printed.err) == (arguments[0].startswith("my_vae.py"))


def test_the_command_from_outside(users_folder):
    arguments = ("my_vae.py:encode", "x.npy", "--threshold", "0.4", "--html", "r.html")
    done = vaemi_command("audit", *arguments, cwd=users_folder)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 factors carries more than 0.4 nats" in done.stdout
    assert "Report: r.html" in done.stdout
    assert "my_vae.py:encode" in (users_folder / "r.html").read_text(encoding="utf-8")


def test_everything_is_written_as_json_and_csv(users_folder, capsys):
    arguments = ["my_vae.py:encode", "x.npy", "--decode", "my_vae.py:decode", "--json", "r.json", "--csv", "r.csv"]
    assert cli.main(["audit", *arguments]) == 0
    printed = capsys.readouterr().out
    assert (
        "Note: Above 0.1 nats, but with at most 1 % of the effect of all factors on the output: z1 (0.0 %)." in printed
    )
    found = json.loads((users_folder / "r.json").read_text(encoding="utf-8"))
    assert (found["loaded from"], found["n_inputs"], found["latent_dim"]) == ("my_vae.py:encode", 600, 2)
    assert found["criteria"]["kl"]["n_used"] == 2
    frame = pd.read_csv("r.csv")
    assert frame["effect"].tolist() == pytest.approx([row["effect"] for row in found["factors"]])
    assert frame["active_units_used"].tolist() == [True, True, False]


ENCODE = "def encode(x):\n    return 0.5 * x, x * 0\n"


def test_a_script_does_not_see_the_arguments_of_the_command(users_folder, capsys):
    parsing = "parser = argparse.ArgumentParser()\nparser.add_argument('--epochs')\nparser.parse_args()\n"
    text = f"import argparse\n{parsing}{ENCODE}"
    (users_folder / "parses.py").write_text(text)
    before = list(sys.argv)
    assert cli.main(["audit", "parses.py:encode", "x.npy"]) == 0
    (users_folder / "needs.py").write_text(text.replace("'--epochs'", "'data'"))
    assert cli.main(["audit", "needs.py:encode", "x.npy"]) == 1
    assert "needs.py ended when it was run (exit status 2): put code that parses arguments" in capsys.readouterr().err
    assert sys.argv == before


def test_a_script_that_ends_itself_is_no_audit(users_folder, capsys):
    (users_folder / "ends.py").write_text(f"import sys\n{ENCODE}sys.exit()\n")
    assert cli.main(["audit", "ends.py:encode", "x.npy", "--html", "r.html"]) == 1
    assert "ends.py ended when it was run (exit status 0)" in capsys.readouterr().err
    assert not (users_folder / "r.html").exists()


def test_standard_output_is_for_programs_if_asked(users_folder, capsys):
    found = {}
    for name in ("json", "csv"):
        assert cli.main(["audit", "posteriors", f"--{name}", "-"]) == 0
        found[name] = capsys.readouterr()
        assert "2 of 3 factors carry more than 0.1 nats" in found[name].err
    assert json.loads(found["json"].out)["latent_dim"] == 2
    assert pd.read_csv(io.StringIO(found["csv"].out))["factor"].tolist() == [0, 1, 2]


def test_a_strict_audit_with_remarks_has_a_status_of_its_own(users_folder, capsys):
    assert cli.main(["audit", "my_vae.py:encode", "x.npy", "--strict"]) == 0
    assert cli.main(["audit", "my_vae.py:spread", "x.npy", "--strict", "--csv", "r.csv"]) == 3
    assert "Remark: " in capsys.readouterr().out
    assert (users_folder / "r.csv").exists()
    assert cli.main(["audit", "my_vae.py:spread", "x.npy"]) == 0


def test_the_kl_term_of_the_training_can_be_given(users_folder, capsys):
    x = torch.from_numpy(np.load("x.npy"))[:, :3]
    mean, variance = x * torch.tensor([0.9, 0.6, 0.0]), torch.tensor([0.19, 0.64, 1.0])
    kl = float(0.5 * (mean.square() + variance - 1 - variance.log()).sum(1).mean())
    assert cli.main(["audit", "my_vae.py:encode", "x.npy", "--kl", str(kl), "--strict"]) == 0
    assert cli.main(["audit", "posteriors", "--kl", str(kl), "--strict"]) == 0
    capsys.readouterr()
    assert cli.main(["audit", "posteriors", "--kl", str(5 * kl), "--strict"]) == 3
    assert f"not the {5 * kl:.3g} nats of the training: it is {kl:.3g} as log_variance" in capsys.readouterr().out


def test_an_audit_in_little_memory_says_what_it_rests_on(users_folder, capsys):
    for target in (["my_vae.py:encode", "x.npy"], ["posteriors"]):
        assert cli.main(["audit", *target, "--max-bytes", "4000", "--strict"]) == 3
        assert "of the 600 inputs, an even sample" in capsys.readouterr().out
        assert cli.main(["audit", *target, "--max-bytes", "4000000", "--strict"]) == 0


def test_names_of_arrays_are_those_of_answers(users_folder, capsys):
    x = torch.from_numpy(np.load("x.npy"))[:, :3]
    mean, variance = x * torch.tensor([0.9, 0.6, 0.0]), torch.tensor([0.19, 0.64, 1.0]).expand(600, 3)
    np.savez("short.npz", mu=mean.numpy(), logvar=variance.log().numpy())
    np.save("mu-0.npy", mean.numpy())
    np.save("sigma-0.npy", variance.sqrt().numpy())
    for name in ("short.npz", "mu-0.npy"):
        assert cli.main(["audit", name]) == 0
        assert "2 of 3 factors carry more than 0.1 nats, from 600 inputs" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_dask_scheduler_is_named_by_its_address(users_folder, capsys):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, dashboard_address=None) as cluster:
        assert cli.main(["audit", str(users_folder / "posteriors"), "--dask", cluster.scheduler_address]) == 0
    assert "from 600 inputs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["my_vae.py:encode"], "There are no inputs for my_vae.py:encode"),
        (["my_vae.py", "x.npy"], "'my_vae.py' is not an encoder: write FILE.py:NAME"),
        (["other.py:encode", "x.npy"], "There is no file other.py"),
        (["no_such_module:encode", "x.npy"], "no_such_module cannot be run: ModuleNotFoundError"),
        (["my_vae.py:encoder", "x.npy"], "my_vae.py has no encoder: it has encode, spread, maps, Model, decode"),
        (["broken.py:encode", "x.npy"], "broken.py cannot be run: ZeroDivisionError"),
        (["my_vae.py:number", "x.npy"], "encode is a int"),
        (["my_vae.py:encode", "y.npy"], "There is no y.npy"),
        (["my_vae.py:encode", "my_vae.py"], "my_vae.py cannot be read as inputs: use .npy"),
        (["my_vae.py:encode", "empty"], "empty holds or matches no .npy"),
        (["my_vae.py:encode", "damaged.npz"], "damaged.npz cannot be read"),
        (["my_vae.py:encode", "list.pt"], "list.pt cannot be read as arrays of numbers"),
        (["my_vae.py:encode", "two.npz"], "two.npz holds a, b: name the inputs x or data"),
        (["my_vae.py:encode", "x.npy", "--device", "nowhere"], "device is 'nowhere', which cannot be used here"),
        (["my_vae.py:encode", "x.npy", "--device", "cuda"], "device is 'cuda', which cannot be used here"),
        (["posteriors", "--device", "cpu"], "--channel-axis and --device are for encoders"),
        (["posteriors", "--json", "-", "--csv", "-"], "both print to standard output"),
        (["my_vae.py:encode", "x.npy", "--decode", "my_vae.py:decoder"], "my_vae.py has no decoder"),
        (["my_vae.py:encode", "x.npy", "--decode", "my_vae.py:decode", "--no-decode"], "contradict each other"),
        (["posteriors", "--decode", "my_vae.py:decode"], "--decode is for encoders"),
        # Places of reports are looked at before the work, here before a file that is not there.
        (["no.npy", "--json", "no/such/found.json"], "There is no folder no/such for found.json"),
        (["no.npy", "--html", "no/such/report.html"], "There is no folder no/such for report.html"),
        (["no.npy", "--state", "no/such/state"], "There is no folder no/such for state"),
        (["no.npy", "--html", "."], ". is a folder: name a file in it"),
        (["no.npy", "--csv", "inputs"], "inputs is a folder: name a file in it"),
        (["my_vae.py:encode", "x.npy", "--state", "s.safetensors"], "--state and --dask are for posteriors in files"),
        (["posteriors/*.npy"], "posteriors/*.npy holds or matches no .npy, .npz, .safetensors file"),
        (["two.npz"], "two.npz holds a, b: posteriors are arrays named mean and log_variance"),
        (["x.pt"], "x.pt cannot be read as posteriors: use .npy, .npz, .safetensors files"),
    ],
)
def test_a_users_mistake_is_one_sentence(users_folder, arguments, words, capsys):
    (users_folder / "broken.py").write_text("1 / 0\n")
    (users_folder / "empty").mkdir()
    (users_folder / "damaged.npz").write_bytes(b"PK\x03\x04 nonsense")
    np.savez("two.npz", a=np.zeros((4, 5)), b=np.zeros((4, 5)))
    torch.save([torch.zeros(2, 3)], "list.pt")
    assert cli.main(["audit", *arguments]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vaemi: ")]
    assert words in error[-1]
    assert not (users_folder / "report.html").exists()


class Trap:
    """A pickle that makes a folder where it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt"])
def test_a_file_of_inputs_runs_nothing(users_folder, kind, capsys):
    objects = np.array([Trap()], dtype=object)
    if kind == "npy":
        np.save("trap.npy", objects, allow_pickle=True)
    elif kind == "npz":
        np.savez("trap.npz", x=objects)
    else:
        torch.save({"x": Trap()}, "trap.pt")
    assert cli.main(["audit", "my_vae.py:encode", f"trap.{kind}"]) == 1
    assert f"trap.{kind} cannot be read as arrays of numbers" in capsys.readouterr().err
    assert not (users_folder / "ran").exists()


def test_a_file_of_posteriors_runs_nothing(users_folder, capsys):
    np.save("mean.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    np.save("log_variance.npy", np.zeros((1, 1)))
    assert cli.main(["audit", "mean.npy"]) == 1
    assert "mean.npy cannot be read as arrays of numbers" in capsys.readouterr().err
    assert not (users_folder / "ran").exists()


def audited(name):
    inputs = torch.from_numpy(np.load("x.npy"))
    return vaemi.audit(load_encoder(f"my_vae.py:{name}"), inputs, decode=lambda z: z[:, :2], progress=False)


@pytest.mark.parametrize("name", ["encode", "maps", "spread"])
def test_the_report_is_one_file_with_the_numbers(users_folder, name):
    found = audited(name)
    with rc_context({"font.size": 3}):
        text = report.write(found, "report.html", {"data": "<b>&.npy"}).read_text(encoding="utf-8")
        assert rcParams["font.size"] == 3
    assert f"<title>Audit of {name}</title>" in text
    (label,) = re.findall(r'<svg role="img" aria-label="([^"]*)"', text)
    assert found.summary in label
    for words in ("&lt;b&gt;&amp;.npy", "600 in 3 batches", vaemi.__version__, torch.__version__):
        assert words in text
    rows = re.findall(r"<tr>\s*<td>(\d)</td>\s*<td>([\d.]+)</td>", text)
    frame = found.to_frame()
    assert [int(row[0]) for row in rows] == frame.iloc[:, 0].tolist()
    assert [float(row[1]) for row in rows] == pytest.approx(frame["nats"].tolist(), abs=6e-4)
    # Each criterion has a row with its count.
    for criterion, count in found.criteria.n_used.items():
        title = CRITERIA[criterion].title
        assert re.search(rf"<td>{title}</td><td>[^<]*</td><td>{count}</td>", text), title
    assert html.escape(found.notes[0]) in text
    # Nothing is fetched: addresses are within the page or data.
    assert all(address.startswith(("#", "data:")) for address in re.findall(r'(?:href|src)="([^"]*)"', text))
    # A deviation read as a log-variance is a mistake, which the page shows before the figure.
    assert ("Read this first" in text) == (name == "spread")
    assert ("None of the known mistakes" in text) == (name != "spread")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spread", "maps"])
def test_axe_finds_nothing_in_the_report_and_it_fits_on_a_phone(users_folder, name, browser):
    from axe_playwright_python.sync_playwright import Axe

    report.write(audited(name), "report.html", {"data": f"/{'a-long-folder/' * 20}x.npy"})
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto((users_folder / "report.html").as_uri())
        violations = Axe().run(page, None, {"resultTypes": ["violations"]}).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["target"]) for rule in violations] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
