"""What the figures of the chapter on criteria show."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from companion import figures

pytestmark = pytest.mark.usefixtures("figure_style")


def texts(axes):
    return {text.get_position(): text.get_text() for text in axes.texts}


def test_a_trial_shows_its_verdict_and_a_sign_for_each_mark():
    rows = [
        ("one", "information", "right"),
        ("one", "kl", "wrong number"),
        ("two", "information", "wrong"),
        ("two", "kl", "right"),
        ("two", "effect", "right"),
    ]
    judged = pd.DataFrame(rows, columns=["trial", "criterion", "mark"])
    (axes,) = figures.trial_grid(judged, {"two": True, "one": False}, breaks=[1]).axes
    signs = {(round(x), y): text for (x, y), text in texts(axes).items()}
    assert signs == {
        (0, 0): "used",
        (1, 0): "✗",
        (2, 0): "✓",
        (3, 0): "✓",
        (0, 1): "unused",
        (1, 1): "✓",
        (2, 1): "≈",
        (3, 1): "·",
    }
    # Not by colour alone, and wrong ones filled.
    assert [patch.get_fill() and patch.get_facecolor()[3] > 0 for patch in axes.patches] == [True, False]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["two", "one"]
    assert [label.get_text() for label in axes.get_xticklabels()][1:] == ["information", "KL to the prior", "effect"]
    assert [line.get_ydata()[0] for line in axes.get_lines()] == [0.5]


def test_a_small_encoder_has_a_curve_for_each_input_and_both_lists():
    figure = figures.small_encoders(
        {"A": [(1.0, 1.0)], "B": [(0.0, 2.0), (5.0, 0.1)]},
        {"A": ["kl"], "B": ["information", "kl"]},
        {"A": ["information"], "B": ["max_mean"]},
    )
    left, right, below, _ = figure.axes
    assert left.get_title(loc="left") == r"A: $\mu$ = 1; $\sigma$ = 1"
    assert below.get_title(loc="left") == r"B: $\mu$ = 0, 5; $\sigma$ = 2, 0.1"
    prior, *curves = below.get_lines()
    assert prior.get_linestyle() == ":"
    assert [line.get_xdata()[line.get_ydata().argmax()] for line in curves] == pytest.approx([0, 5], abs=0.01)
    assert all(abs(edge) >= 6 for edge in below.get_xlim())  # the wide one is not cut off
    assert list(texts(right).values()) == ["used:", "KL to the prior", "unused:", "information"]


def test_counts_are_means_over_seeds_with_bars_over_their_range():
    rows = [
        {"criterion": name, "weight": weight, "seed": seed, "used": 2 * seed + (weight > 1) + (name == "kl")}
        for name in figures.SHORT
        for weight in (0.1, 8.0)
        for seed in (0, 1, 2)
    ]
    (axes,) = figures.counts_by_weight(pd.DataFrame(rows), latent_dim=9).axes
    assert axes.get_xscale() == "log"
    lines = {bar.get_label(): bar for bar in axes.containers}
    assert set(lines) == set(figures.SHORT.values())
    line, _, (bars,) = lines["KL to the prior"].lines
    assert list(line.get_ydata()) == [3, 4]
    assert [list(segment[:, 1]) for segment in bars.get_segments()] == [[1, 5], [2, 6]]
    # Beside each other, and near enough to their weight.
    first = [bar.lines[0].get_xdata()[0] for bar in axes.containers]
    assert len(set(first)) == len(first)
    assert all(0.08 < x < 0.125 for x in first)
    looks = {(to_hex(bar.lines[0].get_color()), bar.lines[0].get_marker()) for bar in axes.containers}
    assert len(looks) == len(lines)


def test_the_reach_of_a_line_is_from_its_smallest_to_its_largest_count():
    reach = pd.DataFrame(
        [[8.0, 7, 5, 4, 1], [9.0, 9, 9, 9, 9]], index=["kl", "effect"], columns=[0.25, 0.5, 1.0, 2.0, 4.0]
    )
    (axes,) = figures.reach_of_lines(reach, latent_dim=9).axes
    spans = [sorted(segment[:, 0]) for bars in axes.collections for segment in bars.get_segments()]
    assert spans == [[1, 8], [4, 7], [9, 9], [9, 9]]
    assert [list(line.get_xdata()) for line in axes.get_lines()] == [[5], [9]]
    assert axes.yaxis_inverted()
