"""The prose: no number is typed that a run could change, no habit returns, and pages agree with what they name."""

import re

import build
import checks
import cite
import habits
import nbformat
import pytest
import yaml
from conftest import ROOT, vaemi_command
from pybtex.database import parse_file
from spellchecker import SpellChecker

# Numbers with these units are results, unless they are listed here: on every page, or on those whose paths begin so.
_MEASURED = re.compile(
    r"(?<![\w.])\d[\d,.]*(?:e-?\d+)?(?<![,.])(?: CPU)? ?(?:nats?|bits|%|points|s|seconds|times|factors|[MG]B)(?!\w)"
)
ALLOWED = {
    "": {"1 nat", "1.44 bits", "0.1 nats", "128 factors", "95 %", "50 %"},  # units, the paper's model, levels, a coin
    "book/data.md": {"55 MB", "103 MB", "2.5 GB"},  # sizes of data sets
    "book/drop.md": {"99.9 %"},  # the level of a quantile
    # Targets.
    "book/estimator.md": {
        *("1e-6 nats", "1e-9 nats", "1e-12 nats", "1.5 nats", "1.0 CPU seconds", "14 CPU seconds", "20 CPU seconds"),
        *("64 MB", "97 %", "15 times", "1,000 times"),
    },
    "book/exercises/": {"8 nats", "4 %", "2 %"},  # what an exercise gives
    "book/index.md": {"0 nats", "3 nats"},  # mathematics
    "book/slides/": {"2 nats", "5 %"},  # questions to a class
    "book/teach.md": {"2 nats", "9.2 nats", "1.5 GB", "2.6 GB"},  # the same; sizes of the pinned packages
    "notebooks/celeba.ipynb": {"99.5 %"},  # the level of a test
    "notebooks/criteria.ipynb": {"2 %"},  # how rare the rare inputs of a trial are
    "notebooks/deap.ipynb": {"128 times", "97.5 %", "99 %"},  # DEAP's rate, levels of a test
    "notebooks/estimators.ipynb": {"95 times", "97 %"},  # levels of intervals
    "notebooks/mnist.ipynb": {"12 %", "100 %", "5 %"},  # what the paper says, the rule of a claim
}
# What an exercise gives.
_EXERCISE = re.compile(r"^(:{3,})\{exercise\}.*?^\1\s*$", re.DOTALL | re.MULTILINE)


def typed_numbers(page, text):
    allowed = set().union(*(numbers for start, numbers in ALLOWED.items() if page.startswith(start)))
    return set(_MEASURED.findall(" ".join(habits.NOT_PROSE.sub("-", _EXERCISE.sub("-", text)).split()))) - allowed


def test_no_number_is_typed_that_a_run_could_change():
    found = {page: numbers for page, text in habits.pages().items() if (numbers := typed_numbers(page, text))}
    assert not found, "write a substitution or print it; if no run can change it, list it in ALLOWED"
    text = "it uses 15 factors for 12.5 s, {{ mnist.factors }} factors, `3 s` and $2$ nats, 4% more"
    assert typed_numbers("book/x.md", text) == {"15 factors", "12.5 s", "4%"}


def test_no_habit_returns():
    assert habits.faults() == [], "rewrite these sentences"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It is no bound. Those are no factors.", 2),
        ("There is no bound, it is no longer than $x$ and is no larger.", 0),
        ("It ends. So does this. And `So` is code.\n\n- But not here, and so on.", 3),
        ("Who wants more runs it again; who does not stops. Whoever asks, asks.", 3),
        ("Who notices, and how?", 0),
        ("It shows one number a factor, 3 digits a step and the squared error a coordinate.", 3),
        ("It shows one number per factor, and the number a factor carries.", 0),
        ("A factor tells of $y$; it falls silent, as is said below.", 3),
    ],
)
def test_habits_are_found(text, count):
    assert len(habits.habits(text)) == count


def test_habits_are_found_in_code(tmp_path, monkeypatch, capsys):
    for folder in ("vaemi", "book", "notebooks"):
        (tmp_path / folder).mkdir()
    for name in ("README.md", "CONTRIBUTING.md"):
        (tmp_path / name).write_text("Plain.")
    code = '"""Of a module."""\n# So is this.\nraise ValueError("This text is long enough, and is no identifier.")\n'
    (tmp_path / "vaemi" / "module.py").write_text(code)
    monkeypatch.setattr(habits, "ROOT", tmp_path)
    assert habits.main() == 1
    places = [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()]
    assert places == ["vaemi/module.py:3", "vaemi/module.py:2", "vaemi/module.py"]


