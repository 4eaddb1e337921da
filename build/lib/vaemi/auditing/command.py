"""What `vaemi audit` reads: an encoder from a Python file or module, inputs or posteriors from files."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaemi.auditing.encoder import Audit, AuditError, audit
from vaemi.auditing.files import KINDS, _readable, audit_shards

_INPUTS = ("x", "data", "inputs", "images")


def audited(
    target: str,
    data: Sequence[str],
    *,
    scale: str | None,
    threshold: float,
    batch_size: int,
    device: str | None,
    state: str | None = None,
    processes: int = 1,
) -> tuple[Audit, dict[str, str]]:
    """The audit that the command asks for, and what is to be said of its files.

    Raises
    ------
    AuditError
        If something cannot be found or read, or the audit fails.
    """
    if _names_files(target):
        given = (target, *data)
        files = [path for name in given for path in _posteriors(name)]
        found = audit_shards(files, scale=scale, threshold=threshold, state=state, processes=processes)
        about = {"data": f"{_listed(given)} ({found.n_batches} file(s) counted)"}
        return found, about if state is None else about | {"state": state}
    if not data:
        raise AuditError(f"There are no inputs for {target}: name a file of inputs (.npy, .npz, .pt, .safetensors).")
    if state is not None or processes != 1:
        raise AuditError("--state and --processes are for posteriors in files: save those of the encoder first.")
    encode = load_encoder(target)
    files = [path for name in data for path in _files(Path(name))]
    batches = (batch for path in files for batch in _inputs(path).split(batch_size))
    try:
        found = audit(encode, batches, scale=scale, threshold=threshold, device=device)
    except RuntimeError as error:
        raise AuditError(f"The audit of {target} failed: {' '.join(str(error).split())[:300]}") from error
    return found, {"loaded from": target, "data": f"{_listed(data)} ({len(files)} file(s))"}


def _names_files(target: str) -> bool:
    path = Path(target)
    return path.suffix in KINDS or path.is_dir() or (_is_pattern(target) and ":" not in target)


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[") and not Path(name).exists()


def _posteriors(name: str) -> list[Path]:
    """The files that a name, a folder's name or a pattern stands for."""
    if not _is_pattern(name):
        return _files(Path(name))
    found = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 - of any folder
    files = [path for path in found if path.suffix in KINDS]
    if not files:
        raise AuditError(f"No {', '.join(KINDS)} file matches {name!r}: look at the folder and the pattern.")
    return files


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} ... {names[-1]}"


def load_encoder(target: str) -> Any:
    """What ``FILE.py:name`` or ``package.module:name`` names. This runs the file.

    Raises
    ------
    AuditError
        If it is not of that form, there is no such file, module or name, or running it fails.
    """
    # From the right: a drive letter has a colon, too.
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise AuditError(f"{target!r} is no encoder: give FILE.py:NAME or MODULE:NAME, such as my_vae.py:encode.")
    path = Path(place)
    try:
        if path.suffix == ".py":
            if not path.is_file():
                raise AuditError(f"There is no file {place}: give the path of the Python file with the encoder.")
            print(f"vaemi: running {place}, which may do anything you may do.", file=sys.stderr)
            # As python FILE.py would find what lies beside it.
            sys.path.insert(0, str(path.resolve().parent))
            specification = importlib.util.spec_from_file_location(f"_audited_{path.stem}", path)
            assert specification is not None
            assert specification.loader is not None
            module = importlib.util.module_from_spec(specification)
            # Pickles and dataclasses look their module up.
            sys.modules[specification.name] = module
            specification.loader.exec_module(module)
        else:
            sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(place)
    except AuditError:
        raise
    except Exception as error:
        raise AuditError(
            f"{place} cannot be run: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    if not hasattr(module, name):
        there = [word for word, thing in vars(module).items() if not word.startswith("_") and callable(thing)]
        raise AuditError(f"{place} has no {name}: it has {', '.join(there[:10]) or 'nothing that can be called'}.")
    return getattr(module, name)


def _files(data: Path) -> list[Path]:
    if data.is_dir():
        files = sorted(path for path in data.iterdir() if path.suffix in KINDS and not path.name.startswith("."))
        if not files:
            raise AuditError(
                f"The folder {data} holds no {', '.join(KINDS)} file: put inputs there, first axis inputs."
            )
        return files
    if not data.exists():
        raise AuditError(f"There is no {data}: give a file of inputs or a folder of such files.")
    return [data]


def _inputs(path: Path) -> Tensor:
    arrays = _arrays(path)
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    for name in _INPUTS:
        if name in arrays:
            return arrays[name]
    raise AuditError(f"{path} holds {', '.join(arrays)}: name one of them {' or '.join(_INPUTS)}, or store it alone.")


def _arrays(path: Path) -> dict[str, Tensor]:
    """Tensors of a file by name, without running what it may hold."""
    with _readable(path):
        found = dict(_read(path))
    if not found:
        raise AuditError(f"{path} holds no arrays: give inputs, the first axis of which counts them.")
    if any(tensor.ndim == 0 for tensor in found.values()):
        found = {name: tensor for name, tensor in found.items() if tensor.ndim} or found
    if any(tensor.ndim == 0 or not len(tensor) for tensor in found.values()):
        raise AuditError(f"{path} holds an array without inputs: the first axis must count them.")
    return found


def _read(path: Path) -> Iterator[tuple[str, Tensor]]:
    if path.suffix == ".npy":
        # Mapped, as it may be larger than memory; copy-on-write, as torch wants to be able to write.
        yield "x", torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    elif path.suffix == ".npz":
        # NumPy leaves a file that it opened itself open when it is damaged.
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            yield from (
                (name, torch.from_numpy(np.array(file[name]))) for name in file.files if _is_numeric(file[name])
            )
    elif path.suffix == ".pt":
        with warnings.catch_warnings():
            # Of a file that is refused anyhow, torch says first that it was pickled unusually.
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(loaded, Tensor):
            yield "x", loaded
        elif isinstance(loaded, Mapping):
            yield from ((str(name), value) for name, value in loaded.items() if isinstance(value, Tensor))
    elif path.suffix == ".safetensors":
        from safetensors.torch import load_file

        yield from load_file(path).items()
    else:
        raise AuditError(f"{path} is of no kind that is read: give {', '.join(KINDS)}.")


def _is_numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "fiub"
