"""The site: built without a warning, whole without a network, readable on a phone."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT, pages_of_the_book

import vaemi.influence
import vaemi.information

PAGES = pages_of_the_book()
API = [page for page in PAGES if page.startswith("book/api/")]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_what_it_gives_takes_and_needs(page):
    path = next(path for suffix in (".md", ".ipynb") if (path := (ROOT / page).with_suffix(suffix)).exists())
    text = path.read_text() if path.suffix == ".md" else nbformat.read(path, as_version=4).cells[0].source
    title, first, *_ = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip().split("\n\n")
    assert title.startswith("# ")
    words = " ".join(first.split())
    assert re.fullmatch(r"\*After this page you .*\. Reading takes \d+ minutes?\b[^;]*; you need .*\.\*", words), words


def test_every_page_is_there_and_so_is_every_link(site):
    for page in PAGES:
        text = (site / page).read_text()
        for target in re.findall(r'(?:href|src)="([^"#?]+)', text):
            if not target.startswith(("http:", "https:", "mailto:", "data:")):
                assert ((site / page).parent / target).resolve().exists(), (page, target)
    assert (site / "index.html").exists()


def test_the_numbers_of_the_pages_are_those_of_the_run(site):
    text = (site / "book" / "index.html").read_text()
    assert "it uses <strong>0 of 128</strong>" in " ".join(text.split())
    assert "stand in for the full set" in text
    assert "{{" not in text
    assert "30 steps" in (site / "book" / "reproduce.html").read_text()
    assert "This is a stand-in" in (site / "notebooks" / "mnist.html").read_text()


def test_the_reference_has_every_public_name_and_its_source(site):
    text = "".join((site / page).read_text() for page in API)
    documented = set(re.findall(r'<dt class="sig[^>]* id="([\w.]+)"', text))
    public = {f"vaemi.information.{name}" for name in vaemi.information.__all__}
    public |= {f"vaemi.influence.{name}" for name in vaemi.influence.__all__}
    public |= {
        "vaemi.training.train",
        "vaemi.models.ConvVAE",
        "companion.data.mnist.load",
        "companion.figures.spectrum",
    }
    public |= {"vaemi.auditing.audit", "vaemi.auditing.Audit", "vaemi.auditing.report.write"}
    public |= {"companion.data.mnist.load", "companion.figures.spectrum"}
    assert public - documented == set()
    assert 'href="../../_modules/vaemi/information/factors.html#factor_information"' in text


def test_the_landing_page_answers_a_stranger(site):
    """What the indicator is, how many factors MNIST used, how to run it with another beta: from this page alone."""
    page = BeautifulSoup((site / "book" / "index.html").read_text(), "html.parser")
    text = words(page.select_one("article"))
    assert "mutual information" in text
    assert "0 nats is nothing" in text
    assert "handwritten digits of MNIST. After training it uses 0 of 128" in text
    assert page.select_one(".ways pre").get_text().strip() == "$ .venv/bin/vaemi run mnist -p beta=4"
    assert "make book , on a laptop without a GPU" in text


def test_the_table_of_claims_is_that_of_the_runs(site, smoke_results):
    page = BeautifulSoup((site / "book" / "index.html").read_text(), "html.parser")
    table = page.select_one(".claims-compact table")
    heads = ["claim", "published", "reference run", "this build", "verdict"]
    assert [head.get_text() for head in table.select("th")] == heads
    found = [
        claim for path in (smoke_results / "smoke").glob("*.json") for claim in json.loads(path.read_text())["claims"]
    ]
    rows = table.select("tbody tr")
    assert len(rows) == len(found) == 9
    assert not all(claim["holds"] for claim in found)
    for row, claim in zip(rows, sorted(found, key=lambda claim: claim["id"]), strict=True):
        cells = [words(cell) for cell in row.select("td")]
        assert cells[0].startswith(f"{claim['id']}. ")
        assert same_number(cells[1], claim["published"])
        assert same_number(cells[3], claim["value"])
        assert ("±" in cells[3]) == bool(claim["stderr"])
        assert cells[4].removesuffix(" †") == ("holds" if claim["holds"] else "does not hold")
        assert claim["holds"] or f"does not hold here: {claim['shortfall']}" in cells[0]
        target, _, anchor = row.select_one("a")["href"].partition("#")
        judged = BeautifulSoup((site / "book" / target).read_text(), "html.parser").find(id=anchor)
        # What follows the target on its page shows this very verdict.
        assert claim["statement"] in words(judged.find_next("table"))
        assert f"{claim['id']} holds when {claim['rule']}" in words(page.select_one("details#rules"))


def words(part):
    """Its text, with the quotation marks that were typed."""
    return " ".join(part.get_text(" ").split()).replace("\u2019", "'")


def same_number(shown, value):
    """Shown to three digits or one decimal; a dash where there is none."""
    if value is None:
        return shown == "-"
    return float(re.match(r"-?[0-9.e-]+", shown).group()) == pytest.approx(value, rel=6e-3, abs=1e-12)


def test_the_changelog_is_on_the_site(site):
    version = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE).group(1)
    page = BeautifulSoup((site / "book" / "changelog.html").read_text(), "html.parser")
    assert page.select_one("article h2").get_text().startswith(version)


def build(results, target):
    return subprocess.run(
        [sys.executable, ROOT / "book" / "build.py", "--profile", "smoke", "--results", results, "--build", target],
        capture_output=True,
        text=True,
        timeout=300,
    )


def build_module():
    """book/build.py, beside the function of that name here."""
    sys.path.append(str(ROOT / "book"))
    return importlib.import_module("build")


def test_a_site_is_never_lost_while_another_takes_its_place(tmp_path, monkeypatch):
    """Stopped before each of its operations on files: the old site or the new one is there, whole, or comes back."""
    builder = build_module()

    def site_of(words, folder):
        folder.mkdir()
        (folder / "index.html").write_text(words)
        return folder

    for stop_at in range(1, 6):
        here = tmp_path / str(stop_at)
        here.mkdir()
        site, made = site_of("old", here / "html"), site_of("new", here / "made")
        calls = 0

        def stopping(function, stop_at=stop_at):
            def stopped(*given, **settings):
                nonlocal calls
                calls += 1
                if calls == stop_at:
                    raise KeyboardInterrupt
                return function(*given, **settings)

            return stopped

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", stopping(Path.rename))
            patch.setattr(shutil, "rmtree", stopping(shutil.rmtree))
            with suppress(KeyboardInterrupt):
                builder.put_in_place(made, site)
        builder._bring_back(site)
        assert (site / "index.html").read_text() in ("old", "new")
        assert (site / "index.html").read_text() == ("new" if stop_at > 3 else "old")
        assert not (here / ".html.replaced").exists()


@pytest.mark.parametrize(("error", "words"), [(28, "No space left"), (30, "Read-only file system")])
def test_a_disk_that_fails_is_one_sentence_and_the_site_stays(tmp_path, monkeypatch, capsys, error, words):
    builder = build_module()
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("old")

    def fail(*_):
        raise OSError(error, os.strerror(error), str(tmp_path / "source"))

    monkeypatch.setattr(builder, "stage", fail)
    assert builder.main(["--build", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert (tmp_path / "html" / "index.html").read_text() == "old"


@pytest.fixture
def copied_results(smoke_results, tmp_path):
    (tmp_path / "results" / "smoke").mkdir(parents=True)
    for path in (smoke_results / "smoke").iterdir():
        if path.suffix in (".json", ".ipynb"):
            shutil.copy(path, tmp_path / "results" / "smoke")
    shutil.copytree(ROOT / "results" / "paper" / "sweeps", tmp_path / "results" / "paper" / "sweeps")
    return tmp_path / "results"


def test_a_notebook_with_an_error_fails_the_build(copied_results, tmp_path):
    path = copied_results / "smoke" / "mnist.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.outputs = [nbformat.v4.new_output("error", ename="KeyError", evalue="'x'", traceback=[])]
    nbformat.write(notebook, path)
    built = build(copied_results, tmp_path / "build")
    assert built.returncode == 1
    assert "mnist ends in KeyError" in built.stderr


def test_a_missing_number_fails_the_build_and_keeps_the_old_site(copied_results, tmp_path):
    (tmp_path / "build" / "html").mkdir(parents=True)
    (tmp_path / "build" / "html" / "index.html").write_text("the site of yesterday")
    path = copied_results / "smoke" / "mnist.json"
    path.write_text(path.read_text().replace('"influential_factors"', '"other"'))
    built = build(copied_results, tmp_path / "build")
    assert built.returncode == 1
    assert "book/index.md: {{ mnist.influential_factors }} has no value" in built.stderr
    assert (tmp_path / "build" / "html" / "index.html").read_text() == "the site of yesterday"


def test_a_missing_run_is_said(tmp_path):
    built = build(tmp_path, tmp_path / "build")
    assert built.returncode == 1
    assert built.stderr.startswith("book: ")
    assert "vaemi run theory --profile smoke" in built.stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pages_work_from_a_file_with_the_network_off(site, browser, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    complaints, left = [], []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: left.append(request.url) if request.url.startswith("http") else None)
    for name in PAGES:
        page.goto(Path(site / name).as_uri())
        if page.locator("article .math").count():
            # Attached, not visible: the first formula of a page may be in a box that is closed.
            page.wait_for_selector("article mjx-container", state="attached", timeout=15_000)
        assert page.locator("mjx-merror").count() == 0, name
        assert page.locator("img:not([alt]), img[alt='']").count() == 0, name
        broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
        assert broken == [], name
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, (name, "wider than the screen")
    assert complaints == []
    assert left == []
    context.close()


def test_maths_is_typeset_not_shown_as_tex(site, browser):
    page = browser.new_page()
    page.goto(Path(site / "book" / "idea.html").as_uri())
    page.wait_for_selector("mjx-container")
    body = page.locator("main").inner_text()
    assert "\\(" not in body
    assert "\\mu" not in body
    # The letters come from MathJax's own fonts, which lie beside the page.
    loaded = "[...document.fonts].filter(font => font.status === 'loaded').map(font => font.family)"
    assert any("MJX" in family for family in page.evaluate(f"document.fonts.ready.then(() => {loaded})"))
    page.close()
