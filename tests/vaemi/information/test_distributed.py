"""Over processes: every sample once, and the same information as in one, to rounding."""

import doctest

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch.utils.data import DataLoader, TensorDataset

from vaemi import FactorInformationMetric, InformationSketch, factor_information
from vaemi.information import ShareSampler, distributed

# Numbers of samples: even and odd ones, and fewer than the three processes.
COUNTS = (400, 401, 2)
PROCESSES = 3
FIELDS = ("nats", "stderr", "leave_one_out", "marginal_std")


def samples(count):
    generator = torch.Generator().manual_seed(0)
    mean = 1.5 * torch.randn(count, 3, generator=generator).double()
    return mean, -4 * torch.rand(count, 3, generator=generator).double()


def assert_same(found, expected, tolerance=1e-12):
    for name in FIELDS:
        torch.testing.assert_close(found[name], getattr(expected, name), atol=tolerance, rtol=0)
    assert found["n_samples"] == expected.n_samples


def as_dict(found):
    return {name: getattr(found, name) for name in (*FIELDS, "n_samples")}


def one_of_three(rank, rendezvous, folder):
    # Made before the processes know of each other, as loaders are that Lightning is given.
    data = {count: TensorDataset(*samples(count)) for count in COUNTS}
    loaders = {count: DataLoader(data[count], batch_size=7, sampler=ShareSampler(data[count])) for count in COUNTS}
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=PROCESSES)
    found = {"drawn": {}}
    for count in COUNTS:
        sketch, metric = InformationSketch(3), FactorInformationMetric(3)
        for batch in loaders[count]:
            sketch.update(*batch)
            metric.update(*batch)
        found["drawn"][count] = list(loaders[count].sampler)
        before = sketch.n_samples
        found["sketch", count] = as_dict(sketch.all_gather().compute())
        found["sketch again", count] = as_dict(sketch.all_gather().compute())
        assert sketch.n_samples == before == len(loaders[count].sampler)
        found["metric", count] = as_dict(metric.compute())
        # What comes after is added to the process's own.
        for batch in loaders[count]:
            metric.update(*batch)
        found["metric twice", count] = as_dict(metric.compute())
    # Weighted samples in one process only, and a group of two of the three.
    weighted, pair = InformationSketch(3), torch.distributed.new_group([0, 2])
    mean, log_variance = (part[list(ShareSampler(range(400)))] for part in samples(400))
    weighted.update(mean, log_variance, torch.full((len(mean),), 1.0 + rank) if rank == 1 else None)
    found["weighted"] = as_dict(weighted.all_gather().compute())
    if rank != 1:
        found["pair"] = as_dict(weighted.all_gather(pair).compute())
    try:
        InformationSketch(2 + (rank == 2)).all_gather()
    except ValueError as error:
        found["unlike"] = str(error)
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.barrier()  # gloo of torch 2.2 may hang if a process leaves while others are at work
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What each of three processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(one_of_three, (folder / "rendezvous", folder), nprocs=PROCESSES)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(PROCESSES)]


@pytest.mark.parametrize("count", COUNTS)
def test_every_sample_is_drawn_once(ran, count):
    drawn = [index for found in ran for index in found["drawn"][count]]
    assert sorted(drawn) == list(range(count))
    sizes = [len(found["drawn"][count]) for found in ran]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", ["sketch", "sketch again", "metric"])
def test_processes_equal_one(ran, name, count):
    expected = factor_information(*samples(count))
    for found in ran:
        assert_same(found[name, count], expected)
        # To the last bit, so that all decide alike.
        assert torch.equal(found[name, count]["nats"], ran[0][name, count]["nats"])


@pytest.mark.parametrize("count", COUNTS)
def test_a_metric_goes_on_after_it_was_asked(ran, count):
    expected = factor_information(*(part.repeat(2, 1) for part in samples(count)))
    for found in ran:
        assert_same(found["metric twice", count], expected)


def test_weights_of_one_process_and_groups(ran):
    mean, log_variance = samples(400)
    weight = torch.where(torch.arange(400) % PROCESSES == 1, 2.0, 1.0)
    for found in ran:
        assert_same(found["weighted"], factor_information(mean, log_variance, weight=weight))
    rest = weight == 1
    for rank in (0, 2):
        assert_same(ran[rank]["pair"], factor_information(mean[rest], log_variance[rest]))
    assert "pair" not in ran[1]


def test_sketches_that_differ_are_refused_by_all(ran):
    for found in ran:
        assert "process 0 and process 2 have 2 and 3 factors" in found["unlike"]


def test_alone_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    sketch = InformationSketch(3)
    sketch.update(*samples(50))
    alone = sketch.all_gather()
    assert_same(as_dict(alone.compute()), sketch.compute(), tolerance=0)
    alone.update(*samples(50))
    assert (sketch.n_samples, alone.n_samples) == (50, 100)
    assert_same(as_dict(sketch.compute()), factor_information(*samples(50)))
    assert InformationSketch(3).all_gather().n_samples == 0
    assert list(ShareSampler(range(3))) == [0, 1, 2]


def test_a_launcher_without_a_group_is_not_taken_for_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    assert list(ShareSampler(range(10))) == [1, 5, 9]
    with pytest.raises(RuntimeError, match=r"form no group.*init_process_group"):
        InformationSketch(3).all_gather()


def test_the_docstring_is_true():
    assert doctest.testmod(distributed).failed == 0
