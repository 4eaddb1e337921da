"""The built site: complete, without network, on a phone, for everybody, on paper."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import build
import figures_export
import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from conftest import ROOT
from matplotlib.colors import to_rgb

import vaemi
import vaemi.influence
import vaemi.information
from vaemi.auditing.figures import GREY

pytestmark = pytest.mark.slow

PAGES = [f"{page}.html" for page in build.pages(ROOT)]
# One page of each kind: the claims, maths and proofs, notebook output and the explorer, tables, exercises, the API,
# definitions, citations, and pages that Sphinx makes.
KINDS = [
    "book/index.html", "book/theory.html", "notebooks/mnist.html", "book/many_runs.html", "book/exercises/idea.html",
    "book/api/influence.html", "book/glossary.html", "book/references.html", "search.html", "genindex.html",
]  # fmt: skip
IN_THE_DARK = ["book/index.html", "notebooks/celeba.html", "book/exercises/theory.html"]
MOST_BYTES_OF_A_PAGE = 2_000_000
MOST_BYTES_OF_ALL_PAGES = 2_200_000  # the theme, its icons and MathJax, which a browser loads once
OF_SOME_PAGES = {"drop", "check", "sliders"}  # folders of _static that count for the pages that load them
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}

IS_TYPESET = "window.MathJax?.startup ? MathJax.startup.promise.then(() => true) : true"
# Two frames after the last change of size, for observers of sizes.
HAS_SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))"
OPEN_BOXES = """() => {
  for (const box of document.querySelectorAll("details")) box.open = true;
  for (const button of document.querySelectorAll(".toggle-button-hidden")) button.click();
}"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Regions of the article that scroll, whether they are stops for the keyboard, and their names.
SCROLLING = """() => [...document.querySelectorAll(".bd-article, .bd-article *")]
  .filter(e => /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth)
  .map(e => ({what: e.outerHTML.slice(0, 80), stop: e.tabIndex, role: e.getAttribute("role"),
              name: e.getAttribute("aria-label")}))"""
IDLE_STOPS = """() => [...document.querySelectorAll(".bd-article [tabindex='0'][role='group']")]
  .filter(e => e.scrollWidth <= e.clientWidth && e.scrollHeight <= e.clientHeight).map(e => e.outerHTML.slice(0, 80))"""
WIDE_CODE = """() => [...document.querySelectorAll(".bd-article pre")]
  .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 80))"""
BROKEN_IMAGES = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
# Every kind of box, and rows of a table, with links and code.
BOXES = """() => {
  const text = 'Words, <a href="#x">a link</a>, <code>code</code> and <a href="#y"><code>both</code></a>';
  const kinds = ["note", "tip", "hint", "important", "seealso", "attention", "caution", "warning", "danger", "error",
                 "exercise", "solution", "theorem", "proof", ""];
  const boxes = kinds.map(kind => `<div class="${kind} admonition"><p class="admonition-title">${kind} ${text}</p>
    <p>${text}</p></div>`);
  const rows = ["odd", "even"].map(kind => `<tr class="row-${kind}"><td><p>${text}</p></td></tr>`);
  document.querySelector(".bd-article").insertAdjacentHTML("beforeend", `<div id="boxes">${boxes.join("")}
    <div class="pst-scrollable-table-container"><table class="table"><tbody>${rows.join("")}</tbody></table></div>
    <blockquote><p>${text}</p></blockquote></div>`);
}"""


@pytest.fixture
def page(browser):
    """A page without network and animations that records complaints and requests."""
    context = browser.new_context(offline=True, reduced_motion="reduce", viewport=DESK)
    page = context.new_page()
    page.complaints, page.requested = [], set()
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.requested.add(re.sub("[?#].*", "", request.url)))
    yield page
    context.close()


def show(page, path, anchor=""):
    page.goto(Path(path).as_uri() + anchor)
    # Half-faded text has less contrast than it will have.
    page.add_style_tag(content="*, ::before, ::after { animation: none !important; transition: none !important; }")
    page.evaluate(IS_TYPESET)
    page.evaluate(HAS_SETTLED)


def soup(path):
    return BeautifulSoup(path.read_text(), "html.parser")


def words(part):
    return " ".join(part.get_text(" ").split()).replace("\u2019", "'")


# --- content ----------------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_pages_are_those_of_the_run(site, smoke_results):
    used = json.loads((smoke_results / "smoke" / "mnist.json").read_text())["values"]["influential_factors"]
    landing = words(soup(site / "book" / "index.html").article)
    assert f"{used} of 128" in landing
    assert "stand in for the full set" in landing
    assert "30 steps" in words(soup(site / "book" / "reproduce.html").article)
    assert "This is a stand-in" in words(soup(site / "notebooks" / "mnist.html").article)


