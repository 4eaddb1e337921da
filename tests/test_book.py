"""The site: built without a warning, whole without a network, readable on a phone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, pages_of_the_book

PAGES = pages_of_the_book()


def test_every_page_is_there_and_so_is_every_link(site):
    for page in PAGES:
        text = (site / page).read_text()
        for target in re.findall(r'(?:href|src)="([^"#?]+)', text):
            if not target.startswith(("http:", "https:", "mailto:", "data:")):
                assert ((site / page).parent / target).resolve().exists(), (page, target)
    assert (site / "index.html").exists()


def test_the_numbers_of_the_pages_are_those_of_the_run(site):
    text = (site / "book" / "index.html").read_text()
    assert "it uses <strong>0</strong>" in text
    assert "stand in for the full set" in text
    assert "{{" not in text
    assert "30 steps" in (site / "book" / "reproduce.html").read_text()
    assert "This is a stand-in" in (site / "notebooks" / "mnist.html").read_text()


def build(results, target):
    return subprocess.run(
        [sys.executable, ROOT / "book" / "build.py", "--profile", "smoke", "--results", results, "--build", target],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def copied_results(smoke_results, tmp_path):
    (tmp_path / "results" / "smoke").mkdir(parents=True)
    for path in (smoke_results / "smoke").iterdir():
        if path.suffix in (".json", ".ipynb"):
            shutil.copy(path, tmp_path / "results" / "smoke")
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
    assert "influential_factors" in built.stderr
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
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", timeout=15_000)
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
