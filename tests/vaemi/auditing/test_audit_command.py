"""`vaemi audit`: from files to a table and a report, and one sentence for what a user does wrong."""

import html.parser
import os
import re
import sys

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from conftest import vaemi_command
from safetensors.torch import save_file

import vaemi
from vaemi import cli
from vaemi.auditing import command as _audit_command
from vaemi.auditing import report

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

model = Model()
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder with an encoder and inputs, and nothing that a run left in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("my_vae", "beside", "_audited_my_vae"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "my_vae.py").write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("FACTORS = 3\n")
    x = torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "x.npy", x.numpy())
    np.savez(tmp_path / "x.npz", data=x.numpy(), labels=np.array(["a", "b"]))
    torch.save({"x": x, "y": torch.zeros(600)}, tmp_path / "x.pt")
    save_file({"anything": x}, tmp_path / "x.safetensors")
    (tmp_path / "shards").mkdir()
    for number, part in enumerate(x.split(250)):
        np.save(tmp_path / "shards" / f"{number}.npy", part.numpy())
    mean, log_variance = x[:, :3] * torch.tensor([0.9, 0.6, 0.0]), torch.tensor([0.19, 0.64, 1.0]).log().expand(600, 3)
    np.savez(tmp_path / "posteriors.npz", mean=mean.numpy(), log_variance=log_variance.numpy())
    np.savez(tmp_path / "deviations.npz", mean=mean.numpy(), std=(0.5 * log_variance).exp().numpy())
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["my_vae.py:encode", "x.npy"],
        ["my_vae.py:encode", "x.npz"],
        ["my_vae.py:encode", "x.pt"],
        ["my_vae.py:encode", "x.safetensors"],
        ["my_vae.py:encode", "shards"],
        ["my_vae:encode", "x.npy"],
        ["my_vae.py:model", "x.npy", "--batch-size", "7", "--device", "cpu"],
        ["my_vae.py:spread", "x.npy", "--scale", "std"],
        ["posteriors.npz"],
        ["deviations.npz"],
    ],
)
def test_a_table_of_the_factors_is_printed(folder, arguments, capsys):
    assert cli.main(["audit", *arguments]) == 0
    printed = capsys.readouterr()
    with np.load("posteriors.npz") as file:
        expected = vaemi.factor_information(file["mean"], file["log_variance"])
    rows = [line.split() for line in printed.out.splitlines()[1:4]]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert [float(row[1]) for row in rows] == pytest.approx(expected.nats.tolist(), abs=1e-4)
    assert "2 of 3 factors know more than 0.1 nats, from 600 inputs" in printed.out
    assert "Remark" not in printed.out
    assert ("running my_vae.py, which may do anything" in printed.err) == (arguments[0].startswith("my_vae.py"))


