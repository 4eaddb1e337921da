"""Figures for slides: legible on white, each with its licence, none forgotten, none that must stay here."""

import io
import json
import xml.etree.ElementTree as ET

import figures_export as exporter
import nbformat
import numpy as np
import pytest
import yaml
from matplotlib import pyplot as plt
from PIL import Image

from companion import figures

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ["idea", "mnist-spectrum", "celeba-faces-data", "deap-eeg-areas"]


@pytest.fixture(scope="module")
def drawn():
    """A figure as notebooks keep it: grey text on no ground, a line in a colour."""
    figures.use_style()
    figure, axes = plt.subplots(figsize=(5.4, 2))
    axes.plot([0, 1], [0, 1], color=figures.BLUE, lw=6)
    axes.set(xlabel="ticks")
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()


def notebook(drawn, figure):
    about = {
        "figure": {"name": figure, "caption": "What to see: $\\sigma^*_h$."},
        "image": {"alt": "A line that rises."},
    }
    cell = nbformat.v4.new_code_cell("figures.draw();", metadata={"mystnb": about})
    cell.outputs = [nbformat.v4.new_output("display_data", data={"image/svg+xml": drawn})]
    not_drawn = nbformat.v4.new_code_cell("if False:\n    figures.draw()", metadata={"mystnb": about})
    return nbformat.v4.new_notebook(cells=[cell, not_drawn])


PAGE = """# The idea

```{figure} _generated/fig-idea.svg
:name: fig-idea
:alt: Two panels.

Holds {{ "%.2f"|format(idea.nats) }} nats; see {term}`nats <nat>`, *really*, and {numref}`fig-idea`.
```
"""


@pytest.fixture
def exported(tmp_path, monkeypatch, drawn):
    """The figures of one page and three notebooks, of which only the faces are made from real data, in a folder."""

    def stage(profile, results, source):
        for folder in ("book/_generated", "notebooks"):
            (source / folder).mkdir(parents=True)
        exporter.build.stage_mathjax(source / "extra" / "_static" / "mathjax")
        files = ["book/idea", *(f"notebooks/{name}" for name in ("mnist", "celeba", "deap"))]
        parts = [{"caption": "all", "chapters": [{"file": file} for file in files]}]
        (source / "_toc.yml").write_text(yaml.safe_dump({"root": "book/index", "parts": parts}))
        numbers = {"myst_substitutions": {"idea": {"nats": 1.2345}}}
        (source / "_config.yml").write_text(yaml.safe_dump({"repository": {"url": ""}, "sphinx": {"config": numbers}}))
        (source / "book" / "index.md").write_text("# Home\n")
        (source / "book" / "idea.md").write_text(PAGE)
        (source / "book" / "_generated" / "fig-idea.svg").write_text(drawn)
        for name, figure in (("mnist", "mnist-spectrum"), ("celeba", "faces-data"), ("deap", "eeg-areas")):
            nbformat.write(notebook(drawn, f"fig-{figure}"), source / "notebooks" / f"{name}.ipynb")

    monkeypatch.setattr(exporter.build, "stage", stage)
    for name, stand_in in (("celeba", False), ("deap", True)):
        (tmp_path / "results" / "smoke").mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / "smoke" / f"{name}.json").write_text(json.dumps({"data": {"stand_in": stand_in}}))
    old = tmp_path / "build" / "figures" / "of-yesterday.svg"
    old.parent.mkdir(parents=True)
    old.write_text("")
    arguments = ["--profile", "smoke", "--results", str(tmp_path / "results"), "--build", str(tmp_path / "build")]
    assert exporter.main(arguments) == 0
    return old.parent


def test_an_export_is_whole_and_names_licences(exported):
    files = {f"{name}.{ending}" for name in NAMES for ending in ("svg", "png")}
    assert {path.name for path in exported.iterdir()} == files | {"index.html", "mathjax"}
    assert list(exported.parent.iterdir()) == [exported]
    sheet = (exported / "index.html").read_text()
    assert "Holds 1.23 nats; see nats, <em>really</em>, and fig-idea." in sheet
    assert "idea - vaemi, MIT licence - companion of doi.org/10.48550/arXiv.1809.01804" in sheet
    assert "celeba-faces-data - vaemi - made from CelebA; not to be redistributed" in sheet
    assert "made from DEAP" not in sheet


@pytest.mark.parametrize("line", ["mnist-spectrum - vaemi, MIT licence", "a-name - not to be redistributed - " * 6])
def test_the_picture_reads_on_a_projector(drawn, line):
    picture = exporter.Picture("mnist-spectrum", "mnist", drawn, "", 'A <line> that "rises".')
    svg = exporter.for_slides(picture, line)
    root = ET.fromstring(svg)
    assert root.find(f"{SVG}desc").text == 'A <line> that "rises".'
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert " ".join(texts) == line.strip()
    assert figures.GREY not in svg.lower()

    shown = np.asarray(Image.open(io.BytesIO(exporter.to_png(svg))).convert("RGB")).astype(int)
    assert shown.shape[1] >= 1920
    scale = shown.shape[1] / float(root.get("viewBox").split()[2])
    edge = int(6 * scale)
    for border in (shown[:edge], shown[-int(2 * scale) :], shown[:, :edge], shown[:, -edge:]):
        assert (border == 255).all()  # white, and nothing runs off it
    blue = np.array([int(figures.BLUE[i : i + 2], 16) for i in (1, 3, 5)])
    assert (np.abs(shown - blue).sum(-1) < 6).sum() > 1000
    below = int((len(texts) + 0.5) * 1.3 * 7 * scale)
    assert (shown[-below:].sum(-1) < 250).any()


def test_captions_keep_their_formulas_and_lose_their_roles():
    # MathJax finds the formula between its own brackets.
    made = exporter.caption_to_html("See {term}`nats <nat>`, {doc}`idea`, *x* < $a_1 < b_2$ and `code`.")
    formula = r'<span class="math inline">\(a_1 &lt; b_2\)</span>'
    assert made == f"See nats, idea, <em>x</em> &lt; {formula} and <code>code</code>."


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
    assert complaints == []
    page.close()


def test_a_missing_run_is_one_sentence(tmp_path, capsys):
    assert exporter.main(["--profile", "smoke", "--results", str(tmp_path), "--build", str(tmp_path / "build")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("figures: ")
    assert "vaemi run" in error
    assert error.count("\n") == 1
    assert list((tmp_path / "build").iterdir()) == []
