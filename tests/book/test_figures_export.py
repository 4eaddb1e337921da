"""Figures for slides: legible on white, each with its licence, none forgotten, and none that may not be passed on."""

import importlib
import io
import json
import xml.etree.ElementTree as ET

import nbformat
import numpy as np
import pytest
import yaml
from conftest import ROOT
from matplotlib import pyplot as plt
from PIL import Image

from companion import figures
from companion.errors import CompanionError

SVG = "{http://www.w3.org/2000/svg}"
TICKS = "ticks"


@pytest.fixture(scope="module")
def exporter():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "book"))
        yield importlib.import_module("figures_export")


@pytest.fixture(scope="module")
def drawn():
    """A figure as notebooks keep it: grey text on no ground, a line in a colour."""
    figures.use_style()
    figure, axes = plt.subplots(figsize=(5.4, 2))
    axes.plot([0, 1], [0, 1], color=figures.BLUE, lw=6)
    axes.set(xlabel=TICKS)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()


def notebook(drawn, figure, caption="What to see: $\\sigma^*_h$.", alt="A line that rises."):
    cell = nbformat.v4.new_code_cell("figures.draw();")
    cell.metadata["mystnb"] = {"figure": {"name": figure, "caption": caption}, "image": {"alt": alt}}
    cell.outputs = [nbformat.v4.new_output("display_data", data={"image/svg+xml": drawn})]
    not_drawn = nbformat.v4.new_code_cell("if False:\n    figures.draw()")
    not_drawn.metadata["mystnb"] = {"figure": {"name": "fig-of-another-run", "caption": ""}}
    return nbformat.v4.new_notebook(cells=[cell, not_drawn, nbformat.v4.new_code_cell("1")])


PAGE = """# The idea

```{figure} _generated/fig-idea.svg
:name: fig-idea
:alt: Two panels.

Holds {{ "%.2f"|format(idea.nats) }} nats; see {term}`nats <nat>`, *really*, and {numref}`fig-idea`.
```

```{figure} _generated/fig-mnist-spectrum.svg
:name: fig-answer
:alt: Shown on two pages.

A picture that its notebook has already.
```
"""


@pytest.fixture
def source(tmp_path, drawn):
    """What `build.stage` leaves, of one page and three notebooks."""
    source = tmp_path / "source"
    for folder in ("book/_generated", "notebooks", "extra/_static/mathjax"):
        (source / folder).mkdir(parents=True)
    (source / "extra" / "_static" / "mathjax" / "tex-chtml.js").write_text("")
    chapters = [{"file": f"notebooks/{name}"} for name in ("mnist", "celeba", "deap")]
    contents = {"root": "book/index", "parts": [{"caption": "all", "chapters": [{"file": "book/idea"}, *chapters]}]}
    (source / "_toc.yml").write_text(yaml.safe_dump(contents))
    numbers = {"myst_substitutions": {"idea": {"nats": 1.2345}}}
    (source / "_config.yml").write_text(yaml.safe_dump({"repository": {"url": ""}, "sphinx": {"config": numbers}}))
    (source / "book" / "index.md").write_text("# Home\n")
    (source / "book" / "idea.md").write_text(PAGE)
    for name in ("idea", "mnist-spectrum"):
        (source / "book" / "_generated" / f"fig-{name}.svg").write_text(drawn)
    for name, figure in (("mnist", "mnist-spectrum"), ("celeba", "faces-data"), ("deap", "eeg-areas")):
        nbformat.write(notebook(drawn, f"fig-{figure}"), source / "notebooks" / f"{name}.ipynb")
    return source


def results_of(folder, **stand_ins):
    folder.mkdir(exist_ok=True)
    for name, stand_in in stand_ins.items():
        (folder / f"{name}.json").write_text(json.dumps({"data": {"stand_in": stand_in}}))
    return folder


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def dark(rows):
    return (rows.sum(-1) < 250).any()


def test_every_picture_is_found_once_and_named(exporter, source):
    found = list(exporter.pictures_of(source))
    assert [p.name for p in found] == ["idea", "mnist-spectrum", "celeba-faces-data", "deap-eeg-areas"]
    assert found[0].caption == "Holds 1.23 nats; see {term}`nats <nat>`, *really*, and {numref}`fig-idea`."
    assert found[0].alt == "Two panels."
    assert found[2].alt == "A line that rises."


def test_a_name_taken_twice_is_refused(exporter, source, drawn):
    nbformat.write(notebook(drawn, "fig-idea"), source / "notebooks" / "mnist.ipynb")
    page = source / "book" / "idea.md"
    page.write_text(page.read_text().replace(":name: fig-idea", ":name: mnist-idea"))
    (source / "book" / "mnist.md").write_text(PAGE.replace(":name: fig-idea", ":name: fig-idea"))
    contents = (source / "_toc.yml").read_text().replace("book/idea", "book/mnist")
    (source / "_toc.yml").write_text(contents)
    with pytest.raises(CompanionError, match="Two figures would be called mnist-idea"):
        list(exporter.pictures_of(source))


