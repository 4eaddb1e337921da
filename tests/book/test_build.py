"""What book/build.py stages, from the committed reference run, and how it replaces a site."""

import json
import math
import os
import re
import shutil
import types

import build
import checks
import cite
import exercises
import jinja2
import nbformat
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT
from pybtex.database import parse_string
from templates import markdown_table

import vaemi

PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><path d="M0 0h10"/></svg>'


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of the reference run, with notebooks as after a run: filled texts, and a picture for each figure."""
    results = tmp_path_factory.mktemp("reference") / "results"
    shutil.copytree(ROOT / "results" / "paper", results / "paper")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = nbformat.reads(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "1", path.read_text()), as_version=4)
        for cell in notebook.cells:
            if "figure" in cell.metadata.get("mystnb", {}):
                cell.outputs = [nbformat.v4.new_output("display_data", data={"image/svg+xml": PICTURE})]
        nbformat.write(notebook, results / "paper" / path.name)
    return results


@pytest.fixture(scope="module")
def source(results, tmp_path_factory):
    """Everything that Jupyter Book would read to show the reference run."""
    source = tmp_path_factory.mktemp("staged") / "source"
    build.stage("paper", results, source)
    return source


def test_every_number_that_the_pages_name_is_in_the_reference_run(source):
    numbers = yaml.safe_load((source / "_config.yml").read_text())["sphinx"]["config"]["myst_substitutions"]
    jinja = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    for page in build.pages(source):
        path = source / f"{page}.md"
        cells = [] if path.exists() else nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown") or path.read_text()
        for expression in re.findall(r"\{\{(.+?)\}\}", text):
            shown = jinja.from_string("{{" + expression + "}}").render(numbers)
            assert not re.search(r"^[{[<]|\b(None|nan|inf)\b", shown), (page, expression, shown)


def test_a_number_that_a_run_could_not_compute_has_no_name_on_the_pages():
    numbers = {"nats": math.nan, "steps": 3, "run": {"device": None, "seconds": 1.5, "note": ""}}
    assert build.without_missing(numbers) == {"steps": 3, "run": {"seconds": 1.5, "note": ""}}


def test_the_landing_page_shows_all_claims(source, results):
    found = [claim for path in (results / "paper").glob("*.json") for claim in json.loads(path.read_text())["claims"]]
    found.sort(key=lambda claim: claim["id"])
    for name, kind in (("claims", "C"), ("checks", "T")):
        rows = (source / "book" / "_generated" / f"{name}.md").read_text().splitlines()[2:]
        of_kind = [claim for claim in found if claim["id"].startswith(kind)]
        assert len(rows) == len(of_kind) >= 7
        for row, claim in zip(rows, of_kind, strict=True):
            assert f"(#claim-{claim['id'].lower()})" in row
            assert claim["verdict"] in row


def test_notebooks_get_their_run_box_and_exercises(source):
    cells = nbformat.read(source / "notebooks" / "mnist.ipynb", as_version=4).cells
    assert "$ .venv/bin/vaemi run mnist\n" in cells[1].source
    assert "</book/exercises/mnist>" in cells[-1].source
    assert (source / "downloads" / "mnist.ipynb").read_bytes() == (ROOT / "notebooks" / "mnist.ipynb").read_bytes()


def solutions_only():
    """Lines that only solutions hold."""
    all_exercises = [exercise for page in exercises.PAGES for exercise in exercises.read(page)]
    pages = [
        *(ROOT / "book").glob("*.md"),
        *(ROOT / "book" / "api").glob("*.md"),
        *(ROOT / "notebooks").glob("*.ipynb"),
    ]
    elsewhere = "\n".join([exercise.text for exercise in all_exercises] + [page.read_text() for page in pages])
    lines = {line for exercise in all_exercises for line in exercise.solution.splitlines() if len(line) > 20}
    return {line for line in lines if line not in elsewhere}


def staged_text(folder):
    kinds = (".md", ".ipynb", ".json", ".yaml", ".yml")
    return "\n".join(path.read_text() for path in sorted(folder.rglob("*")) if path.suffix in kinds)


def test_the_student_edition_has_no_line_of_a_solution(source, results, tmp_path):
    whole = staged_text(source)
    assert [line for line in solutions_only() if line not in whole] == []
    build.stage("paper", results, tmp_path / "source", student=True)
    student = staged_text(tmp_path / "source")
    assert [line for line in solutions_only() if line in student] == []
    assert "solution}" not in student
    assert "sol-" not in student
    assert "without the solutions" in student
    for name in exercises.checks():
        assert f'data-exercise="{name}"' in student


def test_a_missing_run_is_one_sentence(tmp_path, capsys):
    assert build.main(["--profile", "smoke", "--results", str(tmp_path), "--build", str(tmp_path / "build")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("book: ")
    assert "vaemi run theory --profile smoke" in error
    assert error.count("\n") == 1


def test_a_new_site_replaces_the_old_one_unless_it_has_a_fault(tmp_path, monkeypatch, capsys):
    shown, faults = "old", []

    def jupyter_book(source, work, *options):
        (work / "_build" / "html").mkdir(parents=True)
        (work / "_build" / "html" / "index.html").write_text(shown)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(build, "stage", lambda *arguments: None)
    monkeypatch.setattr(checks, "jupyter_book", jupyter_book)
    monkeypatch.setattr(checks, "problems", lambda site: faults)
    index = tmp_path / "html" / "index.html"
    for shown in ("old", "new"):
        assert build.main(["--build", str(tmp_path)]) == 0
        assert index.read_text() == shown
    shown, faults = "newer", ["book/idea.md: a fault."]
    assert build.main(["--build", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "book: book/idea.md: a fault.\n"
    assert index.read_text() == "new"

    def full(*arguments):
        raise OSError(28, os.strerror(28), "source")

    monkeypatch.setattr(build, "stage", full)
    assert build.main(["--build", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "book: source: No space left on device. The site is unchanged.\n"
    assert index.read_text() == "new"


# --- finished pages ---------------------------------------------------------------------------------------------------

FORMULA = r'<span class="math notranslate nohighlight">\(x &lt; 1\)</span>'
ARROW = '<summary><span class="toctree-toggle" role="presentation">'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            f'<a class="reference internal" href="b.html">The <code>vaemi</code> package</a><details>{ARROW}',
            '<a class="reference internal" href="b.html">The <code>vaemi</code> package</a><details>'
            '<summary aria-label="The vaemi package, its pages"><span class="toctree-toggle" aria-hidden="true">',
        ),
        (
            '<th></th><th class="head"><p></p></th><th>beta</th><th><p>one</p></th>',
            "<td></td><td></td><th>beta</th><th><p>one</p></th>",
        ),
        (
            '<div role="list" class="citation-list"><div class="citation" id="x" role="doc-biblioentry">X</div></div>',
            '<div class="citation-list"><div class="citation" id="x">X</div></div>',
        ),
        (
            f"Is {FORMULA}? The {FORMULA}-th ({FORMULA}), and {FORMULA} here.",
            f'Is <span class="glued">{FORMULA}?</span> The <span class="glued">{FORMULA}-th</span> '
            f'(<span class="glued">{FORMULA}),</span> and {FORMULA} here.',
        ),
        ('<link rel="preload" as="font" href="x.woff2"><script src="fontawesome.js"></script>', ""),
    ],
)
def test_finished_pages_are_accessible(tmp_path, before, after):
    page = tmp_path / "part" / "page.html"
    page.parent.mkdir()
    page.write_text(before)
    build.finish(tmp_path)
    assert page.read_text() == after


# --- descriptions and previews ----------------------------------------------------------------------------------------


def finished(folder, **pages):
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    build.finish(folder)
    previews = (folder / "_static" / "previews-of-targets.js").read_text()
    return json.loads(previews.removeprefix("window.previews = ").removesuffix(";\n"))


@pytest.mark.parametrize(
    ("opening", "words"),
    [
        (
            "<p><em>You will learn</em> what\n<b>I &lt; 1</b> means. <em>Time:</em> 2 min.</p>",
            "You will learn what I &lt; 1 means.",
        ),
        ("<p>A paragraph.</p><p>Another.</p>", "A paragraph."),
        (f"<p>{'word ' * 80}</p>", "word " * 39 + "word ..."),
    ],
)
def test_a_page_describes_itself(tmp_path, opening, words):
    page = f"<head><title>Title &#8212; Book</title></head><p>Menu</p><article><h1>Title</h1>{opening}</article>"
    finished(tmp_path, page=page)
    text = (tmp_path / "page.html").read_text()
    assert f'<meta name="description" content="{words}">' in text
    assert f'<meta property="og:description" content="{words}">' in text
    assert '<meta property="og:title" content="Title">' in text
    assert '<meta property="og:site_name" content="Book">' in text


def test_previews_are_those_of_terms_equations_and_citations_that_pages_link_to(tmp_path):
    there = (
        '<dl><dt id="term-nat">nat</dt><dd><p>A <a href="#term-bit">unit</a>.</p></dd>'
        '<dt id="term-bit">bit</dt><dd>x</dd></dl>'
        '<div class="math" id="equation-fano"><span>(1)<a class="headerlink" href="#e">#</a></span>\\[P\\]</div>'
        '<div class="citation" id="id7"><span>[A]</span><p>A. Author.</p></div><p id="id8">text</p>'
    )
    here = "".join(f'<a href="there.html#{anchor}">x</a>' for anchor in ("term-nat", "equation-fano", "id7", "id8"))
    assert finished(tmp_path, here=here, there=there) == {
        "there.html#term-nat": "<p>A unit.</p>",
        "there.html#term-bit": "x",
        "there.html#equation-fano": "<span>(1)</span>\\[P\\]",
        "there.html#id7": "A. Author.",
    }


@pytest.mark.parametrize("name", ["index", "part/page"])
def test_a_page_with_an_address_names_the_picture_of_the_book(tmp_path, name):
    (tmp_path / "part").mkdir()
    link = f'<link rel="canonical" href="https://a.github.io/b/{name}.html" />'
    head = "<head>{}<title>Title</title></head><article><p>Words.</p></article>"
    finished(tmp_path, **{name: head.format(link), "other": head.format("")})
    picture = '<meta property="og:image" content="https://a.github.io/b/_static/landing.png">'
    assert picture in (tmp_path / f"{name}.html").read_text()
    assert "og:image" not in (tmp_path / "other.html").read_text()


def test_only_rows_with_long_texts_become_cards(tmp_path):
    head = '<table class="table"><thead><tr><td></td><th>rule</th><th>result</th></tr></thead>'
    rows = [f"<tbody><tr><td>C1</td><td>{text}</td><td>holds</td></tr></tbody></table>" for text in ("x " * 80, "x")]
    (tmp_path / "page.html").write_text("".join(head + row for row in rows))
    build.finish(tmp_path)
    long, short = BeautifulSoup((tmp_path / "page.html").read_text(), "html.parser").find_all("table")
    assert long["class"] == ["table", "cards"]
    assert [cell["data-label"] for cell in long.tbody.find_all("td")] == ["", "rule", "result"]
    assert short["class"] == ["table"]


# --- the way to the paper and to the repository -----------------------------------------------------------------------


def test_both_entries_of_the_box_are_bibtex_of_the_two_files():
    text = cite.box(PUBLIC)
    entries = parse_string("\n".join(re.findall(r"```bibtex\n(.*?)```", text, re.DOTALL)), "bibtex").entries
    assert list(entries) == ["liu2020discovering", "vaemi"]
    assert entries["vaemi"].fields["version"] == vaemi.__version__
    assert entries["vaemi"].fields["url"] == PUBLIC["url"]
    assert entries["vaemi"].fields["year"] == "2026"
    assert "url" not in parse_string(cite.software(""), "bibtex").entries["vaemi"].fields
    assert "(https://doi.org/10.1016/j.patcog.2019.107166)" in text
    assert "(https://arxiv.org/abs/1809.01804)" in text


PUBLIC = {"url": "https://github.com/somebody/influential", "branch": "main"}


@pytest.mark.parametrize("repository", [{"url": "", "branch": "main"}, PUBLIC])
def test_links_to_the_repository_follow_one_setting(tmp_path, repository):
    """A small book with the configuration that `stage` writes."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config |= {"repository": repository, "logo": ""}
    config["html"].pop("favicon")
    config["sphinx"] = {}
    build.link(config)
    source = tmp_path / "source"
    for folder in ("book", "notebooks"):
        (source / folder).mkdir(parents=True)
    (source / "_config.yml").write_text(yaml.safe_dump(config))
    (source / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters: [file: notebooks/mnist]\n")
    (source / "book" / "index.md").write_text("# Home\n")
    shutil.copy(ROOT / "book" / "references.bib", source / "book")
    cells = [nbformat.v4.new_markdown_cell("# MNIST")]
    about = nbformat.read(ROOT / "notebooks" / "mnist.ipynb", as_version=4).metadata
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=about), source / "notebooks" / "mnist.ipynb")
    done = checks.jupyter_book(source, tmp_path / "work")
    assert done.returncode == 0, done.stderr
    pages = {
        path.stem: re.findall(r'href="(https://[^"]*(?:github|mybinder|colab)[^"]*)"', path.read_text())
        for path in (tmp_path / "work" / "_build" / "html").glob("[bn]*/*.html")
    }
    assert pages.keys() == {"index", "mnist"}
    if not repository["url"]:
        assert pages == {"index": [], "mnist": []}
        return
    there = repository["url"]
    everywhere = {there, f"{there}/issues/new?title=Issue%20on%20page%20"}
    for name, path in (("index", "book/index.md"), ("mnist", "notebooks/mnist.ipynb")):
        assert (ROOT / path).is_file()
        assert f"{there}/edit/main/{path}" in pages[name]
        for start in everywhere:
            assert any(link.startswith(start) for link in pages[name]), (name, start, pages[name])
    assert (
        "https://mybinder.org/v2/gh/somebody/influential/main?urlpath=lab/tree/notebooks/mnist.ipynb" in pages["mnist"]
    )
    colab = "https://colab.research.google.com/github/somebody/influential/blob/main/notebooks/mnist.ipynb"
    assert colab in pages["mnist"]


def test_a_pipe_does_not_end_a_cell():
    table = markdown_table(pd.DataFrame([{"measured": "I(X; Z | C)", "formula": r"q(z\|x)", "n": 1}]))
    assert table.splitlines()[2].replace(" ", "") == r"|I(X;Z\|C)|q(z\|x)|1|"
