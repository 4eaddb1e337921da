"""The prose: what a run could change is not typed, and the list of known words holds what it needs and no more."""

import re
import sys

import nbformat
import pytest
from conftest import ROOT, pages_of_the_book, vaemi_command

sys.path.append(str(ROOT / "book"))
import checks

# Numbers that are typed and may be: by page, or by the beginning of the paths of several, what stands there (words, or
# a pattern) and why no run can change it.
ALLOWED = {
    "": {
        re.compile(r"Reading takes \d+ minutes"): "a reader's time",
        re.compile(r"\*Time:\* \d+ min"): "a reader's time",
        "1 for most factors": "what sigma* is for a prior of variance 1",
        "1 nat = 1.44 bits": "a unit",
        "95 % intervals": "the level that all intervals have",
        "93 to 97 %": "the target for coverage",
        "two factors": "said of any two factors",
        "Two factors": "said of any two factors",
        "three influential factors": "a choice of the figure",
        "128 factors": "the paper's model",
        "128 latent factors": "the paper's model",
        "0.1 nats": "the threshold, a constant of companion.claims",
        "half a nat": "the threshold of the paper",
        "log 2 nats": "mathematics",
        "200,000 portraits": "the size of CelebA",
        "50,000 handwritten digits": "the paper's split of MNIST",
        "60,000 training digits": "the size of MNIST",
        "10,000 test digits": "the size of MNIST",
        "5,000 real digits": "what the installed package carries",
    },
    "book/beyond.md": {
        "Two panels of nats": "a choice of the figure",
        "Two Gaussian factors": "the example",
        "a factor of three nats": "said of any such factor",
    },
    "book/reference.md": {
        "a tenth of the factors": "one of the paper's ratios",
        "5,000 digits": "what the installed package carries",
    },
    "book/data.md": {
        "70,000 digits": "the size of MNIST",
        "5,000 of its digits": "what the installed package carries",
        "55 MB": "the files of MNIST",
        "202,599 portraits": "the size of CelebA",
        "12 kB per decoded face": "64 x 64 pixels of three bytes",
        "2.5 GB for all": "that times the size of CelebA",
        "32 people": "the size of DEAP",
        "40 trials": "the size of DEAP",
        "103 MB": "DEAP's format",
        "fourteen known generating factors": "how drawn faces are made",
    },
    "book/estimator.md": {
        "seven digits or more": "the target, which a test of the estimator holds",
        "seven digits": "four points to a standard deviation: mathematics",
        "three steps": "of the argument",
        "a million times as broad": "an example",
        "1e-6 nats": "a target",
        "1e-9 nats": "a target",
        "1e-12 nats": "a target",
        "128 factors, 50,000 samples, one thread | 1.0 CPU seconds": "a target",
        "128 factors, 1,000,000 samples, one thread | 20 CPU seconds": "a target",
        "size of the sketch | 64 MB": "a target",
        "z ten times as large": "what is measured",
        "fixed bins, 50,000 samples | 15 times": "a target",
        "log-sum-exp, 50,000 samples | 1,000 times": "a target",
        "of them that took 14 CPU seconds": "what the target was set against",
        "hold the truth (1,000 samples, up to 1.5 nats)": "the rule of the target",
        "ten times as large": "what is measured",
        "10,000 samples of 128 factors": "the part of the benchmark that the figure shows",
    },
    # What an exercise gives is not read; this is of solutions.
    "book/exercises/": {
        "lets one tell two trials apart": "said of any two trials",
        "more often than six times in ten": "a probability that follows from what is given",
        "For 8 nats one needs": "what is given",
        "is worth seven points": "an approximation in closed form",
        "an accuracy of 50 %": "a coin",
        "4 % of 128": "what is given",
        "an error of 2 %": "what is given",
        "Ten times the pictures": "what is given",
        "at one and a half times": "what is given",
        "the two last factors are under water": "follows from what is given",
        "is four times the price of a nat": "the square of what is given",
    },
    "book/index.md": {
        "0 nats is nothing": "mathematics",
        "with 3 nats about 20": "mathematics",
    },
    "book/reproduce.md": {
        "100 epochs": "the published setting",
        "95 % interval over the seeds": "the level of a sweep's intervals, no parameter of it",
    },
    "book/theory.md": {
        "theorem 2 for the factors": "the number of a theorem",
        "distances from 0 to 12 standard deviations": "typed in the notebook, no parameter of it",
    },
    "book/teach.md": {
        re.compile(r"\d+(?: to \d+)? minutes"): "the time a course takes",
        "30 people": "a class",
        "a factor of 2 nats": "a question to a class",
        "10,000 inputs cannot exceed 9.2 nats": "mathematics",
        "sixty-four factors": "a question to a class",
        "Out of ten points": "how to grade",
        "two points each": "how to grade",
    },
    "notebooks/celeba.ipynb": {
        "Forty of the faces": "a choice of the figure",
        "Forty faces in five rows": "a choice of the figure",
        "fourteen generating factors": "how drawn faces are made",
        "Two rows of ten faces": "a choice of the figure",
        "any of the ten faces": "a choice of the figure",
        "Three rows of ten generated faces": "a choice of the figure",
        "99.5 % of the": "the level of the test",
        "50 % is chance": "a coin",
        "four strips of faces": "a choice of the figure",
    },
    "notebooks/deap.ipynb": {
        "128 times a second": "DEAP's rate",
        "32 people": "the size of DEAP",
        "40 trials": "the size of DEAP",
        "40 one-minute music videos": "the size of DEAP",
        "Three windows": "a choice of the figure",
        "Six seconds at eight electrodes": "a choice of the figure",
        "over six seconds": "a choice of the figure",
        "three seconds before": "DEAP's baseline",
        "plus three standard deviations": "a choice of the figure",
        "running mean of five windows": "a choice of the figure",
        "97.5 % of the": "the level of the test",
        "asks for 99 %": "the level of the verdict",
        "of two trials": "what the area under the curve asks",
        "one trial": "a choice of the figure",
    },
    "notebooks/estimators.ipynb": {
        "a hundred times the samples": "the square root of M",
        "95 times in 100": "the level that all intervals have",
        "1,000 samples": "typed in the notebook, no parameter of it",
        "100 samples": "typed in the notebook, no parameter of it",
        "a thousand samples": "typed in the notebook, no parameter of it",
        "a hundred samples": "typed in the notebook, no parameter of it",
    },
    "notebooks/mnist.ipynb": {
        "about 12 %": "what the paper says",
        "ten digits": "as many as there are",
        "four strips of digits": "a choice of the figure",
        "Ten validation digits": "a choice of the figure",
        "three times as long": "a choice of the comparison",
        "three lowest-ranked kept factors": "how far an exchange reaches",
        "soon allows 100 %": "the most that an accuracy can be",
    },
    "book/exercises/objectives.md": {
        "With three seeds each": "what the exercise gives",
    },
    "notebooks/sparsity.ipynb": {
        "half a nat for every factor e": "mathematics",
    },
    "notebooks/your_vae.ipynb": {
        "95 % interval": "the level that all intervals have",
        "half of the steps": "typed in the notebook, no parameter of it",
        "Four rows of digits": "a choice of the figure",
        "a million times smaller": "what is usual in latent diffusion",
    },
    "notebooks/theory.ipynb": {
        "2,000 samples": "typed in the notebook, no parameter of it",
    },
}

