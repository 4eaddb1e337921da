"""The report of an audit: one accessible HTML file with the numbers of the audit."""

import html.parser
import re

import numpy as np
import pytest
import torch

import vaemi
from vaemi.auditing import report
from vaemi.auditing.command import load_encoder


class Page(html.parser.HTMLParser):
    """The elements of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def audited(name):
    return vaemi.audit(load_encoder(f"my_vae.py:{name}"), torch.from_numpy(np.load("x.npy")), progress=False)


@pytest.mark.parametrize("name", ["encode", "maps", "spread"])
def test_the_report_is_one_accessible_file(users_folder, name):
    found = audited(name)
    path = report.write(found, "report.html", {"data": "x.npy"})
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.all("html") == [{"lang": "en"}]
    assert f"<title>Audit of {name}</title>" in text
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("caption")) == 1
    (drawn,) = page.all("svg")
    assert drawn["role"] == "img"
    assert found.summary in drawn["aria-label"]
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    # Nothing is fetched: no scripts, and addresses are within the page or data.
    assert page.all("script") == page.all("link") == []
    addresses = [value for _, found in page.tags for key, value in found.items() if key.endswith(("href", "src"))]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for words in ("x.npy", "600 in 3 batches", vaemi.__version__, torch.__version__):
        assert words in text
    # A deviation read as a log-variance is a mistake, which the page shows before the figure.
    assert ("Read this first" in text) == (name == "spread")
    assert ("None of the known mistakes" in text) == (name != "spread")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spread", "maps"])
def test_axe_finds_nothing_in_the_report_and_it_fits_on_a_phone(users_folder, name, browser):
    from axe_playwright_python.sync_playwright import Axe

    report.write(audited(name), "report.html", {"data": f"/{'a-long-folder/' * 20}x.npy"})
    page = browser.new_page(viewport={"width": 390, "height": 844})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto((users_folder / "report.html").as_uri())
        violations = Axe().run(page, None, {"resultTypes": ["violations"]}).response["violations"]
        assert [(rule["id"], rule["nodes"][0]["target"]) for rule in violations] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_the_table_has_the_numbers_and_names_are_escaped(users_folder):
    found = audited("encode")
    text = report.page(found, {"data": "<b>&.npy"})
    assert "&lt;b&gt;&amp;.npy" in text
    rows = re.findall(r'<tr><th scope="row">(\d)</th><td>([\d.]+)</td>', text)
    assert [int(row[0]) for row in rows] == found.information.ranking.tolist()
    assert [float(row[1]) for row in rows] == pytest.approx(found.to_frame()["nats"].tolist(), abs=6e-4)


def test_drawing_leaves_the_callers_style_alone(users_folder):
    from matplotlib import pyplot as plt

    backend = plt.get_backend()
    with plt.rc_context({"font.size": 3, "backend": "svg"}):
        plt.switch_backend("svg")
        report.page(audited("maps"))
        assert (plt.rcParams["font.size"], plt.get_backend()) == (3, "svg")
    plt.switch_backend(backend)
