"""What pages say in words, where a program can check it."""

import importlib
import math
import re

import pytest
from conftest import ROOT, vaemi_command

BOOK = ROOT / "book"


def test_the_page_on_data_shows_what_the_command_prints(tmp_path):
    (shown,) = re.findall(r"^```console\n\$ vaemi data status\n(.*?)^```$", (BOOK / "data.md").read_text(), re.M | re.S)
    printed = vaemi_command("data", "status", VAEMI_DATA=str(tmp_path))
    assert printed.returncode == 0
    assert shown.split() == printed.stdout.replace(str(tmp_path), "/home/me/vaemi").split()


def test_the_sessions_last_ninety_minutes():
    sessions = re.split(r"^## Session \d", (BOOK / "teach.md").read_text(), flags=re.M)[1:]
    assert len(sessions) == 4
    for session in sessions:
        spans = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+)-(\d+) \|", session, re.M)]
        assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
        assert spans[-1][1] == 90


def test_the_exercises_that_teachers_are_sent_to_exist():
    pages = list((BOOK / "exercises").glob("*.md"))
    labels = set(re.findall(r"^:label: (ex-[\w-]+)$", "\n".join(page.read_text() for page in pages), re.M))
    text = (BOOK / "teach.md").read_text()
    assert set(re.findall(r"`(ex-[\w-]+)`", text)) <= labels
    assert set(re.findall(r"exercises/(\w+)", text)) <= {page.stem for page in pages}


def test_glossary_defines_each_word_once_and_notation_none():
    (glossary,) = re.findall(r"^```\{glossary\}\n(.*?)^```$", (BOOK / "glossary.md").read_text(), re.M | re.S)
    terms = re.findall(r"^(\S.*)$", glossary, re.M)
    assert len(terms) > 30
    assert [term.lower() for term in terms] == sorted({term.lower() for term in terms})
    assert not re.search(r"^: ", (BOOK / "notation.md").read_text(), re.M)


def test_the_smallest_group_that_a_threshold_lets_pass(monkeypatch):
    monkeypatch.syspath_prepend(str(BOOK))
    limits = importlib.import_module("limits")
    for nats in (0.1, 0.5):
        share = limits.smallest_share(nats)
        assert 0 < share < 0.5
        assert -share * math.log(share) - (1 - share) * math.log(1 - share) == pytest.approx(nats, abs=1e-7)


def test_words_lead_to_the_glossary(site):
    idea = (site / "book" / "idea.html").read_text()
    assert 'href="glossary.html#term-aggregated-posterior"' in idea
    assert 'id="term-aggregated-posterior"' in (site / "book" / "glossary.html").read_text()
