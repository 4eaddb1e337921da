"""Scores of codes that are perfect, doubled, rotated or empty."""

import math

import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import balanced_accuracy_score

from vaemi import influence


def information_of(share, null=0.0):
    """An information matrix of generating factors with an entropy of 2 nats each."""
    nats = 2 * torch.tensor(share, dtype=torch.float64)
    ones = torch.ones_like(nats)
    names = tuple("abcdef"[: nats.shape[1]])
    return influence.LabelInformation(
        nats, 2 * ones[0], 2 * null * ones, ones, ones, ones, names, 19, 0.05, *3 * [0 * ones]
    )


def test_a_doubled_code_is_disentangled_but_not_complete():
    scores = influence.disentanglement_scores(information_of([[0.8, 0], [0.8, 0], [0, 0.4], [0, 0.4]]))
    assert scores.mig == 0
    assert scores.dci_disentanglement == 1
    assert scores.dci_completeness == pytest.approx(0.5)


def test_scores_of_a_mixture_by_hand():
    scores = influence.disentanglement_scores(information_of([[0.6, 0.2], [0.0, 0.1]]))
    assert scores.mig == pytest.approx((0.6 + 0.1) / 2)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert scores.dci_disentanglement == pytest.approx((0.8 * (1 - entropy) + 0.1) / 0.9)
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)) / math.log(2)
    assert scores.dci_completeness == pytest.approx((0.6 + 0.3 * (1 - entropy)) / 0.9)
    assert scores.gap.tolist() == pytest.approx([0.6, 0.1])


def test_what_chance_gives_has_no_importance():
    scores = influence.disentanglement_scores(information_of([[0.5, 0.1], [0.1, 0.5]], null=0.1))
    assert scores.dci_disentanglement == scores.dci_completeness == 1
    nothing = influence.disentanglement_scores(information_of([[0.1, 0.1], [0.1, 0.1]], null=0.1))
    assert nothing.dci_disentanglement == nothing.dci_completeness == nothing.mig == 0


@pytest.fixture
def generating():
    """All combinations of two uniform factors and one of two classes, which are independent."""
    levels = torch.linspace(-1, 1, 25).double()
    return torch.cartesian_prod(levels, levels, torch.tensor([0.0, 0.0, 1.0]).double())


def scored(mean, values):
    information = influence.label_information(
        mean, torch.full_like(mean, -8.0), influence.discretized(values, 5), permutations=19
    )
    return influence.disentanglement_scores(information, values, mean)


def test_scores_of_codes_from_their_samples(generating):
    perfect = scored(torch.cat([generating[:, [2, 0, 1]] * 3, torch.zeros(1875, 1)], dim=1), generating)
    for score in (perfect.mig, perfect.dci_disentanglement, perfect.dci_completeness, perfect.sap):
        assert score == pytest.approx(1, abs=0.02)
    assert perfect.captured_by.tolist() == [1, 2, 0]
    both = generating[:, :2]
    rotated = scored(both @ torch.tensor([[1.0, -1.0], [1.0, 1.0]]).double(), both)
    for score in (rotated.mig, rotated.dci_disentanglement, rotated.dci_completeness, rotated.sap):
        assert score == pytest.approx(0, abs=0.02)
    doubled = scored(generating.repeat(1, 2), generating)
    assert doubled.mig == pytest.approx(0, abs=1e-6)
    assert doubled.sap == pytest.approx(0, abs=1e-9)
    assert doubled.dci_disentanglement > 0.95


def test_predictability_is_that_of_scikit_learn(generating):
    generator = torch.Generator().manual_seed(1)
    mean = torch.stack(
        [generating[:, 0] + generating[:, 2], torch.randn(1875, generator=generator).round().double()], dim=1
    )
    mean[:, 1] -= generating[:, 2]
    values = generating[:, [0, 2]]
    labels = influence.discretized(values, 4)
    information = influence.label_information(mean, torch.zeros_like(mean), labels, permutations=19)
    found = influence.disentanglement_scores(information, values, mean)
    line = [LinearRegression().fit(mean[:, [h]], values[:, 0]).score(mean[:, [h]], values[:, 0]) for h in (0, 1)]
    assert float(found.predictability_gap[0]) == pytest.approx(abs(line[0] - line[1]), abs=1e-9)
    best = []
    for h in (0, 1):
        accuracy = [balanced_accuracy_score(values[:, 1], mean[:, h] > edge) for edge in mean[:, h].unique()]
        best.append(max(max(accuracy), 1 - min(accuracy)))
    assert float(found.predictability_gap[1]) == pytest.approx(abs(2 * best[0] - 2 * best[1]), abs=1e-9)
    frame = found.to_frame()
    assert frame.name.tolist() == ["label 0", "label 1"]
    assert frame.predictability_gap.mean() == pytest.approx(found.sap)


def test_what_is_refused(generating):
    with_constant = torch.cat([generating, torch.ones(1875, 1)], dim=1)
    labels = influence.discretized(with_constant)
    names = ["x", "y", "glasses", "beard"]
    information = influence.label_information(generating, generating, labels, names=names, permutations=19)
    with pytest.raises(ValueError, match=r"^beard does not vary"):
        influence.disentanglement_scores(information)
    numbers = influence.label_information(generating, generating, generating.float(), permutations=19)
    with pytest.raises(ValueError, match="cut numbers with `discretized`"):
        influence.disentanglement_scores(numbers)
    whole = influence.label_information(generating, generating, labels[:, :3], permutations=19)
    with pytest.raises(ValueError, match="both or neither"):
        influence.disentanglement_scores(whole, generating)
    with pytest.raises(ValueError, match=r"\(M, 3\) and \(M, 3\)"):
        influence.disentanglement_scores(whole, generating[:, :2], generating)