def test_the_command_from_outside(folder):
    done = vaemi_command("audit", "my_vae.py:encode", "x.npy", "--threshold", "0.4", "--html", "r.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 factors know more than 0.4 nats" in done.stdout
    assert "Report: r.html" in done.stdout
    assert "Traceback" not in done.stderr


class Page(html.parser.HTMLParser):
    """What a page consists of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("name", ["encode", "maps", "spread"])
def test_the_report_is_one_accessible_file(folder, name):
    assert cli.main(["audit", f"my_vae.py:{name}", "x.npy", "--html", "report.html"]) == 0
    text = (folder / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.all("html") == [{"lang": "en"}]
    assert f"<title>Audit of {name}</title>" in text
    assert len(page.all("h1")) == len(page.all("main")) == 1
    (drawn,) = (svg for svg in page.all("svg"))
    assert drawn["role"] == "img"
    assert "from 600 inputs" in drawn["aria-label"]
    assert "nats" in drawn["aria-label"]
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert len(page.all("caption")) == 1
    # Nothing is fetched: no scripts, and addresses only within the page or as data.
    assert page.all("script") == page.all("link") == []
    addresses = [
        value for _, attributes in page.tags for key, value in attributes.items() if key.endswith(("href", "src"))
    ]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for words in ("my_vae.py", "x.npy", "600 in 3 batches", vaemi.__version__, torch.__version__):
        assert words in text
    # A deviation read as a log-variance is a trap, and stands before the figure.
    assert ("Read this first" in text) == (name == "spread")
    assert ("None of the known traps" in text) == (name != "spread")
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("name", ["spread", "maps"])
def test_axe_finds_nothing_in_the_report_and_a_phone_shows_all_of_it(folder, name, browser):
    found = vaemi.audit(_audit_command.load_encoder(f"my_vae.py:{name}"), torch.from_numpy(np.load("x.npy")))
    report.write(found, "report.html", {"data": f"/{'a-long-folder/' * 20}x.npy"})
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto((folder / "report.html").as_uri())
        violations = Axe().run(page, None, {"resultTypes": ["violations"]}).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["target"]) for rule in violations] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_the_report_says_the_numbers_and_escapes_names(folder):
    found = vaemi.audit(_audit_command.load_encoder("my_vae.py:encode"), torch.from_numpy(np.load("x.npy")))
    text = report.page(found, {"data": "<b>&.npy"})
    assert "&lt;b&gt;&amp;.npy" in text
    rows = re.findall(r'<tr><th scope="row">(\d)</th><td>([\d.]+)</td>', text)
    assert [int(row[0]) for row in rows] == found.information.ranking.tolist()
    assert [float(row[1]) for row in rows] == pytest.approx(found.information.to_frame()["nats"].tolist(), abs=6e-4)


def test_a_report_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    found = vaemi.audit(_audit_command.load_encoder("my_vae.py:encode"), torch.from_numpy(np.load("x.npy")))
    (folder / "r.html").write_text("old")
    monkeypatch.setattr(report, "_provenance", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report.write(found, folder / "r.html")
    assert (folder / "r.html").read_text() == "old"


def test_drawing_leaves_the_callers_style_alone(folder):
    from matplotlib import pyplot as plt

    found = vaemi.audit(_audit_command.load_encoder("my_vae.py:maps"), torch.from_numpy(np.load("x.npy")))
    backend = plt.get_backend()
    with plt.rc_context({"font.size": 3, "backend": "svg"}):
        plt.switch_backend("svg")
        report.page(found)
        assert (plt.rcParams["font.size"], plt.get_backend()) == (3, "svg")
    plt.switch_backend(backend)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["my_vae.py:encode"], "There are no inputs for my_vae.py:encode"),
        (["my_vae.py", "x.npy"], "'my_vae.py' is no encoder: give FILE.py:NAME"),
        (["other.py:encode", "x.npy"], "There is no file other.py"),
        (["no_such_module:encode", "x.npy"], "no_such_module cannot be run: ModuleNotFoundError"),
        (["my_vae.py:encoder", "x.npy"], "my_vae.py has no encoder: it has encode, spread, maps, Model"),
        (["broken.py:encode", "x.npy"], "broken.py cannot be run: ZeroDivisionError"),
        (["my_vae.py:number", "x.npy"], "encode is a int"),
        (["my_vae.py:encode", "y.npy"], "There is no y.npy"),
        (["my_vae.py:encode", "my_vae.py"], "my_vae.py is of no kind that is read: give .npy"),
        (["my_vae.py:encode", "empty"], "The folder empty holds no .npy"),
        (["my_vae.py:encode", "objects.npy"], "objects.npy cannot be read as arrays of numbers"),
        (["my_vae.py:encode", "pickle.pt"], "pickle.pt cannot be read as arrays of numbers"),
        (["my_vae.py:encode", "damaged.safetensors"], "damaged.safetensors cannot be read"),
        (["my_vae.py:encode", "damaged.npz"], "damaged.npz cannot be read"),
        (["my_vae.py:encode", "two.npz"], "two.npz holds a, b: name one of them x or data"),
        (["my_vae.py:encode", "single.npy"], "single.npy holds an array without inputs"),
        (["my_vae.py:encode", "x.npy", "--threshold", "-1"], "threshold is -1"),
        (["my_vae.py:encode", "x.npy", "--device", "nowhere"], "The audit of my_vae.py:encode failed"),
        (["my_vae.py:encode", "x.npy", "--html", "no/such/report.html"], "report.html"),
        (["two.npz"], "two.npz holds a, b: posteriors are arrays named mean and log_variance"),
        (["posteriors.npz", "--scale", "std"], "names its second array log_variance, and --scale says std"),
        (["uneven.npz"], r"uneven.npz holds mean and std of shapes (4, 2) and (4, 3)"),
    ],
)
def test_a_users_mistake_is_one_sentence(folder, arguments, words, capsys):
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "empty").mkdir()
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(folder / "single.npy", np.float64(3))
    torch.save({"x": torch.zeros(4, 5), "run": print}, folder / "pickle.pt")
    (folder / "damaged.safetensors").write_bytes(b"nonsense")
    (folder / "damaged.npz").write_bytes(b"PK\x03\x04 nonsense")
    np.savez(folder / "two.npz", a=np.zeros((4, 5)), b=np.zeros((4, 5)))
    np.savez(folder / "uneven.npz", mean=np.zeros((4, 2)), std=np.ones((4, 3)))
    assert cli.main(["audit", *arguments]) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vaemi: ")]
    assert words in error[-1]
    assert not (folder / "report.html").exists()


class Trap:
    """A pickle that leaves a folder where it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt"])
def test_a_file_of_data_runs_nothing(folder, kind, capsys):
    path = folder / f"trap.{kind}"
    objects = np.array([Trap()], dtype=object)
    if kind == "npy":
        np.save(path, objects, allow_pickle=True)
    elif kind == "npz":
        np.savez(path, x=objects)
    else:
        torch.save({"x": Trap()}, path)
    assert cli.main(["audit", "my_vae.py:encode", path.name]) == 1
    assert f"{path.name} cannot be read as arrays of numbers" in capsys.readouterr().err
    assert not (folder / "ran").exists()
