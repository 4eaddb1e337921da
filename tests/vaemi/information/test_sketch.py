"""One pass, any partition, any order, on disk and back."""

import doctest
import math

import pytest
import torch

from vaemi import FactorInformation, InformationSketch, factor_information
from vaemi.information import sketch as sketch_module
from vaemi.information import standard_error

FIELDS = ("nats", "stderr", "marginal_std", "leave_one_out")


def samples(count=3000, seed=0):
    """Three factors: bimodal with sigma from 1e-3 to 1, heavy-tailed, ignored."""
    generator = torch.Generator().manual_seed(seed)
    normal, uniform = (make(count, 3, generator=generator).double() for make in (torch.randn, torch.rand))
    mean = torch.stack([normal[:, 0].sign() + 0.1 * normal[:, 1], normal[:, 1] ** 3, 0.01 * normal[:, 2]], 1)
    log_sigma = torch.stack([-7 * uniform[:, 0], -2 * uniform[:, 1], 0.02 * uniform[:, 2]], 1)
    return mean, 2 * log_sigma


def assert_same(one: FactorInformation, other: FactorInformation, tolerance=1e-12):
    for name in FIELDS:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=tolerance, rtol=0)
    assert one.n_samples == other.n_samples


@pytest.mark.parametrize("precision", ["default", "high"])
def test_batches_and_merged_shards_equal_one_pass(precision):
    mean, log_variance = samples()
    expected = factor_information(mean, log_variance, precision=precision)
    batches = InformationSketch(3, precision)
    for part in zip(mean.split(7), log_variance.split(7), strict=True):
        batches.update(*part)
    assert_same(batches.compute(), expected)

    shards = []
    for part in zip(mean.split(700), log_variance.split(700), strict=True):
        shards.append(InformationSketch(3, precision))
        shards[-1].update(*part)
    for order in ([4, 0, 3, 1, 2], [1, 2, 0, 4, 3]):
        merged = InformationSketch(3, precision)
        for index in order:
            merged.merge(shards[index])
        assert_same(merged.compute(), expected)


def test_weighted_and_unweighted_parts_mix():
    mean, log_variance = samples(1000)
    weight = torch.rand(500, generator=torch.Generator().manual_seed(1)).double()
    expected = factor_information(mean, log_variance, weight=torch.cat([weight, torch.ones(500)]))
    first, second = InformationSketch(3), InformationSketch(3)
    first.update(mean[:500], log_variance[:500], weight)
    second.update(mean[500:], log_variance[500:])
    for one, other in ((first, second), (second, first)):
        merged = InformationSketch(3)
        merged.merge(one)
        merged.merge(other)
        assert_same(merged.compute(), expected)


def test_samples_wait_and_are_spread_when_that_saves_memory():
    mean, log_variance = samples(30_000)
    log_variance = log_variance.clamp_min(-6)
    expected = factor_information(mean, log_variance)
    sketch = InformationSketch(3)
    for part in zip(mean.split(256), log_variance.split(256), strict=True):
        sketch.update(*part)
    assert len(sketch.blocks.keys)
    assert 0 < len(sketch.waiting.mean) < 30_000
    assert sketch.nbytes < mean.nbytes + log_variance.nbytes
    assert_same(sketch.compute(), expected)
    torch.testing.assert_close(sketch.divergences(mean, log_variance).mean(0), expected.nats, atol=1e-9, rtol=0)
    again = InformationSketch(3)
    again.load_state_dict(sketch.state_dict())
    again.merge(InformationSketch(3))
    assert_same(again.compute(), sketch.compute(), tolerance=0)
    again.merge(sketch)
    assert_same(again.compute(), factor_information(mean.repeat(2, 1), log_variance.repeat(2, 1)))
    weighted = InformationSketch(3)
    weighted.update(mean, log_variance, torch.full((30_000,), 2.0))
    weighted.merge(sketch)
    weight = torch.cat([torch.full((30_000,), 2.0), torch.ones(30_000)])
    twice = mean.repeat(2, 1), log_variance.repeat(2, 1)
    assert_same(weighted.compute(), factor_information(*twice, weight=weight))


def test_samples_that_wait_are_copies():
    sketch, mean, log_variance = InformationSketch(1), torch.tensor([[-5.0], [5.0]]), torch.zeros(2, 1)
    sketch.update(mean, log_variance)
    mean.zero_()
    assert float(sketch.compute().nats[0]) == pytest.approx(math.log(2), abs=1e-4)


def test_memory_does_not_grow_with_the_number_of_samples():
    sketch = InformationSketch(3)
    sizes, spread = [], []
    for seed in range(8):
        for part in zip(*(rows.split(1000) for rows in samples(20_000, seed)), strict=True):
            sketch.update(part[0].clamp(-3, 3), part[1].clamp_min(-6))
            sizes.append(sketch.nbytes)
        spread.append(sketch.blocks.nbytes)
    assert spread[-1] < 1.05 * spread[3]
    assert max(sizes) < max(3.1 * spread[-1], 2**20 + spread[-1])
    assert sketch.n_samples == sketch.n_kept == 160_000


