"""Fixtures of all tests: an empty data root, no network, small models, one smoke run and one site per session.

Imports of the companion and of what only it needs are inside the fixtures: tests/vaemi runs without it.
"""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

# Before torch is imported anywhere: a GPU would change the numbers that some tests compare bit by bit.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# Small tensors gain nothing from threads, and on a busy machine threads that wait for each other lose a lot.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from filelock import FileLock

from vaemi._torchvision import declare_missing_operators
from vaemi.models import ConvVAE, LinearVAE

declare_missing_operators()  # before a test imports Lightning or torchmetrics

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark tests that need runs of all notebooks, the built site or a browser as slow."""
    for item in items:
        if {"smoke_results", "site", "browser"} & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def data_root(tmp_path_factory):
    """An empty data root, in this process and in those it starts."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEMI_DATA", str(root))
        yield root


@pytest.fixture
def figure_style():
    """The style of the companion's figures, which are closed afterwards."""
    from matplotlib import pyplot as plt

    from companion import figures

    with plt.rc_context():
        figures.use_style()
        yield
    plt.close("all")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that tries to leave the machine fails."""
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to connect to {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def ctrl_c_works():
    """SIGINT as in a terminal; a process that a script started in the background ignores it, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def own_data_root(tmp_path):
    """A data root for this test alone."""
    from companion.data import sources

    sources.set_data_root(tmp_path)
    yield tmp_path
    sources.set_data_root(None)


def tiny():
    """The smallest model, always with the same weights."""
    torch.manual_seed(0)
    return ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)


def linear_model(encoder, decoder, variance=0.1):
    """A linear VAE without offsets whose encoder and decoder have these weights."""
    encoder, decoder = torch.as_tensor(encoder), torch.as_tensor(decoder)
    model = LinearVAE(encoder.shape[1], encoder.shape[0])
    with torch.no_grad():
        for layer, weight in ((model.encoder, encoder), (model.decoder, decoder)):
            layer.weight.copy_(weight)
            layer.bias.zero_()
        model.log_variance.fill_(math.log(variance))
    return model


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def project_with_a_notebook(root, parameters, body, quick, text=""):
    """A project with the notebook `tiny`, a cell of code and a line of text after it, and the profile `quick`."""
    import nbformat

    folder = root / "notebooks"
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "quick.yaml").write_text(quick)
    cells = [nbformat.v4.new_code_cell(parameters), nbformat.v4.new_code_cell(body)]
    cells.append(nbformat.v4.new_markdown_cell(text))
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "tiny.ipynb")
    return root


@pytest.fixture
def tiny_model():
    return tiny()


@pytest.fixture
def tiny_images():
    return torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def embedded_digits(data_root):
    from companion.data import mnist

    return mnist.load("embedded", say=lambda sentence: None)


VAEMI = [sys.executable, "-c", "import sys; from vaemi.cli import main; sys.exit(main())"]


def vaemi_command(*arguments, cwd=ROOT, **environment):
    """Run the installed command as a user would."""
    return subprocess.run(
        [*VAEMI, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_on_users_data(experiment, data_root, folder):
    """The result and the executed notebook's text of a smoke run in a folder of its own, on what a data root holds."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    arguments = ("run", experiment, "--profile", "smoke", "-p", "data_source=auto")
    done = vaemi_command(*arguments, cwd=folder, VAEMI_DATA=str(data_root))
    assert done.returncode == 0, done.stderr[-3000:]
    results = folder / "results" / "smoke"
    return json.loads((results / f"{experiment}.json").read_text()), (results / f"{experiment}.ipynb").read_text()


def assert_ignored_by_git(paths):
    """Nothing of this would be taken by `git add`."""
    found = subprocess.run(
        ["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if found.returncode == 128:
        pytest.skip("the tests do not run in a clone")
    assert found.stdout.split() == paths


def session_folder(tmp_path_factory):
    """Return a folder that all workers of one session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def smoke_results(embedded_digits, tmp_path_factory):
    """The results folder after a smoke run of every notebook, made once for all test workers."""
    shared = session_folder(tmp_path_factory)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        with FileLock(shared / f"{notebook.stem}.lock"):
            if not (done := shared / f"{notebook.stem}.done").exists():
                ran = vaemi_command("run", notebook.stem, "--profile", "smoke")
                assert ran.returncode == 0, ran.stderr[-3000:]
                done.touch()
    return ROOT / "results"


@pytest.fixture(scope="session")
def site(smoke_results, tmp_path_factory):
    """The book built from the smoke run, once for all test workers."""
    target = session_folder(tmp_path_factory) / "site"
    with FileLock(f"{target}.lock"):
        if not target.exists():
            built = subprocess.run(
                [sys.executable, ROOT / "book" / "build.py", "--profile", "smoke", "--build", target],
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert built.returncode == 0, built.stderr[-5000:]
    return target / "html"


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; of a module, since its event loop is in the way of a notebook's."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        yield playwright.chromium.launch(executable_path=chromium, args=arguments)
