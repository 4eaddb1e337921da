"""What is mended in finished pages, and that nothing else is touched."""

import importlib.util

from conftest import ROOT

specification = importlib.util.spec_from_file_location("accessible", ROOT / "book" / "accessible.py")
accessible = importlib.util.module_from_spec(specification)
specification.loader.exec_module(accessible)


def mended(tmp_path, text):
    page = tmp_path / "part" / "page.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(text)
    accessible.mend(tmp_path)
    return page.read_text()


def test_an_arrow_says_what_it_opens(tmp_path):
    text = (
        '<li><a class="reference internal" href="a.html">One</a></li>'
        '<li><a class="current reference internal" href="b.html">The <code>vaemi</code> package</a>'
        '<details open="open"><summary><span class="toctree-toggle" role="presentation">'
        '<i class="fa"></i></span></summary></details></li>'
    )
    assert (
        '<summary aria-label="The vaemi package, its pages"><span class="toctree-toggle" aria-hidden="true">'
        in mended(tmp_path, text)
    )


def test_the_empty_corner_of_a_table_is_no_heading(tmp_path):
    text = '<tr><th></th><th class="head"><p></p></th><th>beta</th><th><p>one</p></th></tr>'
    assert mended(tmp_path, text) == "<tr><td></td><td></td><th>beta</th><th><p>one</p></th></tr>"


def test_references_are_no_list_without_items(tmp_path):
    text = '<div role="list" class="citation-list"><div class="citation" id="x" role="doc-biblioentry">X</div></div>'
    assert mended(tmp_path, text) == '<div class="citation-list"><div class="citation" id="x">X</div></div>'


def test_what_follows_a_formula_stays_with_it(tmp_path):
    formula = '<span class="math notranslate nohighlight">\\(x &lt; 1\\)</span>'
    text = f"<p>Is {formula}? The {formula}-th ({formula}), and {formula} here.</p>"
    glued = '<span class="glued">{}</span>'
    assert mended(tmp_path, text) == (
        f"<p>Is {glued.format(formula + '?')} The {glued.format(formula + '-th')} "
        f"({glued.format(formula + '),')} and {formula} here.</p>"
    )
    assert mended(tmp_path, mended(tmp_path, text)) == mended(tmp_path, text)


def test_the_rest_stays(tmp_path):
    text = '<ul role="list"><li>one</li></ul><details><summary>Proof</summary>...</details><table><th>a</th></table>'
    assert mended(tmp_path, text) == text
