"""The figures with a slider: their numbers are the library's, and they work by keyboard, from a file, in any theme."""

import json
import math

import numpy as np
import pytest
import sliders
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT

from companion import weights
from companion.claims import THRESHOLD
from companion.experiments import pages
from vaemi.information.bounds import reverse_water_filling

MOST_BYTES = 40_000
REFERENCE = ROOT / "results" / "paper"
THEORY = json.loads((REFERENCE / "theory.json").read_text(encoding="utf-8"))["values"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page with each slider and no book around it."""
    folder = tmp_path_factory.mktemp("sliders")
    (folder / "book").mkdir()
    sliders.place({"theory": THEORY}, REFERENCE, folder / "_static" / "sliders", folder)
    for name in sliders.NAMES:
        fragment = (folder / f"slider-{name}.md").read_text().split("```")[1].removeprefix("{raw} html")
        (folder / "book" / f"{name}.html").write_text(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>x</title><main><h1>x</h1>{fragment}</main></html>"
        )
    return folder


class Page:
    """A page with a slider, with the network off."""

    def __init__(self, browser, folder, name, **context):
        self.context = browser.new_context(offline=True, **context)
        self.page = self.context.new_page()
        self.complaints = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.goto((folder / "book" / f"{name}.html").as_uri())
        self.slider = self.page.locator("input[type=range]")

    def bars(self):
        """The numbers that the bars show, without those parts that show none."""
        found = self.page.locator("rect[data-nats]").evaluate_all("all => all.map(one => one.dataset.nats)")
        return [float(nats) for nats in found if nats != ""]

    def said(self, words):
        self.page.locator("output", has_text=words).wait_for(timeout=5000)

    def close(self):
        assert self.complaints == []
        self.context.close()


@pytest.fixture
def opened(browser, folder, request):
    page = Page(browser, folder, request.param)
    yield page
    page.close()


def test_a_slider_is_small(folder):
    shared = sum(path.stat().st_size for path in sliders.ASSETS.iterdir())
    for name in sliders.NAMES:
        assert (folder / "_static" / "sliders" / f"{name}.js").stat().st_size + shared < MOST_BYTES


def test_the_spectrum_is_that_of_the_reference_run():
    manifest = json.loads((REFERENCE / "mnist.json").read_text())["manifest"]
    history = weights.load(REFERENCE / "weights" / manifest["weights"]).history
    found = sliders.training(REFERENCE)
    assert len(found["nats"]) == len(found["steps"]) == len(history["step"]) > 20
    assert found["steps"][-1] == manifest["parameters"]["steps"]
    np.testing.assert_allclose(found["nats"][7], history["information"][7, found["factors"]], atol=6e-4)
    # All that carry something at the end are shown.
    last = history["information"][-1]
    assert set((last > THRESHOLD).nonzero().flatten().tolist()) < set(found["factors"])
    assert found["influential"][-1] == int((last > THRESHOLD).sum())


@pytest.mark.parametrize("opened", ["water"], indirect=True)
def test_the_water_level_is_that_of_the_library(opened):
    eigenvalues, level = THEORY["eigenvalues"], THEORY["water_level_at_beta_1"]
    for position in (0, 17, 50, 77, 104, 120):
        opened.slider.fill(str(position))
        beta = 64 ** (position / 120)
        nats, _ = reverse_water_filling(eigenvalues, beta * level)
        np.testing.assert_allclose(opened.bars(), nats, atol=1e-12)
        off = [str(i + 1) for i, value in enumerate(nats.tolist()) if value == 0]
        start = f"At β = {beta:.2f} the level is {beta * level:.3f}. "
        carried = f"carry {float(nats.sum()):.2f} nats in total."
        if not off:
            opened.said(f"{start}No component is switched off; they {carried}")
        elif len(off) < len(eigenvalues):
            opened.said(f"{start}Switched off: {', '.join(off)}. The others {carried}")
        else:
            opened.said(f"{start}All components are switched off.")
    assert len(off) == len(eigenvalues)


@pytest.mark.parametrize("opened", ["turn"], indirect=True)
def test_the_turned_factors_are_those_of_the_closed_form(opened):
    for name, (means, noise) in pages.ROTATED.items():
        opened.page.get_by_label(name).check()
        joint = float(pages.rotated_information(means, noise, 0.0).sum())
        for degrees in (0, 30, 45, 90):
            opened.slider.fill(str(degrees))
            one, two = pages.rotated_information(means, noise, math.radians(degrees))
            np.testing.assert_allclose(opened.bars(), [one, two, one + two, joint], atol=1e-12)
            opened.said(f"After {degrees}° the factors carry {one:.2f} and {two:.2f} nats, {one + two:.2f} in sum.")


@pytest.mark.parametrize("opened", ["training"], indirect=True)
def test_the_spectrum_of_each_step_is_shown(opened):
    given = sliders.training(REFERENCE)
    assert opened.bars() == given["nats"][-1], "it starts at the end: no factor has information at step 0"
    for at in (0, 3, 40, 100):
        opened.slider.fill(str(at))
        assert opened.bars() == given["nats"][at]
        steps = f"{given['steps'][at]:,}"
        opened.said(f"After {steps} steps {given['influential'][at]} factors carry more than {THRESHOLD} nats")
        assert opened.slider.get_attribute("aria-valuetext") == steps


@pytest.mark.parametrize("opened", sliders.NAMES, indirect=True)
def test_a_slider_works_by_keyboard_and_has_names(opened):
    before = opened.bars()
    opened.slider.focus()
    for key in ("End", "ArrowLeft"):
        opened.page.keyboard.press(key)
    assert opened.slider.input_value() == str(int(opened.slider.get_attribute("max")) - 1)
    assert opened.bars() != before
    for picture in opened.page.locator("svg").all():
        assert len(picture.get_attribute("aria-label")) > 20
    opened.said(" ")
    assert opened.complaints == []
    assert Axe().run(opened.page).response["violations"] == []
    opened.complaints.clear()  # Axe requests the styles once more, which a page opened from a file may not


@pytest.mark.parametrize("name", sliders.NAMES)
def test_a_slider_fits_on_a_phone(browser, folder, name):
    page = Page(browser, folder, name, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.slider.bounding_box()["height"] >= 40
    page.close()
