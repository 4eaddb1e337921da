"""The factor explorers: the decoder in the page draws what PyTorch's draws, whoever moves its factors, and however."""

import base64
import json
import shutil
from pathlib import Path

import explorer
import nbformat
import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file

from companion import runs
from vaemi import influence
from vaemi.models import ConvVAE

MOST_BYTES = 3_000_000
PICTURE = ".explorer-pictures > canvas"
MINUS, SIGMA = "\u2212", "\u03c3*"
FACES = {
    "image_shape": (3, 64, 64),
    "channels": (8, 16, 32, 64),
    "output": "sigmoid",
    "activation": "leaky_relu",
}


class Trained:
    """A model with weights wide enough that every factor moves the picture, but for the last, which is ignored."""

    def __init__(self, name="mnist"):
        torch.manual_seed(0)
        self.name = name
        self.noun, self.first, self.start, *_ = explorer.SUBJECTS[name]
        settings = FACES if name == "celeba" else {}
        self.model = ConvVAE(latent_dim=12, hidden_dim=64, initialization="he", **settings).eval()
        self.nats = [0.5, 3.0, 0.01, 2.0, 0.0, 0.02, 1.5, 0.03, 0.0, 0.3, 0.0, -1e-9]
        with torch.no_grad():
            self.model.decoder[0].weight[:, 11] = 0
            if name == "celeba":
                # Pictures of five random layers under a sigmoid are all but grey.
                self.model.decoder[-2].weight *= 20
        self.sigma = torch.linspace(0.8, 1.2, 12)
        self.mean = torch.randn(10, 12)
        self.values = {"information_nats": self.nats, "sigma_star": self.sigma.tolist()}
        self.described = []
        if name == "celeba":
            self.values["aligned_labels"] = {"1": {"hair length": 0.75}, "6": {"pitch": 0.5}}
            self.described = [f"face of kind {kind}" for kind in range(10)]
        self.kept = explorer.Kept(self.model, self.mean, self.described)

    def pictures(self, start, positions):
        """What PyTorch draws of a start with factors (by index) at positions in sigma*, as a reader sees it."""
        z = self.mean[start].clone()
        for factor, position in positions.items():
            z[factor] = position * self.sigma[factor]
        return influence.decode(self.model, z[None])[0].clamp(0, 1)

    def title(self, start):
        """What the page calls a picture to start from."""
        return f"{self.noun.capitalize()} {self.first + start}"

    def choice(self, start):
        """Accessible name of the control that chooses it."""
        number = str(self.first + start)
        return f"{number}: {self.described[start]}" if self.described else number


@pytest.fixture(scope="module", params=["mnist", "celeba"])
def trained(request):
    return Trained(request.param)


def test_a_layer_that_the_page_cannot_run_is_refused():
    decoder = torch.nn.Sequential(torch.nn.Linear(12, 4), torch.nn.Tanh())
    with pytest.raises(ValueError, match="has no layer Tanh"):
        explorer.fold(decoder, torch.zeros(10, 12), [0], torch.ones(12))


def test_the_factors_shown_are_the_influential_ones_and_one_ignored():
    assert explorer.shown_factors(Trained().nats) == [1, 3, 6, 0, 9, 11]
    # Of a run that learned nothing, a few; of one that ignores none, all.
    assert explorer.shown_factors([0.0, 0.02, 0.01, 0.0, -0.1]) == [1, 2, 0, 4]
    assert explorer.shown_factors([1.0, 2.0, 3.0]) == [2, 1, 0]


def test_what_is_passed_to_the_page(trained):
    script = explorer.script(trained.name, trained.kept, trained.values)
    passed = json.loads(script.removeprefix("window.factorExplorer = ").removesuffix(";\n"))
    assert passed["shape"] == list(trained.model.hyperparameters["image_shape"])
    hair, pitch = ({"name": "hair length", "nats": 0.75}, {"name": "pitch", "nats": 0.5})
    labels = [hair, None, pitch, None, None, None] if trained.name == "celeba" else [None] * 6
    assert [factor["label"] for factor in passed["factors"]] == labels
    assert passed["names"] == [str(trained.first + index) for index in range(10)]
    assert [factor["index"] for factor in passed["factors"]] == [1, 3, 6, 0, 9, 11]
    assert [factor["ignored"] for factor in passed["factors"]] == [False] * 5 + [True]
    assert np.array(passed["positions"])[4, 2] == pytest.approx(float(trained.mean[4, 6] / trained.sigma[6]))
    second = np.frombuffer(base64.b64decode(passed["layers"][1]["weight"]), "<f2").astype(np.float32)
    exact = trained.model.decoder[2].weight.detach().numpy().ravel()
    np.testing.assert_allclose(second, exact, rtol=2**-11, atol=2**-25)


