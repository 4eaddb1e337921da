"""The factor explorer: the decoder in the page draws what PyTorch's draws, for whoever moves its factors, and how."""

import base64
import importlib.util
import json
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file

from vaemi import influence
from vaemi.models import ConvVAE

MOST_BYTES = 3_000_000
MINUS, SIGMA = "\u2212", "\u03c3*"

specification = importlib.util.spec_from_file_location("explorer", ROOT / "book" / "explorer.py")
explorer = importlib.util.module_from_spec(specification)
specification.loader.exec_module(explorer)


class Trained:
    """A model with weights wide enough that every factor moves the picture, but for the last, which is ignored."""

    def __init__(self, **settings):
        torch.manual_seed(0)
        self.model = ConvVAE(latent_dim=12, hidden_dim=64, initialization="he", **settings).eval()
        self.nats = [0.5, 3.0, 0.01, 2.0, 0.0, 0.02, 1.5, 0.03, 0.0, 0.3, 0.0, -1e-9]
        with torch.no_grad():
            self.model.decoder[0].weight[:, 11] = 0
        self.sigma = torch.linspace(0.8, 1.2, 12)
        self.mean = torch.randn(10, 12)
        self.values = {"information_nats": self.nats, "sigma_star": self.sigma.tolist()}

    def pictures(self, digit, positions):
        """What PyTorch draws of a digit with factors (by index) at positions in sigma*, as a reader sees it."""
        z = self.mean[digit].clone()
        for factor, position in positions.items():
            z[factor] = position * self.sigma[factor]
        return influence.decode(self.model, z[None])[0, 0].clamp(0, 1)


@pytest.fixture(scope="module")
def trained():
    return Trained()


