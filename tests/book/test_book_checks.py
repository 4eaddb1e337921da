"""What the build checks of the site: each check on a small site with the fault, and on one without."""

import http.server
import importlib.util
import subprocess
import sys
import threading

import nbformat
import pytest
import yaml
from conftest import ROOT

_specification = importlib.util.spec_from_file_location("checks", ROOT / "book" / "checks.py")
checks = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(checks)


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
        ('<a href="gone.html">x</a>', "'gone.html' leads nowhere"),
        ('<img src="gone.svg" alt="x">', "'gone.svg' leads nowhere"),
        ('<script src="gone.js"></script>', "'gone.js' leads nowhere"),
        ('<a href="b.html#gone">x</a>', "'b.html#gone' has no such anchor"),
        ('<a href="#gone">x</a>', "'#gone' has no such anchor"),
        ('<a href="/b.html">x</a>', "'/b.html' leaves the site's folder"),
        ('<a href="../outside.html">x</a>', "'../outside.html' leaves the site's folder"),
        ('<meta http-equiv="Refresh" content="0; url=gone.html" />', "'gone.html' leads nowhere"),
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


def test_references_that_are_used_and_there_are_fine(source):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("By {cite:t}`cover`.")])
    pages = {"a": "As is known {cite:p}`shannon, kraft`.", "b": "```{bibliography}\n:all:\n```"}
    assert checks.wrong_references(source(pages, keys=["shannon", "kraft", "cover"], notebook=notebook)) == []


def test_unused_and_missing_references_are_found(source):
    folder = source({"a": "As is known {cite:p}`shannon,fano`."}, keys=["shannon", "kraft"])
    assert checks.wrong_references(folder) == [
        "book/references.bib: no page cites kraft; cite it or take it out.",
        "book/a.md: cites fano, which book/references.bib does not have; add it or mend the key.",
    ]


def test_a_bibliography_that_cannot_be_read_is_said(source):
    folder = source({"a": ""})
    (folder / "book" / "references.bib").write_text("@book{shannon, title = {On\n")
    (fault,) = checks.wrong_references(folder)
    assert fault.startswith("book/references.bib: cannot be read")


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
    assert fault.startswith(f"a.html: '{shown}' stands where a number should be")


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


def command(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "book" / "checks.py", *arguments], capture_output=True, text=True, timeout=60
    )


def test_all_faults_are_said_at_once(site, source, tmp_path):
    site(index='<p>an nto of nan nats</p><img src="gone.svg">')
    source({"a": "{{ gone }} {cite:p}`fano`"}, keys=["kraft"])
    done = command("--build", tmp_path)
    assert done.returncode == 1
    said = ("{{ gone }} has no value", "'nan' stands", "cites kraft", "cites fano", "leads nowhere", "no alt", "'nto'")
    assert [part for part in said if part not in done.stderr] == []
    assert len(done.stderr.splitlines()) == len(said)
    listed = command("--build", tmp_path, "--words")
    assert (listed.returncode, listed.stdout) == (0, "nto\tindex.html\n")


def test_a_site_without_a_fault_passes(site, source, tmp_path):
    site(index="<p>All is well.</p>")
    source({"a": "All is well."})
    done = command("--build", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_site_is_said(tmp_path):
    done = command("--build", tmp_path, "--external")
    assert done.returncode == 1
    assert "has no site: run make book first." in done.stderr


# --- links that leave the site -------------------------------------------------------------------------------------


class _Answers(http.server.BaseHTTPRequestHandler):
    """/200 is there, /get only for those who ask for the whole page, every other path is the status of its answer."""

    def do_HEAD(self):
        self.answer(405 if self.path == "/get" else int(self.path[1:4]))

    def do_GET(self):
        self.answer(200 if self.path == "/get" else int(self.path[1:4]))

    def answer(self, status):
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(checks, "_PAUSE_SECONDS", 0)
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_links_that_leave_the_site_are_asked_once_each(site, server):
    here = f"http://127.0.0.1:{server.server_port}"
    linked = "".join(f'<a href="{here}/{path}">x</a>' for path in ("200", "200#part", "get", "404", "403"))
    _, pages = site(a=linked, b=f'<a href="{here}/404">x</a><a href="http://127.0.0.1:1/">x</a><a href="a.html">x</a>')
    dead, unsure, asked = checks.dead_addresses(pages)
    assert asked == 5
    assert [sentence.partition(" (")[0] for sentence in dead] == [
        dead[0].partition(" (")[0],
        f"{here}/404 is dead: 404",
    ]
    assert dead[0].startswith("http://127.0.0.1:1/ is dead: ")
    assert "(on a.html, b.html)" in dead[1]
    assert [sentence.partition(" to")[0] for sentence in unsure] == [f"{here}/403 answers 403"]
    assert sorted(server.asked) == [
        "GET /403",
        "GET /404",
        "GET /get",
        "HEAD /200",
        "HEAD /403",
        "HEAD /404",
        "HEAD /get",
    ]


def test_a_dead_address_fails_the_command_and_only_that(site, server, tmp_path, capsys):
    here = f"http://127.0.0.1:{server.server_port}"
    site(index=f'<a href="{here}/200">x</a><a href="{here}/429">x</a>')
    assert checks.main(["--build", str(tmp_path), "--external"]) == 0
    assert "2 addresses outside the site were asked." in capsys.readouterr().out
    site(index=f'<a href="{here}/410">x</a>')
    assert checks.main(["--build", str(tmp_path), "--external"]) == 1
    assert f"{here}/410 is dead: 410 (on index.html)" in capsys.readouterr().err


def test_a_machine_without_a_network_is_not_taken_for_dead_links(site, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(checks, "_PAUSE_SECONDS", 0)
    _, pages = site(a='<a href="http://127.0.0.1:1/x">x</a><a href="http://127.0.0.1:1/y">y</a>')
    (sentence,), unsure, asked = checks.dead_addresses(pages)
    assert sentence.startswith("None of 2 addresses answers (")
    assert (unsure, asked) == ([], 2)
