"""What the build checks of the site: each check on a small site with the fault, and on one without."""

import http.server
import sys
import threading

import nbformat
import pytest
import yaml
from conftest import ROOT

sys.path.append(str(ROOT / "book"))
import checks


@pytest.fixture
def site(tmp_path):
    """A function that writes pages, given by the HTML of their articles, and reads them as the checks do."""

    def write(**articles):
        folder = tmp_path / "html"
        folder.mkdir(exist_ok=True)
        for name, article in articles.items():
            (folder / f"{name}.html").write_text(f"<html><body><article>{article}</article></body></html>")
        return folder, checks.read(folder)

    return write


@pytest.fixture
def source(tmp_path):
    """A function that writes staged sources: pages, numbers, and the keys of a bibliography."""

    def write(pages, numbers=None, keys=(), notebook=None):
        folder = tmp_path / "source"
        (folder / "book").mkdir(parents=True)
        for name, text in pages.items():
            (folder / "book" / f"{name}.md").write_text(text)
        if notebook is not None:
            nbformat.write(notebook, folder / "book" / "study.ipynb")
        config = {"sphinx": {"config": {"myst_substitutions": numbers or {}}}}
        (folder / "_config.yml").write_text(yaml.safe_dump(config))
        entries = [f"@book{{{key},\n title = {{On {key}}}\n}}\n" for key in keys]
        (folder / "book" / "references.bib").write_text("\n".join(entries))
        return folder

    return write


# --- links ---------------------------------------------------------------------------------------------------------


def test_links_that_lead_somewhere_are_fine(site):
    folder, _ = site(a="", b='<h2 id="here-it-is">Here</h2><a name="old">there</a>')
    (folder / "picture one.svg").write_text("<svg/>")
    links = ["b.html", "b.html#here-it-is", "b.html#old", "picture%20one.svg", "#top", "#", "b.html?x=1", "./b.html"]
    outside = ["https://example.org/x", "mailto:a@example.org", "data:image/png;base64,AA"]
    _, pages = site(a='<p id="top"></p>' + "".join(f'<a href="{link}">x</a>' for link in links + outside))
    assert len(pages["a.html"].links) == len(links) + len(outside)
    assert checks.dead_links(folder, pages) == []


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ('<a href="gone.html">x</a>', "'gone.html' is dead"),
        ('<img src="gone.svg" alt="x">', "'gone.svg' is dead"),
        ('<script src="gone.js"></script>', "'gone.js' is dead"),
        ('<a href="b.html#gone">x</a>', "'b.html#gone' is dead: its page"),
        ('<a href="#gone">x</a>', "'#gone' is dead: its page"),
        ('<a href="/b.html">x</a>', "'/b.html' leaves the site's folder"),
        ('<a href="../outside.html">x</a>', "'../outside.html' leaves the site's folder"),
        ('<meta http-equiv="Refresh" content="0; url=gone.html" />', "'gone.html' is dead"),
    ],
)
def test_a_dead_link_is_found(site, tmp_path, tag, said):
    (tmp_path / "outside.html").write_text("")
    folder, pages = site(a=tag, b='<h2 id="here">Here</h2>')
    (fault,) = checks.dead_links(folder, pages)
    assert fault.startswith("a.html: ")
    assert said in fault


# --- pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        '<img src="a.svg" alt="A curve that falls.">',
        '<img src="a.svg" alt="" role="presentation">',
        '<img src="a.svg" alt="" aria-hidden="true">',
        '<span aria-hidden="true"><img src="a.svg" alt=""></span>',
        '<svg role="img" aria-label="A curve that falls."><path/></svg>',
        "<svg><title>A curve that falls.</title><path/></svg>",
        '<svg aria-hidden="true"><path/></svg>',
        '<canvas role="img" aria-label="A curve that falls."></canvas>',
    ],
)
def test_an_image_of_which_something_is_said_is_fine(site, image):
    _, pages = site(a=image)
    assert checks.images_without_text(pages) == []


@pytest.mark.parametrize(
    "image",
    [
        '<img src="a/b.svg">',
        '<img src="a/b.svg" alt=" ">',
        '<img src="a/b.svg" alt="a/b.svg">',  # what docutils writes when a page says nothing
        '<img src="a/b.svg" alt="b">',
        "<svg><path/></svg>",
        "<svg><title> </title><g><svg><path/></svg></g></svg>",
        '<canvas role="img"></canvas>',
    ],
)
def test_an_image_of_which_nothing_is_said_is_found(site, image):
    _, pages = site(a=image)
    (fault,) = checks.images_without_text(pages)
    assert fault.startswith("a.html: the image ")


# --- references ----------------------------------------------------------------------------------------------------