def test_the_bibliography_holds_what_is_cited():
    cited = re.findall(
        r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(habits.pages().values()).replace("{{", "{").replace("}}", "}")
    )
    keys = {key.strip() for several in cited for key in several.split(",")}
    assert keys == set(parse_file(ROOT / "book" / "references.bib").entries)


def test_the_paper_is_cited_alike_everywhere():
    entry = parse_file(ROOT / "book" / "references.bib").entries["liu2020discovering"]
    bibtex = dict(entry.fields)
    authors = [(" ".join(person.first_names), " ".join(person.last_names)) for person in entry.persons["author"]]
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())["preferred-citation"]
    assert [(author["given-names"], author["family-names"]) for author in cff["authors"]] == authors
    for field, name in {"title": "title", "journal": "journal", "volume": "volume", "pages": "start"}.items():
        assert bibtex[field] == str(cff[name])
    assert (bibtex["year"], bibtex["doi"], bibtex["url"]) == (str(cff["year"]), cff["doi"], cff["url"])
    links = (f"(https://doi.org/{bibtex['doi']})", f"({bibtex['url']})")
    readme = " ".join((ROOT / "README.md").read_text().replace("> ", "").split())
    names = ", ".join(f"{first} {last}" for first, last in authors)
    where = "{journal} {volume}, {pages}, {year}.".format(**bibtex)
    assert f"{names}. {bibtex['title']}. {where}" in readme
    for text in (readme, cite.box({"url": ""})):
        assert all(link in text for link in links)


def test_the_word_list_is_sorted_and_every_word_is_needed():
    words = checks.WORDS.read_text().split()
    assert words == sorted(set(words), key=lambda word: (word.casefold(), word))
    dictionary = SpellChecker(language="en", distance=1)
    needless = [word for word in words if checks.is_known(word, {*words} - {word}, dictionary)]
    assert needless == []


@pytest.mark.parametrize("page", build.pages(ROOT))
def test_a_page_begins_with_what_it_gives_takes_and_needs(page):
    path = ROOT / f"{page}.md"
    text = (
        path.read_text() if path.exists() else nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells[0].source
    )
    title, *paragraphs = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip().split("\n\n")
    assert title.startswith("# ")
    if page == "book/index":
        assert paragraphs.pop(0) == "{{ verdicts }}"
    words = " ".join(paragraphs[0].split())
    time = r"\*Time:\* \d+ min(?:, and about .* for all exercises)?\."
    assert re.fullmatch(rf"\*You will learn\* .*\. {time} \*Prerequisites:\* .*\.", words), words


def test_the_page_on_data_shows_what_the_command_prints(tmp_path):
    text = (ROOT / "book" / "data.md").read_text()
    (shown,) = re.findall(r"^```console\n\$ vaemi data status\n(.*?)^```$", text, re.M | re.S)
    printed = vaemi_command("data", "status", VAEMI_DATA=str(tmp_path))
    assert printed.returncode == 0
    assert shown.split() == printed.stdout.replace(str(tmp_path), "/home/me/vaemi").split()


def test_the_sessions_last_ninety_minutes():
    sessions = re.split(r"^## Session \d", (ROOT / "book" / "teach.md").read_text(), flags=re.M)[1:]
    assert len(sessions) == 4
    for session in sessions:
        spans = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+)-(\d+) \|", session, re.M)]
        assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
        assert spans[-1][1] == 90


def test_the_exercises_that_teachers_are_sent_to_exist():
    pages = list((ROOT / "book" / "exercises").glob("*.md"))
    labels = set(re.findall(r"^:label: (ex-[\w-]+)$", "\n".join(page.read_text() for page in pages), re.M))
    text = (ROOT / "book" / "teach.md").read_text()
    assert set(re.findall(r"`(ex-[\w-]+)`", text)) <= labels
    assert set(re.findall(r"exercises/(\w+)", text)) <= {page.stem for page in pages}


def test_the_glossary_defines_each_word_once_and_the_notation_none():
    text = (ROOT / "book" / "glossary.md").read_text()
    (glossary,) = re.findall(r"^```\{glossary\}\n(.*?)^```$", text, re.M | re.S)
    terms = re.findall(r"^(\S.*)$", glossary, re.M)
    assert len(terms) > 30
    assert [term.lower() for term in terms] == sorted({term.lower() for term in terms})
    assert not re.search(r"^: ", (ROOT / "book" / "notation.md").read_text(), re.M)
