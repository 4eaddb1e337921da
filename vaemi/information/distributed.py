"""Evaluation in several processes: a sampler that repeats nothing, and the reduction of sketches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DistributedSampler

from .lattice import LATTICES

_TYPES = (torch.int64, torch.float64, torch.float32)


class ShareSampler(DistributedSampler):
    """A sampler for evaluation in several processes: each takes every n-th sample, and no sample is repeated.

    PyTorch's `DistributedSampler` repeats or drops samples so that all processes have as many, which changes the
    estimate. Lightning adds that one by itself, and leaves this one alone.

    Parameters
    ----------
    dataset : sized
        What the loader reads; only its length is used.
    rank, world_size : int, optional
        Number of this process, from 0, and of all. By default those of torch.distributed where a process group is
        running, else those that a launcher such as ``torchrun`` left in ``$RANK`` and ``$WORLD_SIZE``, else 0 of 1.
        They are looked up when the samples are read, since a loader may be made before the process group.

    Notes
    -----
    Processes may have one batch more or less than others. Operations that synchronize every batch, such as training or
    ``sync_dist=True`` for numbers logged at each step, need equal numbers.

    Examples
    --------
    >>> from vaemi.information import ShareSampler
    >>> [list(ShareSampler(range(5), rank, 2)) for rank in range(2)]
    [[0, 2, 4], [1, 3]]
    """

    def __init__(self, dataset: Sized, rank: int | None = None, world_size: int | None = None) -> None:
        # Not the base class's __init__, which needs the process group now.
        self.dataset = dataset  # type: ignore[assignment]
        self.epoch = 0
        self._given = rank, world_size

    def __iter__(self) -> Iterator[int]:
        return iter(self._share)

    def __len__(self) -> int:
        return len(self._share)

    @property
    def _share(self) -> range:
        rank, world_size = self._given
        if rank is None or world_size is None:
            if _running():
                rank, world_size = dist.get_rank(), dist.get_world_size()
            elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
                rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            else:
                rank, world_size = 0, 1
        return range(rank, len(self.dataset), world_size)  # type: ignore[arg-type]


def gathered(state: Mapping[str, Tensor], n_factors: int, precision: str, group: Any) -> Iterator[Mapping[str, Tensor]]:
    """Yield the states of all processes in their order, one at a time; alone, the given one."""
    if not _running():
        if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            raise RuntimeError(
                f"$WORLD_SIZE is {processes}, but the processes form no group: call "
                "torch.distributed.init_process_group first."
            )
        yield state
        return
    # NCCL uses the current GPU only; a state that is still empty lies on the CPU.
    device = torch.device("cuda", torch.cuda.current_device()) if "nccl" in dist.get_backend(group) else "cpu"
    own = {name: tensor.to(device).contiguous() for name, tensor in state.items()}
    types = [_TYPES.index(tensor.dtype) for tensor in own.values()]
    sizes = [size for tensor in own.values() for size in tensor.shape]
    here = torch.tensor([n_factors, sorted(LATTICES).index(precision), *types, *sizes], device=device)
    everywhere = [torch.empty_like(here) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everywhere, here, group=group)
    rows = [row.tolist() for row in everywhere]
    for rank, row in enumerate(rows):
        if row[:2] != rows[0][:2]:
            raise ValueError(
                f"The sketches of process 0 and process {rank} have {rows[0][0]} and {row[0]} factors, at precision "
                f"{sorted(LATTICES)[rows[0][1]]!r} and {sorted(LATTICES)[row[1]]!r}: make all alike."
            )
    # One after the other, so that a process holds only one other state at a time.
    for rank, row in enumerate(rows):
        types, sizes = row[2 : 2 + len(own)], row[2 + len(own) :]
        received = {}
        for (name, tensor), kind in zip(own.items(), types, strict=True):
            shape, sizes = sizes[: tensor.ndim], sizes[tensor.ndim :]
            is_own = rank == dist.get_rank(group)
            received[name] = tensor if is_own else torch.empty(shape, dtype=_TYPES[kind], device=device)
            if received[name].numel():
                source = rank if group is None else dist.get_global_rank(group, rank)
                dist.broadcast(received[name], source, group=group)
        yield received


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()