def test_references_that_no_page_cites_are_found(source):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("By {cite:t}`cover`.")])
    pages = {"a": "As is known {cite:p}`shannon, kraft`.", "b": "```{bibliography}\n:all:\n```"}
    folder = source(pages, keys=["shannon", "kraft", "cover", "fano"], notebook=notebook)
    assert checks.uncited_references(folder) == ["book/references.bib: no page cites fano: cite or delete it."]


# --- numbers -------------------------------------------------------------------------------------------------------

NUMBERS = {
    "mnist": {"factors": 15, "nats": 3.25, "lost": float("nan"), "unknown": None, "data": {"n": 7}, "list": [1, 2]},
    "note": "",
}


@pytest.mark.parametrize(
    "text",
    [
        "It uses {{ mnist.factors }} of them, {{ '%.1f'|format(mnist.nats) }} nats, on {{ mnist.data['n'] }}.",
        'On {{ "few" if mnist.factors < 20 else "" }}{{ "all" if mnist.factors > 20 else "" }} digits.',
        "Write `{{ mnist.gone }}` or ``{{ mnist.gone }}``.",
        "```python\nf'{{ mnist.gone }}'\n```\n",
        "```{code-block} markdown\n{{ mnist.gone }}\n```\n",
    ],
)
def test_numbers_that_are_there_are_fine(source, text):
    assert checks.missing_numbers(source({"a": text}, NUMBERS)) == []


@pytest.mark.parametrize(
    "expression",
    [
        "gone",
        "mnist.gone",
        "mnist.data.gone",
        "'%.1f'|format(mnist.gone)",
        "mnist.gone if mnist.gone else ''",
        "mnist.factors + ",
        "mnist.lost",
        "'%.2f'|format(mnist.lost)",
        "mnist.unknown",
        "mnist.items",
        "mnist.data",
        "mnist.list",
        "note",
    ],
)
def test_a_missing_number_is_found_on_pages_in_directives_and_in_notebooks(source, expression):
    note = f"```{{note}}\nIt has {{{{ {expression} }}}} factors, by `vaemi`.\n```\n"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"So {{{{ {expression} }}}}.")])
    faults = checks.missing_numbers(source({"a": note}, NUMBERS, notebook=notebook))
    assert [fault.partition(":")[0] for fault in faults] == ["book/a.md", "book/study.ipynb, cell 0"]
    assert all(f"{{{{ {expression} }}}}" in fault for fault in faults)


@pytest.mark.parametrize(
    ("article", "shown"),
    [
        ("<p>It uses {{ mnist.factors }} factors.</p>", "{{"),
        ("<p>an error of nan nats</p>", "nan"),
        ("<p>an error of -inf nats</p>", "-inf"),
        ("<td>None</td>", "None"),
        ("<td>NaN</td>", "NaN"),
        ("<p>factors: None of 128</p>", "None"),
        ("<p>on &lt;built-in method items&gt;</p>", "<built-in"),
        ('<img src="a.svg" alt="A curve that ends at nan nats.">', "nan"),
        ('<div class="cell_output"><pre><span>error nan</span></pre></div>', "nan"),
        ('<div class="cell_output"><pre>the best is None</pre></div>', "None"),
    ],
)
def test_what_is_no_number_is_found_on_a_page(site, article, shown):
    _, pages = site(a=article)
    (fault,) = checks.unreadable_numbers(pages)
    assert fault.startswith(f"a.html: '{shown}' instead of a number in")


def test_words_and_code_that_look_like_no_number_are_fine(site):
    article = """<p>None of them holds NaN; infinite nanometres.</p><p>By default <code>None</code>, none of these.</p>
        <div class="cell_input"><pre>x = None; {{y}}; nan</pre></div><span class="math">\\({{a}}\\)</span>"""
    _, pages = site(a=article)
    assert checks.unreadable_numbers(pages) == []


# --- spelling ------------------------------------------------------------------------------------------------------


def unknown(pages, known=()):
    return checks.unknown_words(pages, known)


def test_right_words_are_known(site):
    article = """<h1>The neighbours of a colour<a class="headerlink" href="#">#</a></h1>
        <p>It doesn't matter: a reader's, readers' and the VAEs' well-known labels, modelled and analysed in grey;
        the <em>factor</em>s, the <code>autoencodr</code>s, the <span class="math">\\(d\\)</span>-th in 3D and C5.
        See <a href="autoencodr.html">this</a>.</p><pre>autoencodr</pre><svg><text>autoencodr</text></svg>
        FactorInformations and CelebA; <cite>autoencodr</cite>
        <dl class="field-list"><dd><strong>ndarry</strong> (<em>Tensr</em>) - What is meant.</dd></dl>
        <div class="citation">Kullbck</div><span class="bibtex-citation">Leiblr 1951</span>"""
    _, pages = site(a=article)
    assert unknown(pages) == {}


