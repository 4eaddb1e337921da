"""The slides: a deck per session with its figures, from a file, by keyboard, each slide in one window."""

import re

import pytest
import slides
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT
from pictures import Picture

from companion.errors import CompanionError

DECKS = sorted(path.stem for path in slides.FOLDER.glob("*.md"))
TEACH = (ROOT / "book" / "teach.md").read_text(encoding="utf-8")


def picture(name):
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100"><path d="M0 0h10"/></svg>'
    return Picture(name, "idea", svg, "", 'Curves with $\\sigma$ and "quotes".')


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Two decks made from two figures."""
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "session-1.md").write_text(
        "# One\n\n---\n\n## Two of {{ mnist.used }}\n\n![](idea)\n\n---\n\n$a < b$ and\n\n$$c > d$$\n"
    )
    monkeypatch.setattr(slides, "FOLDER", tmp_path / "slides")
    pictures = {name: picture(name) for name in ("idea", "other")}
    lines = dict.fromkeys(pictures, "idea - vaemi, MIT licence")
    slides.place(pictures, lines, {"mnist": {"used": 17}}, tmp_path / "made")
    return tmp_path / "made"


def test_a_deck_has_its_slides_numbers_formulas_and_figures(written):
    page = (written / "session-1.html").read_text()
    assert re.findall(r'<article id="(\d)"', page) == ["1", "2", "3"]
    assert "<title>One: slides</title>" in page
    assert "Two of 17" in page
    assert '<img src="idea.svg" alt="Curves with \\sigma and &quot;quotes&quot;.">' in page
    assert r"\(a &lt; b\)" in page
    assert r"\[c &gt; d\]" in page
    assert {path.name for path in written.iterdir()} == {"session-1.html", "idea.svg", "slides.css", "slides.js"}
    assert "MIT licence" in (written / "idea.svg").read_text()


def test_a_figure_that_is_not_there_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "session-1.md").write_text("# One\n\n![](nowhere)\n")
    monkeypatch.setattr(slides, "FOLDER", tmp_path)
    with pytest.raises(CompanionError, match=r"session-1\.md shows the figure 'nowhere', which the book does not have"):
        slides.place({}, {}, {}, tmp_path / "made")


def test_each_session_has_a_deck_with_the_figures_and_exercises_of_its_table():
    sessions = re.split(r"^## Session \d", TEACH, flags=re.M)[1:]
    assert [f"session-{number + 1}" for number in range(len(sessions))] == DECKS
    for number, session in enumerate(sessions, 1):
        table = "\n".join(line for line in session.splitlines() if line.startswith("|"))
        deck = (slides.FOLDER / f"session-{number}.md").read_text(encoding="utf-8")
        assert f'href="../slides/session-{number}.html"' in session
        shown = {f"fig-{name}" for name in slides._FIGURE.findall(deck)}
        assert set(re.findall(r"\{numref\}`([\w-]+)`", table)) <= shown
        assert set(re.findall(r"\{ref\}`ex-([\w-]+)`", table)) <= set(re.findall(r"`(\w+-\d)`", deck))


@pytest.mark.parametrize("name", DECKS)
def test_a_deck_works_from_a_file_by_keyboard(site, browser, name):
    page = browser.new_context(offline=True, viewport={"width": 1440, "height": 810}).new_page()
    complaints = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((site / "slides" / f"{name}.html").as_uri())
    page.evaluate("MathJax.startup.promise.then(() => true)")
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth)")
    assert page.locator("mjx-merror").count() == 0
    heights = page.locator("article").evaluate_all("all => all.map(one => one.scrollHeight)")
    assert max(heights) <= 811, "a slide is higher than the window"
    number = f"() => Math.round(scrollY / {max(heights)})"
    for key, at in (
        ("ArrowRight", 1),
        (" ", 2),
        ("PageDown", 3),
        ("ArrowLeft", 2),
        ("End", len(heights) - 1),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert page.evaluate(number) == at, key
        assert page.url.endswith(f"#{at + 1}")
    page.get_by_label("Next slide").click()
    assert page.evaluate(number) == 1
    page.locator("nav a").click()
    assert page.url.endswith("book/teach.html")
    page.go_back()
    assert complaints == []
    assert Axe().run(page).response["violations"] == []
    page.context.close()