def test_a_notebook_gets_the_explorer_of_its_run_or_a_sentence(trained, tmp_path):
    cell = nbformat.v4.new_markdown_cell("here", metadata={"tags": ["explorer"]})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), cell])
    name, result = trained.name, {"values": trained.values, "data": {"stand_in": True}}
    tensors = tmp_path / f"{name}.safetensors"
    explorer.place(name, notebook, result, tensors, tmp_path / "assets")
    assert f"kept no decoder, so its factors cannot be moved here; `vaemi run {name}`" in notebook.cells[1].source
    assert not (tmp_path / "assets").exists()

    decoder = {f"decoder.{name}": weights for name, weights in trained.model.decoder.state_dict().items()}
    about = trained.model.hyperparameters | ({"described": trained.described} if trained.described else {})
    save_file({"mean": trained.mean, **decoder}, tensors, {"about": json.dumps(about)})
    explorer.place(name, notebook, result, tensors, tmp_path / "assets")
    assert 'id="factor-explorer"' in notebook.cells[1].source
    assert f"_static/explorer/{name}.js" in notebook.cells[1].source
    assert ("the label" in notebook.cells[1].source) == (name == "celeba")
    written = (tmp_path / "assets" / f"{name}.js").read_text()
    assert written == explorer.script(name, trained.kept, trained.values)


def test_an_explorer_of_photographs_asks_not_to_be_published():
    values = Trained("celeba").values
    for stand_in in (True, False):
        text = explorer.text("celeba", {"values": values, "data": {"stand_in": stand_in}})
        assert ("do not publish this page" in text) != stand_in


@pytest.mark.parametrize("name", explorer.SUBJECTS)
def test_a_decoder_of_full_width_is_small(name):
    latent_dim = runs.defaults_of(ROOT / "notebooks" / f"{name}.ipynb")["latent_dim"]
    model = ConvVAE(latent_dim=latent_dim, **(FACES if name == "celeba" else {}))
    kept = explorer.Kept(model, torch.randn(10, latent_dim), [])
    values = {"information_nats": [1.0] * latent_dim, "sigma_star": [1.0] * latent_dim}
    shared = sum(path.stat().st_size for path in (ROOT / "book" / "_explorer").iterdir())
    assert len(explorer.script(name, kept, values).encode()) + shared < MOST_BYTES


# --- in a browser -----------------------------------------------------------------------------------------------------


class Page:
    """A page with the explorer in it, with the network off."""

    def __init__(self, browser, path, shape, **context):
        self.shape = tuple(shape)
        self.context = browser.new_context(offline=True, **context)
        self.page = self.context.new_page()
        self.complaints = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.goto(Path(path).as_uri())

    def close(self):
        """Nothing went wrong; a request to the network would have."""
        assert self.complaints == []
        self.context.close()

    def slider(self, factor):
        return self.page.locator(f"#explorer-factor-{factor}")

    def drawn(self):
        """Pixels of the canvas (channels, height, width), once the frame in which they are drawn is over."""
        channels, height, width = self.shape
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        pixels = self.page.evaluate(
            f"[...document.querySelector('{PICTURE}').getContext('2d').getImageData(0, 0, {width}, {height}).data]"
        )
        return torch.tensor(pixels).reshape(height, width, 4).permute(2, 0, 1)[:channels] / 255

    def description(self):
        return self.page.locator(PICTURE).get_attribute("aria-label")

    def says(self, words):
        """Wait until the live region says so."""
        self.page.locator("#factor-explorer [aria-live=polite]", has_text=words).wait_for(timeout=5000)


def write_page(folder, name, kept, values):
    """The explorer alone, without the book around it."""
    shutil.copytree(ROOT / "book" / "_explorer", folder / "_static" / "explorer")
    (folder / "_static" / "explorer" / f"{name}.js").write_text(explorer.script(name, kept, values))
    text = explorer.text(name, {"values": values, "data": {"stand_in": True}})
    fragment = text.split("```")[1].removeprefix("{raw} html")
    (folder / "notebooks").mkdir()
    page = folder / "notebooks" / f"{name}.html"
    page.write_text(f"<!doctype html><html lang=en><meta name=viewport content='width=device-width'>{fragment}</html>")
    return page


@pytest.fixture
def opened(browser, trained, tmp_path):
    path = write_page(tmp_path, trained.name, trained.kept, trained.values)
    page = Page(browser, path, trained.model.hyperparameters["image_shape"])
    yield page
    page.close()


def test_pictures_are_those_of_pytorch(opened, trained):
    as_opened = trained.pictures(trained.start, {})
    assert (opened.drawn() - as_opened).abs().max() < 1e-2
    assert as_opened.std() > 0.05, "a test with grey pictures would show nothing"
    for start, positions in [(3, {1: -3}), (8, {6: 2.5, 0: -1.2}), (0, {3: 3, 9: -3, 11: 3})]:
        opened.page.get_by_label(trained.choice(start), exact=True).check()
        for factor, position in positions.items():
            opened.slider(factor).fill(str(position))
        drawn = opened.drawn()
        assert (drawn - trained.pictures(start, positions)).abs().max() < 1e-2
        assert (drawn - trained.pictures(start, {})).abs().max() > 0.1, "the factors must have moved the picture"
    small = opened.page.locator(".explorer-starts canvas")
    assert small.count() == (10 if trained.name == "celeba" else 0)
    if trained.name == "celeba":
        pixels = small.nth(9).evaluate("canvas => [...canvas.getContext('2d').getImageData(0, 0, 64, 64).data]")
        shown = torch.tensor(pixels).reshape(64, 64, 4).permute(2, 0, 1)[:3] / 255
        assert (shown - trained.pictures(9, {})).abs().max() < 1e-2