@pytest.mark.parametrize(
    "article",
    [
        "<p>a nto b</p>",
        "<h2>Nto</h2>",
        "<li>nto</li>",
        "<table><tr><td>nto</td></tr></table>",
        "<figcaption>nto</figcaption>",
        '<img src="a.svg" alt="a nto b">',
        "<p>the nto's</p>",
        "<p>well-nto</p>",
        "<p>n<em>t</em>o</p>",
        "<p>(nto)</p>",
        '<dl class="field-list"><dd><strong>x</strong> - a nto b</dd></dl>',
    ],
)
def test_a_misspelling_is_found_wherever_it_stands(site, article):
    _, pages = site(a=article, b="<p>an nto</p>")
    (word,) = {word.lower() for word in unknown(pages)}
    assert word == "nto"
    assert {page for places in unknown(pages).values() for page in places} == {"a.html", "b.html"}


@pytest.mark.parametrize(
    ("american", "british"),
    [
        ("color", "colour"),
        ("neighboring", "neighbouring"),
        ("behavior", "behaviour"),
        ("center", "centre"),
        ("centered", "centred"),
        ("analyzed", "analysed"),
        ("labeled", "labelled"),
        ("modeling", "modelling"),
        ("gray", "grey"),
    ],
)
def test_the_spelling_is_british(site, american, british):
    _, pages = site(a=f"<p>{american}</p>", b=f"<p>{british}</p>")
    assert unknown(pages) == {american: ["a.html"]}
    (fault,) = checks.misspellings({"a.html": pages["a.html"]})
    assert f"'{american}' ({british}?)" in fault


def test_a_listed_word_is_known_in_the_plural_and_at_the_start_of_a_sentence_but_a_name_keeps_its_capital(site):
    _, pages = site(a="<p>Wuggs and a wugg. Fanno's and the fanno.</p>")
    assert unknown(pages, {"wugg", "Fanno"}) == {"fanno": ["a.html"]}


def test_a_misspelling_is_said_with_its_page_and_what_was_perhaps_meant(site):
    _, pages = site(a="<p>to recieve infomation</p>")
    faults = checks.misspellings(pages)
    assert faults[0].startswith("a.html: 'infomation' (information?) is not a known word")
    assert "python book/checks.py --add infomation" in faults[0]
    assert len(faults) == 2


def test_words_are_added_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "WORDS", tmp_path / "words.txt")
    checks.WORDS.write_text("apple\nFano\n")
    assert checks.main(["--add", "nats", "Cramér", "nats"]) == 0
    assert checks.WORDS.read_text() == "apple\nCramér\nFano\nnats\n"


# --- all together --------------------------------------------------------------------------------------------------


def test_all_faults_are_reported_at_once(site, source, tmp_path, capsys):
    site(index='<p>an nto of nan nats</p><img src="gone.svg">')
    source({"a": "{{ gone }}"}, keys=["kraft"])
    assert checks.main(["--build", str(tmp_path)]) == 1
    faults = capsys.readouterr().err
    parts = ("{{ gone }} has no value", "'nan' instead", "cites kraft", "is dead", "no alt", "'nto'")
    assert [part for part in parts if part not in faults] == []
    assert len(faults.splitlines()) == len(parts)
    assert checks.main(["--build", str(tmp_path), "--words"]) == 0
    assert capsys.readouterr().out == "nto\tindex.html\n"


def test_a_site_without_a_fault_passes(site, source, tmp_path, capsys):
    site(index="<p>All is well.</p>")
    source({"a": "All is well."})
    assert checks.main(["--build", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""


def test_a_missing_site_is_one_sentence(tmp_path, capsys):
    assert checks.main(["--build", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("has no site: run make book first.\n")


# --- links that leave the site -------------------------------------------------------------------------------------


class _Answers(http.server.BaseHTTPRequestHandler):
    """Every path is the status of its answer."""

    def do_HEAD(self):
        self.send_response(int(self.path[1:4]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()

    def log_message(self, *arguments):
        pass


@pytest.mark.slow
def test_dead_addresses_are_found_and_refusals_are_only_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (tmp_path / "source" / "_config.yml").write_text("title: Links\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        page = tmp_path / "source" / "index.md"
        page.write_text(f"# Links\n\n[there]({here}/200), [refused]({here}/403).\n")
        assert checks.main(["--build", str(tmp_path), "--external"]) == 0
        said = capsys.readouterr()
        assert f"{here}/403 may refuse programs" in said.out
        assert said.err == ""
        page.write_text(f"# Links\n\n[there]({here}/200), [gone]({here}/404).\n")
        assert checks.main(["--build", str(tmp_path), "--external"]) == 1
        (fault,) = capsys.readouterr().err.splitlines()
        assert f"{here}/404 does not answer" in fault
        server.shutdown()
