"""The page on criteria: where a stranger ends, what the figure shows, and the table of real models."""

import re

import criteria_guide
import pytest
import torch
from conftest import ROOT
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch
from torch import nn

import vaemi
from companion import figures
from companion.experiments.shared import SIMPLEST_FIRST
from vaemi.criteria import CRITERIA

PAGE = (ROOT / "book" / "criteria_guide.md").read_text()


def walk(*yes):
    """Return the answers that a reader collects by saying yes to the questions about these things."""
    collected = []
    for step, choice in zip(criteria_guide.STEPS, criteria_guide.choices(), strict=True):
        if step.asks in yes or not step.question:
            collected.append(choice.answer)
            if not step.goes_on:
                break
    return collected


def test_every_stranger_ends_at_the_right_criterion():
    assert walk() == ["KL to the prior"]
    # Almost no weight of the KL term, whatever was to be compared.
    assert walk("prior", "published") == ["Information"]
    assert walk("published") == ["Active units"]
    assert walk("decoder", "prior") == ["Effect on the output"]
    assert walk("rare", "prior") == ["Divergence of the rarest inputs, beside the information", "Information"]
    assert walk("sample")[0].startswith("clusters=")
    assert walk("sample")[1:] == walk()


@pytest.fixture
def drawn():
    with plt.rc_context():
        figures.use_style()
        figure = figures.decision_list(criteria_guide.choices())
        figure.draw_without_rendering()
        yield figure
    plt.close(figure)


def test_the_figure_shows_threshold_and_weakness_of_every_answer(drawn):
    words = " ".join(text.get_text() for text in drawn.axes[0].texts)
    for step, choice in zip(criteria_guide.STEPS, criteria_guide.choices(), strict=True):
        assert step.question in words
        assert f"{choice.answer} {choice.line} {choice.caution}" in words
        if step.criterion:
            criterion = CRITERIA[step.criterion]
            assert choice.caution == criterion.fails_when
            assert f"{criterion.threshold:g}" in choice.line.replace("1 %", "0.01")


def test_the_figure_is_legible_on_a_phone_and_every_line_is_in_its_box(drawn):
    # A page of 390 pixels has 350 for a figure, and a point is 4/3 of a pixel.
    shrunk = min(1, 350 / (drawn.get_figwidth() * 96))
    assert min(text.get_fontsize() for text in drawn.axes[0].texts) * 4 / 3 * shrunk > 10
    boxes = [patch.get_window_extent() for patch in drawn.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == 2 * len(criteria_guide.STEPS)
    for text in drawn.axes[0].texts:
        if text.get_text() not in ("", "yes", "no", "then"):
            at = text.get_window_extent()
            inside = [box.x0 < at.x0 < at.x1 < box.x1 and box.y0 < at.y0 < at.y1 < box.y1 for box in boxes]
            assert sum(inside) == 1, text.get_text()


def test_the_page_says_the_same_in_words():
    (alt,) = re.findall(r"^:alt: (.*)$", PAGE, re.M)
    for step in criteria_guide.STEPS:
        assert not step.criterion or CRITERIA[step.criterion].title.lower() in alt.lower()
    listed = criteria_guide.steps_in_words().splitlines()
    assert len(listed) == len(criteria_guide.STEPS)
    assert "Dependent inputs" in listed[0]
    assert listed[0].endswith("Then go on with the next question.")
    assert "**Effect on the output**, used above 1 % of the effect of all. It measures size" in listed[2]


def test_every_criterion_is_described_with_its_source():
    text = criteria_guide.all_criteria()
    for name, criterion in CRITERIA.items():
        assert f"{criterion.title} (`{name}`)\n: " in text
        assert criterion.use_when in text
        assert criterion.fails_when in text
    assert "used above 0.01 z² ({cite:t}`burda2016importance`)" in text
    # The order in the prose is that of the rule.
    order = PAGE.partition("the criteria are:")[2].partition("Agreement on")[0].lower()
    titles = [CRITERIA[name].title.lower() for name in SIMPLEST_FIRST]
    places = [" ".join(order.split()).index(title) for title in titles]
    assert places == sorted(places)


def found(used, otherwise, **more):
    none = {name: [] for name in CRITERIA if name != "information" and name in used}
    return {"n_factors": 20, "used": used, "otherwise": none | otherwise, **more}


def rows(text):
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}


def test_the_table_counts_and_names_the_simplest():
    used = dict.fromkeys(CRITERIA, 5)
    of_cells = found(used | {"kl": 6}, {"kl": [3]})
    no_effect = {name: count for name, count in used.items() if name != "effect"}
    of_maps = found(no_effect, {name: [1, 2] for name in no_effect if name != "information"})
    of_maps["channels"] = {"n": 4, "information": 1, "effect": 3, "otherwise": [0, 2]}
    text = criteria_guide.on_models(
        {"mnist": {"criteria": found(used, {})}, "your_vae": {"criteria": {"cells": of_cells, "maps": of_maps}}}
    )
    table = rows(text)
    assert table["criterion"] == list(criteria_guide.MODELS)
    assert table["*factors in all*"] == ["20", "-", "-", "-", "20", "20"]
    assert table["Information"] == ["5", "-", "-", "-", "5", "5"]
    assert table["KL to the prior"] == ["5", "-", "-", "-", "6 (1)", "5 (2)"]
    assert table["Effect on the output"] == ["5", "-", "-", "-", "5", "-"]
    assert "do not have the comparison yet for: faces, EEG, pythae." in text
    assert (
        "- KL to the prior: MNIST.\n- Active units: scvi-tools.\n- None but the information itself: diffusers." in text
    )
    assert "Of 4 channels 3 change the output, and 1 carry information somewhere." in text


@pytest.mark.parametrize("values", [{}, {"mnist": {}, "your_vae": {"criteria": {}}}])
def test_results_without_the_comparison_do_not_break_the_page(values, tmp_path):
    with plt.rc_context():
        criteria_guide.write(values, tmp_path)
    text = (tmp_path / "criteria-models.md").read_text()
    assert rows(text)["Information"] == ["-"] * 6
    assert "simplest" not in text
    assert {path.name for path in tmp_path.iterdir()} == {
        *("criteria-all.md", "criteria-models.md", "criteria-steps.md", "fig-criteria-guide.svg")
    }


class SomebodysVAE(nn.Module):
    """Two factors that copy a coordinate each, and one that is not used."""

    def encode(self, x):
        mean = torch.stack([x[:, 0], x[:, 1], 0 * x[:, 0]], 1)
        return mean, torch.tensor([-4.0, -4.0, 0.0]).expand_as(mean)

    def decode(self, z):
        return z[:, :2]


def test_the_five_lines_run(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(block.splitlines()) == 5
    x = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    mean, log_variance = SomebodysVAE().encode(x)
    exec(block, {"vaemi": vaemi, "model": SomebodysVAE(), "x": x, "mean": mean, "log_variance": log_variance})
    printed = capsys.readouterr().out
    assert "information 2" in printed
    assert "2 of 3 factors carry more than 0.1 nats" in printed