def run_folded(layers, positions, digit, shape):
    """The folded layers by PyTorch, as `explorer.js` runs them."""
    size = [side // 2 ** sum(layer.kind == "upsample" for layer in layers) for side in shape]
    value = positions[None]
    for place, layer in enumerate(layers):
        bias = layer.bias[digit] if place == 0 else layer.bias
        if layer.kind == "dense":
            value = value @ layer.weight.T + bias
        else:
            value = value.reshape(1, len(layer.weight), *size) if value.ndim == 2 else value
            value = torch.nn.functional.conv_transpose2d(value, layer.weight, bias, stride=2, padding=1)
        value = torch.maximum(value, layer.slope * value)
    return value


@pytest.mark.parametrize("settings", [{}, {"activation": "leaky_relu", "output": "identity"}])
@torch.no_grad()
def test_the_folded_decoder_is_the_decoder(settings):
    trained = Trained(**settings)
    factors = [6, 1, 9, 11]
    layers = explorer.fold(trained.model.decoder, trained.mean, factors, trained.sigma)
    assert layers[0].weight.shape == (64, 4)
    for digit in (0, 7):
        positions = torch.tensor([-3.0, 0.7, 2.2, 3.0])
        z = trained.mean[digit].clone()
        z[factors] = positions * trained.sigma[factors]
        difference = run_folded(layers, positions, digit, (28, 28)) - trained.model.decoder(z[None])
        assert difference.abs().max() < 1e-5


def test_a_layer_that_the_page_cannot_run_is_refused():
    model = Trained(output="sigmoid").model
    with pytest.raises(ValueError, match="no layer Sigmoid"):
        explorer.fold(model.decoder, torch.zeros(10, 12), [0], torch.ones(12))


def test_the_factors_shown_are_the_influential_ones_and_one_ignored(trained):
    assert explorer.shown_factors(trained.nats) == [1, 3, 6, 0, 9, 11]
    # Of a run that learned nothing, a few; of one that ignores none, all.
    assert explorer.shown_factors([0.0, 0.02, 0.01, 0.0, -0.1]) == [1, 2, 0, 4]
    assert explorer.shown_factors([1.0, 2.0, 3.0]) == [2, 1, 0]


def handed_over(script):
    return json.loads(script.removeprefix("window.factorExplorer = ").removesuffix(";\n"))


def test_what_is_handed_to_the_page(trained):
    handed = handed_over(explorer.script(trained.model, trained.mean, trained.values))
    assert [factor["index"] for factor in handed["factors"]] == [1, 3, 6, 0, 9, 11]
    assert [factor["ignored"] for factor in handed["factors"]] == [False] * 5 + [True]
    assert np.array(handed["positions"])[4, 2] == pytest.approx(float(trained.mean[4, 6] / trained.sigma[6]))
    second = np.frombuffer(base64.b64decode(handed["layers"][1]["weight"]), "<f2").astype(np.float32)
    exact = trained.model.decoder[2].weight.detach().numpy().ravel()
    np.testing.assert_allclose(second, exact, rtol=2**-11, atol=2**-25)


def test_a_notebook_gets_the_explorer_of_its_run_or_a_sentence(trained, tmp_path):
    def notebook(*tags):
        cells = [nbformat.v4.new_markdown_cell("text"), nbformat.v4.new_markdown_cell("here")]
        cells[1].metadata["tags"] = list(tags)
        return nbformat.v4.new_notebook(cells=cells)

    tensors = tmp_path / "mnist.safetensors"
    for tagged in (notebook("explorer"), notebook()):
        explorer.place(tagged, {"values": trained.values}, tensors, tmp_path / "nothing")
        assert "kept no decoder" in tagged.cells[-1].source
        assert tagged.cells[0].source == "text"
        assert not (tmp_path / "nothing").exists()

    decoder = {f"decoder.{name}": weights for name, weights in trained.model.decoder.state_dict().items()}
    save_file({"mean": trained.mean, **decoder}, tensors, {"about": json.dumps(trained.model.hyperparameters)})
    tagged = notebook("explorer")
    explorer.place(tagged, {"values": trained.values}, tensors, tmp_path / "assets")
    assert 'id="factor-explorer"' in tagged.cells[1].source
    written = (tmp_path / "assets" / "mnist.js").read_text()
    assert written == explorer.script(trained.model, trained.mean, trained.values)


def test_the_files_of_the_site_are_small(site):
    folder = site / "_static" / "explorer"
    assert {path.name for path in folder.iterdir()} == {"explorer.css", "explorer.js", "mnist.js"}
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
    # No page but its own loads it.
    assert "factor-explorer" in (site / "notebooks" / "mnist.html").read_text()
    assert "_static/explorer" not in (site / "notebooks" / "theory.html").read_text()


class Page:
    """A page with the explorer in it, with the network off."""

    def __init__(self, browser, path, **context):
        self.context = browser.new_context(offline=True, **context)
        self.page = self.context.new_page()
        self.complaints, self.left = [], []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self.left.append(request.url))
        self.page.goto(Path(path).as_uri())

    def close(self):
        """Nothing went wrong, and nothing left the machine."""
        assert self.complaints == []
        assert self.left
        assert all(url.startswith(("file:", "data:", "blob:")) for url in self.left)
        self.context.close()

    def slider(self, factor):
        return self.page.locator(f"#explorer-factor-{factor}")

    def drawn(self):
        """Pixels of the canvas, once the frame in which they are drawn is over."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        pixels = self.page.evaluate(
            "[...document.querySelector('#factor-explorer canvas').getContext('2d').getImageData(0, 0, 28, 28).data]"
        )
        return torch.tensor(pixels).reshape(28, 28, 4)[:, :, 0] / 255

    def description(self):
        return self.page.locator("#factor-explorer canvas").first.get_attribute("aria-label")

    def says(self, words):
        """Wait until the live region says so."""
        self.page.locator("#factor-explorer [aria-live=polite]", has_text=words).wait_for(timeout=5000)


@pytest.fixture(scope="module")
def page_of_trained(trained, tmp_path_factory):
    """The explorer of the trained model alone, without the book around it."""
    folder = tmp_path_factory.mktemp("explorer")
    target = folder / "_static" / "explorer"
    shutil.copytree(ROOT / "book" / "_explorer", target)
    (target / "mnist.js").write_text(explorer.script(trained.model, trained.mean, trained.values))
    fragment = (target / "explorer.md").read_text().split("```")[1].removeprefix("{raw} html")
    (folder / "notebooks").mkdir()
    page = folder / "notebooks" / "mnist.html"
    page.write_text(f"<!doctype html><html lang=en><meta name=viewport content='width=device-width'>{fragment}</html>")
    return page


@pytest.fixture
def opened(browser, page_of_trained):
    page = Page(browser, page_of_trained)
    yield page
    page.close()


def test_pictures_are_those_of_pytorch(opened, trained):
    assert (opened.drawn() - trained.pictures(3, {})).abs().max() < 1e-2
    assert trained.pictures(3, {}).std() > 0.05, "a test with grey pictures would show nothing"
    drawn = []
    for digit, positions in [(3, {1: -3}), (8, {6: 2.5, 0: -1.2}), (0, {3: 3, 9: -3, 11: 3}), (9, {1: 3, 6: -3})]:
        opened.page.get_by_label(str(digit), exact=True).check()
        for factor, position in positions.items():
            opened.slider(factor).fill(str(position))
        drawn.append(opened.drawn())
        assert (drawn[-1] - trained.pictures(digit, positions)).abs().max() < 1e-2
        as_encoded = trained.pictures(digit, {})
        assert (drawn[-1] - as_encoded).abs().max() > 0.1, "the factors must have moved the picture"


def test_an_ignored_factor_changes_nothing_and_an_influential_one_something(opened):
    before = opened.drawn()
    opened.slider(11).fill("3")
    assert (opened.drawn() == before).all()
    opened.says(f"Factor 11 at +3.0 {SIGMA}: it holds 0.00 nats and is ignored. The picture stays as it was")
    opened.slider(1).fill("-2.5")
    assert (opened.drawn() - before).abs().max() > 0.1
    opened.says(f"Factor 1 at {MINUS}2.5 {SIGMA}: it holds 3.00 nats. On average it changes a pixel by")


def test_by_keyboard(opened, trained):
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "3"
    page.keyboard.press("ArrowRight")
    assert (opened.drawn() - trained.pictures(4, {})).abs().max() < 1e-2
    opened.says("Digit 4, all factors as encoded.")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Reset factors"
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert (opened.drawn() - trained.pictures(4, {1: -2.9})).abs().max() < 1e-2
    assert opened.slider(1).get_attribute("aria-valuetext") == f"{MINUS}2.9 sigma star"
    assert opened.description() == f"Digit 4 from the decoder: factor 1 at {MINUS}2.9 {SIGMA}, the others as encoded."
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert (opened.drawn() - trained.pictures(4, {})).abs().max() < 1e-2
    assert opened.description() == "Digit 4 from the decoder: all factors as encoded."


def test_every_control_has_a_name_and_says_what_it_holds(opened):
    tree = opened.page.locator("#factor-explorer").aria_snapshot()
    assert 'group "Digit to start from"' in tree
    assert 'radio "3" [checked]' in tree
    assert 'slider "Factor 1 3.00 nats"' in tree
    assert 'slider "Factor 11 0.00 nats, ignored"' in tree
    assert 'button "Reset factors"' in tree
    assert 'img "Digit 3 from the decoder: all factors as encoded."' in tree
    assert tree.count("slider") == 6


def test_a_picture_takes_little_time(opened):
    # From the event to the picture, by the page's own clock; the best of some, as other work may come between.
    taken = opened.page.evaluate(
        """async () => {
          const slider = document.querySelector("#factor-explorer input[type=range]");
          const canvas = document.querySelector("#factor-explorer canvas");
          const times = [];
          for (let i = 0; i < 20; i++) {
            const drawn = new Promise(done => new MutationObserver(done).observe(canvas, {attributes: true}));
            await new Promise(requestAnimationFrame);
            slider.value = (i % 7) - 3;
            const begin = performance.now();
            slider.dispatchEvent(new Event("input"));
            await drawn;
            times.push(performance.now() - begin);
          }
          return Math.min(...times);
        }"""
    )
    assert taken < 50


def test_without_javascript_a_sentence_stands_there(browser, page_of_trained):
    page = Page(browser, page_of_trained, java_script_enabled=False)
    assert "need JavaScript" in page.page.locator("#factor-explorer").inner_text()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_in_the_book(site, browser, smoke_results, scheme):
    page = Page(
        browser,
        site / "notebooks" / "mnist.html",
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        color_scheme=scheme,
    )
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.page.evaluate(overflow) <= 0
    model, mean = explorer.load(smoke_results / "smoke" / "mnist.safetensors")
    values = json.loads((smoke_results / "smoke" / "mnist.json").read_text())["values"]
    factor = explorer.shown_factors(values["information_nats"])[0]
    page.page.get_by_role("radio", name="7", exact=True).tap()
    slider = page.slider(factor)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box["height"] >= 40, "too small for a finger"
    page.page.touchscreen.tap(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    assert float(slider.input_value()) > 2.5
    z = mean[7].clone()
    z[factor] = float(slider.input_value()) * values["sigma_star"][factor]
    expected = influence.decode(model, z[None])[0, 0].clamp(0, 1)
    assert (page.drawn() - expected).abs().max() < 1e-2
    # The picture stays in sight while the last slider is moved.
    page.page.locator("#factor-explorer input[type=range]").last.scroll_into_view_if_needed()
    top = page.page.locator("#factor-explorer canvas").first.bounding_box()["y"]
    assert 0 <= top < 844
    page.close()
