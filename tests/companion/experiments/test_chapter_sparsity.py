"""The steps of the sparsity chapter on known cases."""

import math

import pytest
import torch

from companion.experiments.sparsity import compared_with_dimensions, error_by_sector, linear_path
from vaemi.models import LinearVAE

DIMENSIONS = {"circle": 1, "sphere": 2}
SPACES = {"circle": 2, "sphere": 3}


@pytest.mark.parametrize(
    ("counts", "as_dimension", "as_embedding", "fewer_more_still_more"),
    [
        ({"circle": [1, 1], "sphere": [2, 2]}, 4, 0, [0, 0, 0]),
        ({"circle": [2, 2], "sphere": [3, 3]}, 0, 4, [0, 4, 0]),
        ({"circle": [1, 2], "sphere": [2, 4]}, 2, 1, [0, 2, 1]),
        ({"circle": [0, 0], "sphere": [0, 3]}, 0, 1, [3, 1, 0]),
        ({"circle": [0, 0], "sphere": [1, 0]}, 0, 0, [4, 0, 0]),
    ],
)
def test_runs_on_closed_manifolds_are_counted(counts, as_dimension, as_embedding, fewer_more_still_more):
    found = compared_with_dimensions(DIMENSIONS, SPACES, counts)
    assert (found["runs"], found["as_dimension"], found["as_embedding"]) == (4, as_dimension, as_embedding)
    assert [found[name] for name in ("fewer", "more", "still_more")] == fewer_more_still_more


def test_the_linear_path_of_one_direction_is_reverse_water_filling():
    # Level 1 below the eigenvalue 4 and above 0.5: half of log 4 nats for the first, none for the second.
    counts, (objective,) = linear_path([1.0], torch.tensor([4.0, 0.5]).double(), latent_dim=2, sigma=1.0)
    half_log_two_pi = 0.9189385332
    assert counts == [1]
    assert objective == pytest.approx(2 * half_log_two_pi + (1 + 0.5) / 2 + 0.6931471806)


def test_errors_are_averaged_in_their_sectors():
    model = LinearVAE(2, 1)
    with torch.no_grad():
        for parameter in model.parameters():  # the reconstruction is 0
            parameter.zero_()
    angles = torch.tensor([-math.pi, -3.0, -0.1, 0.1, math.pi])
    samples = torch.tensor([[1.0, 1.0], [7.0, 1.0], [2.0, 2.0], [3.0, 4.0], [4.0, 3.0]])
    expected = [((2 + 50) / 4) ** 0.5, 2.0, 12.5**0.5, 12.5**0.5]
    assert error_by_sector(model, samples, angles, sectors=4).tolist() == pytest.approx(expected)
    assert error_by_sector(model, samples[:1], angles[:1], sectors=2).tolist() == pytest.approx([1, 0])