def test_an_ignored_factor_changes_nothing_and_an_influential_one_something(opened, trained):
    before = opened.drawn()
    opened.slider(11).fill("3")
    assert (opened.drawn() == before).all()
    opened.says(f"Factor 11 at +3.0 {SIGMA}: it holds 0.00 nats and is ignored. The picture stays as it was")
    opened.slider(1).fill("-2.5")
    assert (opened.drawn() - before).abs().max() > 0.1
    of_label = ", 0.75 on hair length" if trained.name == "celeba" else ""
    opened.says(f"Factor 1 at {MINUS}2.5 {SIGMA}: it holds 3.00 nats{of_label}. On average it changes a pixel by")


def test_by_keyboard(opened, trained):
    page, after = opened.page, trained.start + 1
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert (opened.drawn() - trained.pictures(after, {})).abs().max() < 1e-2
    what = f" ({trained.described[after]})" if trained.described else ""
    opened.says(f"{trained.title(after)}{what}, all factors as encoded.")
    for key in ("Tab", "Tab", "Home", "ArrowRight"):
        page.keyboard.press(key)
    assert (opened.drawn() - trained.pictures(after, {1: -2.9})).abs().max() < 1e-2
    assert opened.slider(1).get_attribute("aria-valuetext") == f"{MINUS}2.9 sigma star"
    drawn = f"{trained.title(after)} from the decoder: "
    assert opened.description() == f"{drawn}factor 1 at {MINUS}2.9 {SIGMA}, the others as encoded."
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert (opened.drawn() - trained.pictures(after, {})).abs().max() < 1e-2
    assert opened.description() == f"{drawn}all factors as encoded."


def test_every_control_has_a_name_and_says_what_it_holds(opened, trained):
    tree = opened.page.locator("#factor-explorer").aria_snapshot()
    of_label = ", 0.75 on hair length" if trained.name == "celeba" else ""
    for line in (
        f'group "{trained.noun.capitalize()} to start from"',
        f'radio "{trained.choice(trained.start)}" [checked]',
        f'slider "Factor 1 3.00 nats{of_label}"',
        'slider "Factor 3 2.00 nats"',
        'slider "Factor 11 0.00 nats, ignored"',
        'button "Reset factors"',
        f'img "{trained.title(trained.start)} from the decoder: all factors as encoded."',
    ):
        assert line in tree
    assert tree.count("- slider") == 6


def test_more_than_a_dozen_factors_unfold(browser, tmp_path):
    values = {"information_nats": [0.0, *(2 - h / 10 for h in range(15))], "sigma_star": [1.0] * 16}
    kept = explorer.Kept(ConvVAE(latent_dim=16, hidden_dim=8), torch.zeros(10, 16), [])
    page = Page(browser, write_page(tmp_path, "mnist", kept, values), (1, 28, 28))
    sliders = page.page.locator("input[type=range]")
    assert [sliders.nth(row).is_visible() for row in range(16)] == [True] * 12 + [False] * 3 + [True]
    page.page.get_by_text("3 more factors").press("Enter")
    assert all(sliders.nth(row).is_visible() for row in range(16))
    page.close()


@pytest.mark.parametrize(("name", "scheme"), [("mnist", "dark"), ("celeba", "light")])
def test_on_a_phone_in_the_book(site, browser, smoke_results, name, scheme):
    kept = explorer.load(smoke_results / "smoke" / f"{name}.safetensors")
    path, shape = site / "notebooks" / f"{name}.html", kept.model.hyperparameters["image_shape"]
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = Page(browser, path, shape, color_scheme=scheme, **phone)
    values = json.loads((smoke_results / "smoke" / f"{name}.json").read_text())["values"]
    factor = explorer.shown_factors(values["information_nats"])[0]
    page.page.locator("#factor-explorer input[type=radio]").nth(7).tap()
    slider = page.slider(factor)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box["height"] >= 40, "too small for a finger"
    page.page.touchscreen.tap(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    assert float(slider.input_value()) > 2.5
    z = kept.mean[7].clone()
    z[factor] = float(slider.input_value()) * values["sigma_star"][factor]
    expected = influence.decode(kept.model, z[None])[0].clamp(0, 1)
    assert (page.drawn() - expected).abs().max() < 1e-2
    # The picture stays in sight while the last slider is moved.
    page.page.locator("#factor-explorer input[type=range]").last.scroll_into_view_if_needed()
    assert 0 <= page.page.locator(PICTURE).bounding_box()["y"] < 844
    page.close()