def test_each_claim_and_check_links_to_the_cell_that_judged_it(site, smoke_results):
    landing, verdicts = (soup(site / "book" / f"{page}.html") for page in ("index", "verdicts"))
    found = {}
    for path in (smoke_results / "smoke").glob("*.json"):
        found |= {claim["id"]: claim for claim in json.loads(path.read_text())["claims"]}
    links = [*landing.select(".claims-compact tbody a"), *verdicts.select("#checks-of-theorems tbody a")]
    assert len(links) == len(found)
    for link in links:
        claim = found[link.get_text().partition(".")[0]]
        target, _, anchor = link["href"].partition("#")
        judged = soup(site / "book" / target).find(id=anchor)
        assert claim["statement"] in words(judged.find_next("table"))
        # Its beginning may have a formula.
        assert claim["rules"][-1]["rule"][-12:] in words(verdicts.select_one("article"))


def test_the_reference_documents_every_public_name_with_its_source(site):
    text = "".join((site / page).read_text() for page in PAGES if page.startswith("book/api/"))
    documented = set(re.findall(r'<dt class="sig[^>]* id="([\w.]+)"', text))
    for module in (vaemi.information, vaemi.influence):
        assert {f"{module.__name__}.{name}" for name in module.__all__} - documented == set()
    landing = (site / "book" / "api" / "index.html").read_text()
    for name in {*vaemi.__all__} - {"__version__"}:
        assert f"vaemi.{name}" in landing, name
    assert re.search(r'href="../../_modules/vaemi/information/factors.html#[\w.]*factor_information"', text)


def test_words_lead_to_the_glossary(site):
    assert 'href="glossary.html#term-aggregated-posterior"' in (site / "book" / "idea.html").read_text()
    assert 'id="term-aggregated-posterior"' in (site / "book" / "glossary.html").read_text()


def test_next_leads_through_the_whole_book_and_previous_back(site):
    for direction, pages in (("right-next", PAGES), ("left-prev", PAGES[::-1])):
        walked = pages[:1]
        while link := re.search(rf'<a class="{direction}"\s+href="([^"]+)"', (site / walked[-1]).read_text()):
            target = (site / walked[-1]).parent.joinpath(link[1]).resolve()
            walked.append(target.relative_to(site.resolve()).as_posix())
            assert len(walked) <= len(pages)
        assert walked == pages


