"""The site as one file for paper."""

import shutil

import pdf
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

HEAD = (
    '<head><title>Book</title><link rel="stylesheet" href="../_static/a.css"><script>window.MathJax = {}</script>'
    '<script src="../_static/theme.js"></script></head>'
)
PAGES = {
    "book/index": '<h1>Home</h1><p id="x"><a href="idea.html#x">a</a><a href="idea.html">b</a><a href="#x">c</a></p>'
    '<img src="../_images/p.svg"><a href="https://example.org">d</a><a href="../_downloads/n.ipynb">e</a>'
    '<a href="../_modules/m.html">f</a><a class="headerlink" href="#x">#</a>',
    "book/idea": '<h1>Idea</h1><p id="x">text</p><div class="explorer">sliders</div>',
}


def test_links_between_pages_lead_within_the_file(tmp_path):
    for name in ("_static/a.css", "_images/p.svg", "_downloads/n.ipynb", "_modules/m.html"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "book").mkdir()
    for name, text in PAGES.items():
        (tmp_path / f"{name}.html").write_text(f'{HEAD}<article class="bd-article">{text}</article>')
    whole = BeautifulSoup(pdf.in_one(tmp_path, list(PAGES)), "html.parser")
    links = {link.get_text(): link.get("href") for link in whole.select("article a")}
    within = {"a": "#book-idea--x", "b": "#book-idea", "c": "#book-index--x"}
    assert links == {**within, "d": "https://example.org", "e": None, "f": None}
    assert [one["id"] for one in whole.select("[id]")] == ["book-index", "book-index--x", "book-idea", "book-idea--x"]
    assert whole.select_one("img")["src"] == (tmp_path / "_images" / "p.svg").as_uri()
    assert whole.select_one("link")["href"] == (tmp_path / "_static" / "a.css").as_uri()
    assert "theme.js" not in str(whole)
    assert "sliders" not in str(whole)


def test_no_site_is_one_sentence(tmp_path, capsys):
    assert pdf.main(["--build", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"book: {tmp_path / 'html'} has no site: run make book first.\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_the_pdf_has_an_outline_and_no_path_of_this_machine(site, tmp_path, monkeypatch):
    """Prints two pages, as all of them take minutes."""
    monkeypatch.setattr(pdf.build, "pages", lambda root: ["book/index", "book/idea"])
    (tmp_path / "html").symlink_to(site)
    written = pdf.write(tmp_path).read_bytes()
    assert written.startswith(b"%PDF-")
    assert b"/Outlines" in written
    assert [path.name for path in tmp_path.iterdir() if path.name != "html"] == ["book.pdf"]
    assert ROOT.as_posix().encode() not in written