_SPELLED = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    "nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|half|dozens?|tenth|quarter"
)
_UNITS = (
    "nats?|bits?|%|per cent|percent(?:age points?)?|points|s|ms|seconds?|min|minutes?|hours?|days?|times|factors|steps|"
    "epochs|samples|digits|faces|portraits|people|subjects|trials|windows|runs|seeds|dimensions|[KMG]B|"
    "(?:kilo|mega|giga)bytes?|deviations"
)
# A number and, at most two words later, what it counts.
_MEASURED = re.compile(
    rf"(?<![\w.])(?:\d[\d,.]*(?:e-?\d+)?(?<![,.])|(?:{_SPELLED})\b)(?:[ -][\w'-]+){{0,2}}?"
    rf"(?:[ -]|(?<=\d))(?:{_UNITS})(?!\w)",
    re.IGNORECASE,
)
# What is not read: code, formulas, substitutions, HTML, names in directives, and what an exercise gives.
_NOT_READ = re.compile(
    r"^(`{3,}|~{3,})(?!\{).*?^\1\s*$|^(:{3,})\{exercise\}.*?^\2\s*$|`[^`\n]+`|\$\$.*?\$\$|\$[^$]+?\$|\{\{.*?\}\}|<!--.*?-->|^:name:.*?$|^<.*?>$",
    re.DOTALL | re.MULTILINE,
)


