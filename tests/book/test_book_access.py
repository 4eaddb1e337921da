"""The site for everybody: axe finds nothing serious, keyboards reach what scrolls, search finds, paper shows it all."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT, pages_of_the_book

PAGES = pages_of_the_book()
PAGES_OF_SPHINX = ["search.html", "genindex.html"]
MOST_BYTES_OF_A_PAGE = 2_000_000
# The theme, its icons and MathJax, which a browser loads once for all pages.
MOST_BYTES_OF_ALL_PAGES = 2_200_000
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
ALL_RULES = {"resultTypes": ["violations"]}
# What depends on the colours alone.
RULES_OF_COLOUR = {**ALL_RULES, "runOnly": ["color-contrast", "link-in-text-block"]}
WITHOUT_CODE = {"exclude": ["pre"]}

ARE_TYPESET = "window.MathJax?.startup ? MathJax.startup.promise.then(() => true) : true"
# Two frames after the last change of size, so that whoever watches sizes has seen it.
HAVE_SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))"
OPEN_BOXES = """() => {
  for (const box of document.querySelectorAll("details")) box.open = true;
  for (const button of document.querySelectorAll(".toggle-button-hidden")) button.click();
}"""
# Regions of the article that scroll, those that are stops for the keyboard, and what they are called.
SCROLLING = """() => [...document.querySelectorAll(".bd-article, .bd-article *")]
  .filter(e => /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth)
  .map(e => ({what: e.outerHTML.slice(0, 80), stop: e.tabIndex, role: e.getAttribute("role"),
              name: e.getAttribute("aria-label")}))"""
IDLE_STOPS = """() => [...document.querySelectorAll(".bd-article [tabindex='0'][role='group']")]
  .filter(e => e.scrollWidth <= e.clientWidth && e.scrollHeight <= e.clientHeight).map(e => e.outerHTML.slice(0, 80))"""
# Whatever boxes pages may come to use, and rows of a table.
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
    """A page without network and animations, and a list of what it complained about."""
    context = browser.new_context(offline=True, reduced_motion="reduce", viewport=DESK)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda said: page.complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page
    context.close()


def show(page, path, anchor=""):
    page.goto(Path(path).as_uri() + anchor)
    # Half-faded text has less contrast than it will have.
    page.add_style_tag(content="*, ::before, ::after { animation: none !important; transition: none !important; }")
    page.evaluate(ARE_TYPESET)
    page.evaluate(HAVE_SETTLED)


def violations(axe, page, rules, where=None):
    """The serious and critical ones: rule, first element, and what axe says of it."""
    found = axe.run(page, where, rules).response["violations"]
    return [
        (rule["id"], rule["nodes"][0]["target"], rule["nodes"][0]["failureSummary"])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]


def test_axe_finds_nothing_serious_on_any_page_size_and_scheme(site, page):
    axe, found = Axe(), []
    for name in PAGES + PAGES_OF_SPHINX:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(DESK)
        show(page, site / name)
        page.evaluate(OPEN_BOXES)
        # Everything once at each size and in each scheme; the colours of the text also where the two change places.
        for size, schemes in ((DESK, ("light", "dark")), (PHONE, ("dark", "light"))):
            page.set_viewport_size(size)
            for scheme, where, rules in zip(schemes, (None, WITHOUT_CODE), (ALL_RULES, RULES_OF_COLOUR), strict=True):
                page.emulate_media(color_scheme=scheme)
                page.evaluate(HAVE_SETTLED)
                assert page.evaluate("document.documentElement.dataset.theme") == scheme
                found += [(name, size["width"], scheme, *each) for each in violations(axe, page, rules, where)]
    assert found == []


def test_axe_sees_what_is_wrong(site, page):
    show(page, site / PAGES[0])
    page.evaluate("""() => document.querySelector(".bd-article").insertAdjacentHTML("beforeend",
        "<p style='color: #aaa; background: #fff'>pale</p><img src='../_static/logo.svg'>")""")
    found = {rule for rule, *_ in violations(Axe(), page, ALL_RULES)}
    assert {"color-contrast", "image-alt"} <= found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_links_and_code_read_in_every_kind_of_box(site, page, scheme):
    page.emulate_media(color_scheme=scheme)
    show(page, site / "book" / "index.html")
    page.evaluate(BOXES)
    assert violations(Axe(), page, RULES_OF_COLOUR, "#boxes") == []


def test_what_scrolls_is_reached_by_keyboard_and_nothing_else_is_a_stop(site, page):
    scrolled = 0
    for name in PAGES:
        show(page, site / name)
        page.evaluate(OPEN_BOXES)
        for size in (PHONE, DESK):
            page.set_viewport_size(size)
            page.evaluate(HAVE_SETTLED)
            regions = page.evaluate(SCROLLING)
            scrolled += len(regions)
            for region in regions:
                assert region["stop"] == 0, (name, size, region)
                assert region["role"] == "group", (name, size, region)
                assert "scrolls" in region["name"], (name, size, region)
            assert page.evaluate(IDLE_STOPS) == [], (name, size)
    assert scrolled > 10


def test_a_wide_equation_moves_by_arrow_key(site, page):
    page.set_viewport_size(PHONE)
    show(page, site / "book" / "theory.html")
    equation = page.locator('mjx-container[tabindex="0"]').first
    equation.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    assert equation.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


@pytest.mark.parametrize(
    ("words", "page_found"), [("water-filling", "book/theory.html"), ("nat", "notebooks/mnist.html")]
)
def test_search_finds_without_a_server(site, page, words, page_found):
    show(page, site / "book" / "index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("document.body.innerText.includes('Search finished')")
    found = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    assert any(page_found in address for address in found), found
    for address in found:
        target = address.split("?")[0].split("#")[0]
        assert Path(target.removeprefix("file://")).exists(), address
    assert page.complaints == []


def test_search_for_nothing_says_so(site, page):
    show(page, site / "search.html", "?q=xyzzyplugh")
    page.wait_for_function("document.body.innerText.includes('did not match any documents')")


def test_the_button_changes_the_colours_and_they_stay(site, page):
    page.emulate_media(color_scheme="light")
    show(page, site / "book" / "index.html")
    seen = {}
    for _ in range(3):
        page.locator(".theme-switch-button:visible").click()
        theme = page.evaluate("document.documentElement.dataset.theme")
        seen[theme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        mode = page.evaluate("document.documentElement.dataset.mode")
        if mode == "dark":
            show(page, site / "book" / "idea.html")
            assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert set(seen) == {"light", "dark"}
    assert seen["light"] == "rgb(255, 255, 255)"
    assert seen["dark"] == "rgb(18, 18, 18)"


def test_next_leads_through_the_whole_book_and_previous_back(site):
    for direction, pages in (("right-next", PAGES), ("left-prev", PAGES[::-1])):
        walked = pages[:1]
        while True:
            links = re.findall(rf'<a class="{direction}"\s+href="([^"]+)"', (site / walked[-1]).read_text())
            if not links:
                break
            walked.append(
                (site / walked[-1]).parent.joinpath(links[0]).resolve().relative_to(site.resolve()).as_posix()
            )
            assert len(walked) <= len(pages)
        assert walked == pages


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
        assert page.locator(gone).count() > 0 or gone == ".explorer", gone
        assert page.locator(f"{gone}:visible").count() == 0, gone
    page.set_viewport_size({"width": 700, "height": 1000})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.evaluate(HAVE_SETTLED)
    cut = """() => [...document.querySelectorAll(".bd-article pre, .bd-article img, .bd-article table")]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert page.evaluate(cut) == []
    page.evaluate("""() => document.querySelector(".bd-article").insertAdjacentHTML("beforeend",
        "<a id='out' href='https://example.org/x'>out</a>")""")
    shown = page.evaluate("getComputedStyle(document.getElementById('out'), '::after').content")
    assert "https://example.org/x" in shown