def far_apart(count, n_factors, dtype=torch.float32):
    """Posteriors a thousand sigma apart in every factor: the information is the entropy of the samples, log M."""
    orders = torch.stack([torch.arange(count).roll(shift) for shift in range(n_factors)], 1)
    mean = 0.1 * (orders - count / 2).to(dtype)
    return mean, torch.full_like(mean, 2 * math.log(1e-4))


def test_posteriors_far_apart_take_the_memory_of_the_samples():
    sketch = InformationSketch(128)
    for part in zip(*(rows.split(8) for rows in far_apart(64, 128)), strict=True):
        sketch.update(*part)
    assert sketch.nbytes < 70_000  # on the lattice it would be 20 MB
    found = sketch.compute()
    torch.testing.assert_close(found.nats, torch.full((128,), math.log(64)).double(), atol=2e-7, rtol=0)
    mean, log_variance = far_apart(64, 128)
    torch.testing.assert_close(sketch.divergences(mean, log_variance).mean(0), found.nats, atol=1e-9, rtol=0)


def test_where_nothing_else_fits_an_even_sample_stands_for_all():
    sketch, other = (InformationSketch(16, max_bytes=2**18) for _ in range(2))
    mean, log_variance = far_apart(8000, 16)
    for part in zip(mean.split(100), log_variance.split(100), strict=True):
        sketch.update(*part)
    other.update(mean + 1e4, log_variance)
    for made in (sketch, other):
        assert made.n_samples == 8000
        assert 400 <= made.n_kept < 1000
        assert made.nbytes <= 2**17
        found = made.compute()
        assert found.n_samples == made.n_kept
        torch.testing.assert_close(found.nats, torch.full((16,), math.log(made.n_kept)).double(), atol=1e-3, rtol=0)
    first, second = sketch.n_kept, other.n_kept
    sketch.merge(other)
    assert sketch.n_samples == 16_000
    assert sketch.n_kept <= first + second
    torch.testing.assert_close(sketch.waiting.weight.sum(), torch.tensor(16_000.0).double(), atol=200, rtol=0)
    # Half of the samples lie on either side, and both halves keep their share.
    right = sketch.waiting.mean[:, 0] > 5e3
    assert float(sketch.waiting.weight[right].sum()) == pytest.approx(8000, abs=200)


def test_an_even_sample_of_wide_posteriors_measures_all():
    # Means of +-1 alternate slowly, so every second, fourth, ... sample is as good as all: log 2 minus the overlap.
    sketch = InformationSketch(1, max_bytes=3000)
    mean = torch.arange(20_000).div(1000, rounding_mode="floor").remainder(2).mul(200).sub(100).float()[:, None]
    for part in mean.split(1000):
        sketch.update(part + torch.linspace(-1e-3, 1e-3, len(part))[:, None], torch.zeros_like(part))
    assert sketch.nbytes <= 6000
    assert float(sketch.compute().nats[0]) == pytest.approx(math.log(2), abs=0.01)


def test_saved_and_loaded(tmp_path):
    sketch = InformationSketch(3, "high")
    sketch.update(*samples())
    sketch.save(tmp_path / "shard.safetensors")
    loaded = InformationSketch.load(tmp_path / "shard.safetensors")
    assert_same(loaded.compute(), sketch.compute(), tolerance=0)
    loaded.merge(sketch)
    assert (loaded.precision, loaded.n_samples) == ("high", 6000)
    assert [path.name for path in tmp_path.iterdir()] == ["shard.safetensors"]


def test_a_foreign_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"keys": torch.zeros(1)}, tmp_path / "shard.safetensors")
    with pytest.raises(ValueError, match=r"shard\.safetensors is not a saved InformationSketch"):
        InformationSketch.load(tmp_path / "shard.safetensors")


def test_a_truncated_file_is_refused(tmp_path):
    sketch = InformationSketch(3)
    sketch.update(*samples())
    path = tmp_path / "shard.safetensors"
    sketch.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        InformationSketch.load(path)