@pytest.mark.parametrize("stand_in", [True, False])
def test_what_may_not_be_passed_on_says_so(exporter, source, tmp_path, stand_in):
    results = results_of(tmp_path / "results", mnist=False, celeba=stand_in, deap=stand_in)
    found = list(exporter.pictures_of(source))
    lines = exporter.licences(found, results, {"repository": {"url": ""}})
    assert (
        lines["mnist-spectrum"]
        == "mnist-spectrum - vaemi, MIT licence - companion of doi.org/10.48550/arXiv.1809.01804"
    )
    for name, data in (("celeba-faces-data", "CelebA"), ("deap-eeg-areas", "DEAP")):
        assert lines[name].startswith(f"{name} - vaemi")
        assert ("MIT" in lines[name]) == stand_in
        assert (f"made from {data}; not to be redistributed" in lines[name]) != stand_in
    lines = exporter.licences(found, results, {"repository": {"url": "https://example.org/vaemi"}})
    assert lines["idea"] == "idea - vaemi, MIT licence - https://example.org/vaemi"


LINES = {"short": "mnist-spectrum - vaemi, MIT licence", "long": "a-name - not to be redistributed - " * 6}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_the_picture_reads_on_a_projector(exporter, drawn, line):
    picture = exporter.Picture("mnist-spectrum", "mnist", drawn, "", 'A <line> that "rises".')
    svg = exporter.for_slides(picture, line)
    root = ET.fromstring(svg)
    assert root.find(f"{SVG}desc").text == 'A <line> that "rises".'
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert " ".join(texts) == line.strip()
    assert figures.GREY not in svg.lower()

    shown = pixels(exporter.to_png(svg))
    height, width, _ = shown.shape
    assert width >= 1920
    scale = width / float(root.get("viewBox").split()[2])
    edge = int(6 * scale)
    for border in (shown[:edge], shown[-int(2 * scale) :], shown[:, :edge], shown[:, -edge:]):
        assert (border == 255).all()  # white, and nothing runs off it
    blue = np.array([int(figures.BLUE[i : i + 2], 16) for i in (1, 3, 5)])
    assert (np.abs(shown - blue).sum(-1) < 6).sum() > 1000
    below = int((len(texts) + 0.5) * 1.3 * 7 * scale)
    assert dark(shown[-below:])
    without = pixels(exporter.to_png(exporter.for_slides(picture, "")))
    # The line takes a place of its own: the drawing above it is the same without it.
    same = min(len(without), height) - below
    assert (shown[:same] == without[:same]).mean() > 0.99


def test_a_picture_without_a_size_is_refused(exporter):
    with pytest.raises(CompanionError, match="odd is no SVG with a viewBox"):
        exporter.for_slides(exporter.Picture("odd", "idea", "<svg></svg>", "", ""), "line")


def test_captions_keep_their_formulas_and_lose_their_roles(exporter):
    # MathJax finds the formula between its own brackets.
    made = exporter.caption_to_html("See {term}`nats <nat>`, {doc}`idea`, *x* < $a_1 < b_2$ and `code`.")
    formula = r'<span class="math inline">\(a_1 &lt; b_2\)</span>'
    assert made == f"See nats, idea, <em>x</em> &lt; {formula} and <code>code</code>."


@pytest.fixture
def exported(exporter, source, tmp_path, monkeypatch):
    """The folder of an export of the small source, with MathJax as the build stages it."""

    def stage(profile, results, target):
        source.rename(target)
        (target / "extra" / "_static" / "mathjax" / "tex-chtml.js").unlink()
        (target / "extra" / "_static" / "mathjax").rmdir()
        exporter.build.stage_mathjax(target / "extra" / "_static" / "mathjax")

    monkeypatch.setattr(exporter.build, "stage", stage)
    results_of(tmp_path / "results", celeba=False, deap=True)
    results_of(tmp_path / "results" / "smoke", celeba=False, deap=True)
    old = tmp_path / "build" / "figures" / "of-yesterday.svg"
    old.parent.mkdir(parents=True)
    old.write_text("")
    arguments = ["--profile", "smoke", "--results", str(tmp_path / "results"), "--build", str(tmp_path / "build")]
    assert exporter.main(arguments) == 0
    return old.parent


def test_an_export_is_whole(exported):
    names = {"idea", "mnist-spectrum", "celeba-faces-data", "deap-eeg-areas"}
    assert {path.name for path in exported.iterdir()} == {
        *(f"{name}.{ending}" for name in names for ending in ("svg", "png")), "index.html", "mathjax",
    }  # fmt: skip
    sheet = (exported / "index.html").read_text()
    assert "made from CelebA; not to be redistributed" in sheet
    assert "made from DEAP" not in sheet
    assert list(exported.parent.iterdir()) == [exported]


@pytest.mark.slow
def test_the_contact_sheet_works_from_a_file(exported, browser):
    page = browser.new_page(viewport={"width": 390, "height": 800})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
    page.goto((exported / "index.html").as_uri())
    page.wait_for_selector("mjx-container")
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth >= 1920)")
    assert page.locator("img").count() == 4
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    for link in page.locator("a").all():
        assert (exported / link.get_attribute("href")).exists()
    assert complaints == []
    page.close()


def test_a_missing_run_is_said(exporter, tmp_path, capsys):
    assert exporter.main(["--profile", "smoke", "--results", str(tmp_path), "--build", str(tmp_path / "build")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("figures: ")
    assert "vaemi run" in error
    assert error.count("\n") == 1
    assert list((tmp_path / "build").iterdir()) == []