def test_pages_are_light(site, page):
    shared = set()
    for name in PAGES:
        wanted = set()
        page.on("request", lambda request, wanted=wanted: wanted.add(re.sub("[?#].*", "", request.url)))
        show(page, site / name)
        files = {Path(url.removeprefix("file://")) for url in wanted if url.startswith("file://")}
        common = {path for path in files if site / "_static" in path.parents and "explorer" not in path.parts}
        own = {path for path in files - common if "explorer" not in path.parts}
        assert site / name in own
        assert sum(path.stat().st_size for path in own) <= MOST_BYTES_OF_A_PAGE, (name, own)
        shared |= common
    assert shared
    assert sum(path.stat().st_size for path in shared) <= MOST_BYTES_OF_ALL_PAGES


def test_every_notebook_page_has_its_run_box_and_notebook(site, page):
    notebooks = [name for name in PAGES if name.startswith("notebooks/")]
    assert notebooks
    for name in notebooks:
        stem = Path(name).stem
        show(page, site / name)
        box = page.locator("details.run-box")
        assert box.count() == 1, name
        box.locator("summary").focus()
        page.keyboard.press("Enter")
        assert box.get_by_text(f".venv/bin/vaemi run {stem}").first.is_visible()
        download = box.locator("a.download").evaluate("link => link.href").removeprefix("file://")
        assert Path(download).read_bytes() == (ROOT / "notebooks" / f"{stem}.ipynb").read_bytes()