def pages():
    """Every page's prose, captions and alt texts, by its path."""
    found = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / "book").rglob("*.md"))}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        parts = []
        for cell in nbformat.read(path, as_version=4).cells:
            shown = cell.metadata.get("mystnb", {})
            said = (shown.get("figure", {}).get("caption", ""), shown.get("image", {}).get("alt", ""))
            parts += [cell.source] if cell.cell_type == "markdown" else said
        found[path.relative_to(ROOT).as_posix()] = "\n\n".join(parts)
    return found


def flat(text):
    """A text on one line, without what is not read."""
    return " ".join(_NOT_READ.sub("\N{CURRENCY SIGN}", text).split())


def spots(allowed, text):
    """Where what is allowed stands in a flat text."""
    pattern = allowed if isinstance(allowed, re.Pattern) else re.compile(re.escape(allowed))
    return [found.span() for found in pattern.finditer(text)]


def typed_numbers(page, text, allowed=ALLOWED):
    """The measured numbers of a text that are typed without a reason in `allowed`."""
    text = flat(text)
    fine = [
        span
        for start, reasons in allowed.items()
        if page.startswith(start)
        for what in reasons
        for span in spots(what, text)
    ]
    return [
        found.group()
        for found in _MEASURED.finditer(text)
        if not any(start < found.end() and found.start() < end for start, end in fine)
    ]


@pytest.mark.parametrize("page", pages())
def test_no_number_is_typed_that_a_run_could_change(page):
    found = typed_numbers(page, pages()[page])
    assert not found, (
        f"{page} types {found}: write a substitution, print it, or say it without the number. If no run can change it, "
        f"put it under {page!r} of ALLOWED with the reason."
    )


def test_every_allowed_number_is_still_there():
    texts = {page: flat(text) for page, text in pages().items()}
    for start, reasons in ALLOWED.items():
        for what in reasons:
            assert any(spots(what, text) for page, text in texts.items() if page.startswith(start)), (
                f"{start or 'no page'} no longer says {what!r}: take it off the list"
            )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("it uses 15 factors", ["15 factors"]),
        ("the ignored ones are near 50 per cent", ["50 per cent"]),
        ("right up to two nats", ["two nats"]),
        ("in dozens of runs, or three and more seeds", ["dozens of runs", "three and more seeds"]),
        ("two sides, two steps", ["two steps"]),
        ("it took 12.5 s on a laptop", ["12.5 s"]),
        ("twice 3 % and 4%", ["3 %", "4%"]),
        ("error of 1.5e-8 nats", ["1.5e-8 nats"]),
        ("a few factors, several nats, one step", []),
        ("it uses {{ mnist.influential_factors }} factors", []),
        ("`--seconds 5 s` and $2$ nats", []),
    ],
)
def test_typed_numbers_are_found(text, found):
    assert typed_numbers("book/x.md", text, {}) == found


def test_an_allowed_number_is_let_pass_where_it_is_allowed_only():
    allowed = {"book/x.md": {"ten digits": "as many as there are"}}
    assert typed_numbers("book/x.md", "there are ten digits and ten factors", allowed) == ["ten factors"]
    assert typed_numbers("book/y.md", "there are ten digits", allowed) == ["ten digits"]
    assert typed_numbers("book/x.md", "Reading takes 15 minutes, running 5 minutes.") == ["5 minutes"]


def test_the_word_list_is_sorted_and_every_word_is_needed():
    words = checks.WORDS.read_text().split()
    assert words == sorted(set(words), key=checks.by_letter)
    for word in words:
        assert not checks.is_known(word, {*words} - {word}), f"{word} needs no place in words.txt"


@pytest.mark.parametrize("page", pages_of_the_book())
def test_a_page_begins_with_what_it_gives_takes_and_needs(page):
    path = (ROOT / page).with_suffix(".md")
    text = (
        path.read_text() if path.exists() else nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells[0].source
    )
    title, first, *_ = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip().split("\n\n")
    assert title.startswith("# ")
    words = " ".join(first.split())
    # The second form replaces the first one page after the other.
    before = r"\*After this page you .*\. Reading takes \d+ minutes?\b[^;]*; you need .*\.\*"
    now = r"\*You will learn\* .*\. \*Time:\* \d+ min\. \*Prerequisites:\* .*\."
    assert re.fullmatch(f"{before}|{now}", words), words


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