def test_a_file_whose_parts_were_renamed_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "shard.safetensors"
    sketch = InformationSketch(3)
    sketch.update(*samples())
    sketch.save(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    renamed = {"valves" if name == "values" else name: tensor for name, tensor in tensors.items()}
    for held, said in ((tensors, {**about, "n_factors": "2"}), (renamed, about)):
        save_file(held, path, said)
        with pytest.raises(ValueError, match=r"shard\.safetensors is damaged: its checksum"):
            InformationSketch.load(path)


def test_a_file_with_another_byte_is_refused(tmp_path):
    # A mean that became NaN would be spread outside the lattice.
    sketch = InformationSketch(3)
    sketch.update(*samples())
    path = tmp_path / "shard.safetensors"
    sketch.save(path)
    content = path.read_bytes()
    for place in range(8 + int.from_bytes(content[:8], "little"), len(content), len(content) // 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x7F]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"shard\.safetensors is damaged: its checksum"):
            InformationSketch.load(path)


def test_a_failed_save_keeps_the_earlier_file(tmp_path, monkeypatch):
    sketch = InformationSketch(3)
    sketch.update(*samples())
    path = tmp_path / "shard.safetensors"
    sketch.save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        sketch.save(path)
    assert path.read_bytes() == before


def test_divergences_of_the_gathered_samples_average_to_the_information():
    mean, log_variance = samples()
    sketch = InformationSketch(3)
    sketch.update(mean, log_variance)
    kl = sketch.divergences(mean, log_variance)
    found = sketch.compute()
    torch.testing.assert_close(kl.mean(0), found.nats, atol=1e-9, rtol=0)
    torch.testing.assert_close(standard_error(kl), found.stderr, atol=1e-6, rtol=0)


def test_one_evaluation_gives_the_information_and_the_divergences_of_some_samples():
    mean, log_variance = samples()
    sketch = InformationSketch(3)
    sketch.update(mean, log_variance)
    found, kl = sketch.compute_with_divergences(mean[::7], log_variance[::7])
    assert_same(found, sketch.compute(), tolerance=0)
    torch.testing.assert_close(kl, sketch.divergences(mean[::7], log_variance[::7]), atol=0, rtol=0)
    with pytest.raises(ValueError, match="0 samples"):
        InformationSketch(3).compute_with_divergences(mean, log_variance)


def test_divergences_of_other_samples_are_those_of_a_known_density():
    # 20,000 quantiles of N(0, 1 - s^2) with sigma s make q(z) all but N(0, 1).
    sigma = 0.3
    levels = torch.special.ndtri((torch.arange(20_000).double() + 0.5) / 20_000)
    sketch = InformationSketch(1)
    sketch.update(math.sqrt(1 - sigma**2) * levels[:, None], torch.full((20_000, 1), 2 * math.log(sigma)))
    mean, std = torch.tensor([[0.0], [1.0], [-1.5]]).double(), torch.tensor([[1.0], [0.2], [0.03]]).double()
    expected = 0.5 * (mean.square() + std.square() - 1) - std.log()
    torch.testing.assert_close(sketch.divergences(mean, 2 * std.log()), expected, atol=2e-3, rtol=0)


def test_divergences_where_nothing_was_gathered_are_large_and_finite():
    sketch = InformationSketch(1)
    sketch.update([[0.0], [1.0]], [[0.0], [0.0]])
    assert float(sketch.divergences([[1e6]], [[-10.0]])) > 600


def test_a_batch_that_is_refused_changes_nothing():
    sketch = InformationSketch(2)
    sketch.update([[0.0, 1.0], [1.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]])
    before = sketch.compute()
    for mean, log_variance, words in (
        ([[0.0, math.nan]], [[0.0, 0.0]], "nan"),
        ([[0.0]], [[0.0]], "1 factors and the sketch has 2"),
        (torch.empty(0, 2), torch.empty(0, 2), "0 sample"),
    ):
        with pytest.raises(ValueError, match=words):
            sketch.update(mean, log_variance)
    with pytest.raises(ValueError, match="weight holds -1 at sample 1"):
        sketch.update([[0.0, 1.0], [1.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]], weight=[1.0, -1.0])
    assert_same(sketch.compute(), before, tolerance=0)


def test_sketches_that_do_not_fit_are_not_merged():
    large = InformationSketch(2)
    large.update(torch.randn(100_000, 2), torch.full((100_000, 2), -6.0))
    small = InformationSketch(2, max_bytes=large.nbytes // 2)
    small.update(torch.randn(2, 2), torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"would take .* bytes and max_bytes is"):
        small.merge(large)
    assert small.n_samples == 2
    for other in (InformationSketch(3), InformationSketch(2, "high")):
        with pytest.raises(ValueError, match="cannot be merged"):
            InformationSketch(2).merge(other)


@pytest.mark.parametrize(
    ("arguments", "words"), [((0,), "n_factors is 0"), ((3, "best"), "'default', 'high'"), ((2**30,), "n_factors")]
)
def test_impossible_sketches(arguments, words):
    with pytest.raises(ValueError, match=words):
        InformationSketch(*arguments)


def test_one_sample_is_not_enough_to_compute():
    sketch = InformationSketch(1)
    with pytest.raises(ValueError, match="0 samples"):
        sketch.compute()
    with pytest.raises(ValueError, match="no samples"):
        sketch.divergences([[0.0]], [[0.0]])
    sketch.update([[0.0]], [[0.0]])
    with pytest.raises(ValueError, match=r"1 sample\b"):
        sketch.compute()


def test_the_docstring_is_true():
    assert doctest.testmod(sketch_module).failed == 0
    assert "3 factors" in repr(InformationSketch(3))
