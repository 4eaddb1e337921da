"""Samples shared out over processes so that each is seen once, and what the processes gathered brought together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sized
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler

from .lattice import LATTICES
from .spreading import Blocks


def share(n_samples: int, rank: int | None = None, world_size: int | None = None) -> range:
    """The samples that one of several processes takes: one of every so many, none twice and none left out.

    Parameters
    ----------
    n_samples : int
        N, of all processes together.
    rank, world_size : int, optional
        Number of this process from 0, and of all. If left out, those of torch.distributed where a process group is
        running, else those that a launcher such as ``torchrun`` left in ``$RANK`` and ``$WORLD_SIZE``, else 0 of 1.

    Returns
    -------
    range
        Indices from 0 to N - 1. With more processes than samples some are empty.

    Raises
    ------
    ValueError
        If there is no such rank, or only one of the two is given.

    Examples
    --------
    >>> [list(share(5, rank, 2)) for rank in range(2)]
    [[0, 2, 4], [1, 3]]
    """
    rank, world_size = _place(rank, world_size)
    return range(rank, n_samples, world_size)


class ShareSampler(DistributedSampler):
    """A sampler for evaluation over processes: each takes its `share`, and no sample is repeated.

    PyTorch's `DistributedSampler` repeats samples until all processes have as many, or drops some; either makes another
    estimate. Lightning puts that one in by itself, and leaves this one alone.

    Parameters
    ----------
    dataset : sized
        What the loader reads; only its length is asked.
    rank, world_size : int, optional
        As of `share`, asked when the samples are: a loader may be made before the processes are.

    Notes
    -----
    Processes may have one batch more or less than others. What makes them wait for each other in every batch, such as
    training, or ``sync_dist=True`` for numbers logged at each step, needs as many in all.
    """

    def __init__(self, dataset: Sized, rank: int | None = None, world_size: int | None = None) -> None:
        # Not that of the class above, which wants to know the processes now.
        self.dataset = dataset  # type: ignore[assignment]
        self.epoch = 0
        self._given = rank, world_size

    def __iter__(self) -> Iterator[int]:
        return iter(self._share)

    def __len__(self) -> int:
        return len(self._share)

    @property
    def _share(self) -> range:
        return share(len(self.dataset), *self._given)  # type: ignore[arg-type]


def gathered(
    blocks: Blocks, n_samples: int, n_factors: int, precision: str, group: Any
) -> Iterator[tuple[Blocks, int]]:
    """The states of all processes in their order, one at a time; alone, the one given.

    Raises
    ------
    RuntimeError
        If a launcher started several processes, and there is no process group.
    ValueError
        If they differ in number of factors or precision.
    """
    if not _running():
        if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            raise RuntimeError(
                f"$WORLD_SIZE says that there are {processes} processes, and they form no group: call "
                "torch.distributed.init_process_group first."
            )
        yield blocks, n_samples
        return
    # NCCL knows only the GPU that it was told; the state may still be empty, and then on the CPU.
    device = torch.device("cuda", torch.cuda.current_device()) if "nccl" in dist.get_backend(group) else "cpu"
    own = blocks.to(device)
    about = [n_factors, sorted(LATTICES).index(precision), n_samples, *own.values.shape]
    here = torch.tensor(about, device=device)
    everywhere = [torch.empty_like(here) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everywhere, here, group=group)
    rows = [row.tolist() for row in everywhere]
    for rank, row in enumerate(rows):
        if row[:2] != rows[0][:2]:
            raise ValueError(
                f"The sketches of process 0 and process {rank} have {rows[0][0]} and {row[0]} factors, at precision "
                f"{sorted(LATTICES)[rows[0][1]]!r} and {sorted(LATTICES)[row[1]]!r}: make all alike."
            )
    # One after the other, so that no process holds more than one state of another.
    for rank, (_, _, count, *shape) in enumerate(rows):
        is_own = rank == dist.get_rank(group)
        keys = own.keys if is_own else torch.empty(shape[0], dtype=torch.int64, device=device)
        values = own.values.contiguous() if is_own else torch.empty(shape, dtype=torch.float64, device=device)
        if shape[0]:
            source = rank if group is None else dist.get_global_rank(group, rank)
            dist.broadcast(keys, source, group=group)
            dist.broadcast(values, source, group=group)
        yield Blocks(keys, values), count


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise ValueError(f"rank is {rank} and world_size {world_size}: give both or neither.")
    if rank is None or world_size is None:
        if _running():
            rank, world_size = dist.get_rank(), dist.get_world_size()
        elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        else:
            rank, world_size = 0, 1
    if not 0 <= rank < world_size:
        raise ValueError(f"rank is {rank} of {world_size} processes: give a number from 0 to {world_size - 1}.")
    return rank, world_size