def test_every_figure_is_exported_for_slides(smoke_results, tmp_path, monkeypatch):
    monkeypatch.setattr(figures_export, "to_png", lambda svg: b"")  # tested elsewhere; half a minute here
    found = figures_export.export("smoke", smoke_results, tmp_path / "figures")
    in_notebooks = sum(
        path.read_text().count('"image/svg+xml":')
        for path in (smoke_results / "smoke").glob("*.ipynb")
        if "failed" not in path.name
    )
    on_pages = {picture.page for picture in found} - {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {"idea", "estimator", "beyond"} <= on_pages
    assert sum(picture.page not in on_pages for picture in found) == in_notebooks > 30
    for picture in found:
        assert picture.alt, picture.name
        assert picture.caption, picture.name
        ET.fromstring((tmp_path / "figures" / f"{picture.name}.svg").read_text())


# --- in a browser -----------------------------------------------------------------------------------------------------


def test_pages_work_from_a_file_without_network(site, page):
    shared = set()
    for name in PAGES:
        page.requested.clear()
        show(page, site / name)
        if page.locator("article .math").count():
            assert page.locator("article mjx-container").count(), name
        assert page.locator("mjx-merror").count() == 0, name
        assert page.evaluate(BROKEN_IMAGES) == [], name
        page.evaluate(OPEN_BOXES)
        for size in (DESK, PHONE):
            page.set_viewport_size(size)
            page.evaluate(HAS_SETTLED)
            assert page.evaluate(OVERFLOW) <= 0, (name, size)
            if size == DESK:
                assert page.evaluate(WIDE_CODE) == [], (name, "break these lines")
            for region in page.evaluate(SCROLLING):
                assert (region["stop"], region["role"]) == (0, "group"), (name, size, region)
                assert "scrolls" in region["name"], (name, size, region)
            assert page.evaluate(IDLE_STOPS) == [], (name, size)
        assert not [url for url in page.requested if url.startswith("http")], name
        files = {Path(url.removeprefix("file://")) for url in page.requested if url.startswith("file://")}
        files = {path for path in files if "explorer" not in path.parts}
        common = {path for path in files if site / "_static" in path.parents and not OF_SOME_PAGES & {*path.parts}}
        assert sum(path.stat().st_size for path in files - common) <= MOST_BYTES_OF_A_PAGE, name
        shared |= common
    assert page.complaints == []
    assert 0 < sum(path.stat().st_size for path in shared) <= MOST_BYTES_OF_ALL_PAGES


def violations(page, where=None, **options):
    """The serious and critical ones: rule, first element, and what axe says of it."""
    found = Axe().run(page, where, {"resultTypes": ["violations"], **options}).response["violations"]
    return [
        (rule["id"], rule["nodes"][0]["target"], rule["nodes"][0]["failureSummary"])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(
    ("name", "scheme", "size"), [(n, "light", DESK) for n in KINDS] + [(n, "dark", PHONE) for n in IN_THE_DARK]
)
def test_axe_finds_nothing_serious(site, page, name, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    show(page, site / name)
    page.evaluate(OPEN_BOXES)
    page.evaluate(HAS_SETTLED)
    # Most of the time would go into the colours of code, which are the same on all pages.
    assert violations(page, {"exclude": ["pre", "dt.sig"]} if scheme == "light" else None) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_passes_every_kind_of_box_and_sees_what_is_wrong(site, page, scheme):
    page.emulate_media(color_scheme=scheme)
    show(page, site / "book" / "index.html")
    page.evaluate(BOXES)
    assert violations(page, "#boxes", runOnly=["color-contrast", "link-in-text-block"]) == []
    page.evaluate("""() => document.querySelector("#boxes").insertAdjacentHTML("beforeend",
        "<p style='color: #aaa; background: #fff'>pale</p><img src='../_static/logo.svg'>")""")
    assert {"color-contrast", "image-alt"} <= {rule for rule, *_ in violations(page)}


def test_a_link_to_a_term_or_a_citation_shows_what_is_there(site, page):
    show(page, site / "book" / "idea.html")
    term = page.locator('.bd-article a[href="glossary.html#term-aggregated-posterior"]').first
    term.hover()
    preview = page.locator("#preview")
    preview.wait_for(state="visible")
    assert "averaged over all inputs" in preview.inner_text()
    assert preview.locator("mjx-container").count()
    assert term.get_attribute("aria-describedby") == "preview"
    preview.hover()
    page.wait_for_timeout(600)
    assert preview.is_visible()
    page.keyboard.press("Escape")
    assert preview.count() == 0
    term.focus()  # by keyboard, as the last input was one
    preview.wait_for(state="visible")
    term.blur()
    assert preview.count() == 0
    show(page, site / "book" / "index.html")
    page.locator('.bd-article a[href^="references.html#id"]').first.hover()
    preview.wait_for(state="visible")
    assert "Pattern Recognition" in preview.inner_text()
    box = preview.bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= DESK["width"]
    assert page.complaints == []


def test_the_claims_are_cards_on_a_phone(site, page):
    page.set_viewport_size(PHONE)
    show(page, site / "book" / "index.html")
    cells = page.locator(".claims-compact tbody td")
    for index in range(cells.count()):
        box = cells.nth(index).bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"]
    heads = page.locator(".claims-compact th").all_text_contents()
    for row in page.locator(".claims-compact tbody tr").all():
        assert row.evaluate("row => [...row.cells].map(cell => cell.dataset.label)") == heads
        assert row.evaluate("row => getComputedStyle(row.cells[1], '::before').content") != "none"


def test_a_fade_shows_that_there_is_more_to_the_right(site, page):
    page.set_viewport_size(PHONE)
    show(page, site / "book" / "own_vae.html")
    code = page.locator('pre[tabindex="0"]:visible').first
    mask = "e => getComputedStyle(e).maskImage"
    assert "gradient" in code.evaluate(mask)
    code.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
    page.evaluate(HAS_SETTLED)
    assert code.evaluate(mask) == "none"
    # What fits has none, in particular a formula that was wider before its font arrived.
    show(page, site / "book" / "verdicts.html")
    fits = "e => [...e.querySelectorAll('.has-more')].filter(one => one.scrollWidth <= one.clientWidth).length"
    assert page.locator(".bd-article").evaluate(fits) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_grey_text_of_figures_is_legible(site, page, scheme):
    page.emulate_media(color_scheme=scheme)
    show(page, site / "book" / "idea.html")
    look = "e => [getComputedStyle(e).filter, getComputedStyle(document.body).backgroundColor]"
    shown, ground = page.locator('.bd-article img[src$=".svg"]').first.evaluate(look)
    brighter = float(re.sub(r"[^0-9.]", "", shown) or 1)
    grey = [min(1, brighter * channel) for channel in to_rgb(GREY)]
    behind = [int(channel) / 255 for channel in re.findall(r"\d+", ground)[:3]]
    lighter, darker = sorted((luminance(grey), luminance(behind)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def luminance(colour):
    """Relative luminance, as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_wide_equation_moves_by_arrow_key(site, page):
    page.set_viewport_size({**PHONE, "width": 240})  # all equations fit on a phone
    show(page, site / "book" / "theory.html")
    equation = page.locator('mjx-container[tabindex="0"]').first
    equation.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    assert equation.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


def test_search_works_without_a_server(site, page):
    show(page, site / "book" / "index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("water-filling")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("document.body.innerText.includes('Search finished')")
    found = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    assert any("book/theory.html" in address for address in found), found
    for address in found:
        assert Path(re.sub("[?#].*", "", address).removeprefix("file://")).exists(), address
    show(page, site / "search.html", "?q=xyzzyplugh")
    page.wait_for_function("document.body.innerText.includes('did not match any documents')")
    assert "Run make serve to see excerpts" in page.locator(".search-note").inner_text()
    assert page.complaints == []


def test_the_button_changes_the_colours_and_they_stay(site, page):
    page.emulate_media(color_scheme="light")
    show(page, site / "book" / "index.html")
    seen = {}
    for _ in range(3):
        page.locator(".theme-switch-button:visible").click()
        theme = page.evaluate("document.documentElement.dataset.theme")
        seen[theme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        if page.evaluate("document.documentElement.dataset.mode") == "dark":
            show(page, site / "book" / "idea.html")
            assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert seen == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}


def test_on_paper_nothing_is_hidden_and_nothing_is_there_to_click(site, page):
    page.emulate_media(color_scheme="dark")
    show(page, site / "notebooks" / "mnist.html")
    page.evaluate("""() => addEventListener("beforeprint", () => { window.printed = {
        theme: document.documentElement.dataset.theme,
        closed: document.querySelectorAll("details:not([open])").length }; })""")
    closed = page.locator("details:not([open])").count()
    assert closed > 1
    page.pdf()
    assert page.evaluate("printed") == {"theme": "light", "closed": 0}
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("details:not([open])").count() == closed

    page.emulate_media(media="print")
    for gone in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer", ".copybtn", ".explorer"):
        assert page.locator(f"{gone}:visible").count() == 0, gone
    page.set_viewport_size({"width": 700, "height": 1000})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.evaluate(HAS_SETTLED)
    cut = """() => [...document.querySelectorAll(".bd-article pre, .bd-article img, .bd-article table")]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert page.evaluate(cut) == []
    page.evaluate("""() => document.querySelector(".bd-article").insertAdjacentHTML("beforeend",
        "<a id='out' href='https://example.org/x'>out</a>")""")
    shown = page.evaluate("getComputedStyle(document.getElementById('out'), '::after').content")
    assert "https://example.org/x" in shown


def test_the_run_box_opens_by_keyboard_and_offers_the_notebook(site, page):
    show(page, site / "notebooks" / "mnist.html")
    box = page.locator("details.run-box")
    box.locator("summary").focus()
    page.keyboard.press("Enter")
    assert box.get_by_text(".venv/bin/vaemi run mnist").first.is_visible()
    download = box.locator("a.download").evaluate("link => link.href").removeprefix("file://")
    assert Path(download).read_bytes() == (ROOT / "notebooks" / "mnist.ipynb").read_bytes()


def test_exercises_check_answers_and_show_closed_solutions(site, page):
    show(page, site / "book" / "exercises" / "idea.html")
    solution = page.locator("#sol-idea-1")
    assert "exactly one bit" in solution.text_content()
    assert not solution.locator("section").is_visible()
    solution.locator("button.toggle-button").click()
    assert solution.locator("section").is_visible()
    assert "0.693 nats" in solution.inner_text()
    exercise = page.locator("#ex-idea-1")
    exercise.get_by_label("Your answer").fill("0.693")
    page.keyboard.press("Enter")
    exercise.get_by_text("Right.").wait_for(timeout=5000)
    download = page.locator("a.download").evaluate("link => link.href").removeprefix("file://")
    assert "0.693" not in Path(download).read_text()
