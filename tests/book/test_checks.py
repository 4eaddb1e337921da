"""What the build checks of the site: each check on a small site with the fault, and on one without."""

import http.server
import threading

import checks
import pytest

FINE = """
<h2 id="here">The neighbours of a colour<a class="headerlink" href="#">#</a></h2>
<p>It doesn't matter: a reader's and the VAEs' well-known <em>factor</em>s, the <code>autoencodr</code>s and
<span class="math">\\({{d}}\\)</span>-th in CelebA. None of them holds NaN.</p><pre>autoencodr nan</pre>
<div class="cell_input"><pre>x = None</pre></div>
<dl class="field-list"><dd><strong>ndarry</strong> (<em>Tensr</em>) - What is meant.</dd></dl>
<img src="a%20curve.svg" alt="A curve that falls."><img src="a%20curve.svg" alt="" aria-hidden="true">
<a href="#here">a</a> <a href="index.html?x=1#here">b</a> <a href="https://x.org">c</a> <a href="mailto:a@b.org">d</a>
"""


@pytest.fixture
def faults_of(tmp_path):
    """A function that writes a site of one page, given by the HTML of its article, and returns its faults."""

    def write_and_check(article):
        (tmp_path / "html").mkdir(exist_ok=True)
        (tmp_path / "html" / "a curve.svg").write_text("<svg/>")
        (tmp_path / "html" / "index.html").write_text(f"<html><body><article>{article}</article></body></html>")
        return checks.problems(tmp_path / "html")

    return write_and_check


def test_a_site_without_a_fault_passes(faults_of):
    assert faults_of(FINE) == []


@pytest.mark.parametrize(
    ("article", "said"),
    [
        ('<a href="gone.html">x</a>', "'gone.html' is dead"),
        ('<script src="gone.js"></script>', "'gone.js' is dead"),
        ('<a href="index.html#gone">x</a>', "'index.html#gone' is dead: its page has no such anchor"),
        ('<a href="/index.html">x</a>', "'/index.html' leaves the site's folder"),
        ('<a href="../outside.html">x</a>', "'../outside.html' leaves the site's folder"),
        ('<img src="a%20curve.svg">', "no alt text"),
        ('<img src="a%20curve.svg" alt="a%20curve">', "no alt text"),
        ("<p>It uses {{ mnist.factors }} factors.</p>", "'{{' instead of a number"),
        ("<p>an error of -inf nats</p>", "'-inf' instead of a number"),
        ("<td>None</td>", "'None' instead of a number"),
        ("<p>factors: None of 128</p>", "'None' instead of a number"),
        ("<p>on &lt;built-in method items&gt;</p>", "'<built-in' instead of a number"),
        ("<p>on {'n': 7} digits</p>", "instead of a number"),
        ('<div class="cell_output"><pre>error nan</pre></div>', "'nan' instead of a number"),
        ("<p>σ² and 10⁻¹⁵ are mispelt</p>", "'mispelt' is not a known word"),
        ("<p>to recieve it</p>", "'recieve' is not a known word: correct it (receive?), or add it to book/words.txt"),
        ("<table><tr><td>n<em>t</em>o</td></tr></table>", "'nto' is not a known word"),
        ('<img src="a%20curve.svg" alt="a nto b">', "'nto' is not a known word"),
    ],
)
def test_a_fault_is_found(faults_of, article, said):
    (fault,) = faults_of(article)
    assert fault.startswith("index.html: ")
    assert said in fault


def test_a_listed_word_is_known_in_the_plural_and_at_the_start_of_a_sentence_but_a_name_keeps_its_capital(
    faults_of, tmp_path, monkeypatch
):
    monkeypatch.setattr(checks, "WORDS", tmp_path / "words.txt")
    checks.WORDS.write_text("wugg\nFanno\n")
    (fault,) = faults_of("<p>Wuggs and a wugg. Fanno's and the fanno.</p>")
    assert "'fanno'" in fault


def test_the_command_reports_all_faults_at_once(faults_of, tmp_path, capsys):
    assert checks.main(["--build", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("has no site: run make book first.\n")
    faults_of('<p>a nto of nan nats</p><img src="gone.svg">')
    assert checks.main(["--build", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 4


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
def test_dead_addresses_are_found(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (tmp_path / "source" / "_config.yml").write_text("title: Links\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "source" / "index.md").write_text(f"# Links\n\n[there]({here}/200), [gone]({here}/404).\n")
        assert checks.main(["--build", str(tmp_path), "--external"]) == 1
        (fault,) = capsys.readouterr().err.splitlines()
        assert f"{here}/404 does not answer" in fault
        server.shutdown()
