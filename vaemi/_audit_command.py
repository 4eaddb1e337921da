"""What `vaemi audit` reads: an encoder from a Python file or module, inputs or posteriors from files."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaemi.auditing import SCALES, Audit, AuditError, audit

_KINDS = (".npy", ".npz", ".pt", ".safetensors")
_INPUTS = ("x", "data", "inputs", "images")


def audited(
    target: str, data: str | None, *, scale: str | None, threshold: float, batch_size: int, device: str | None
) -> tuple[Audit, dict[str, str]]:
    """The audit that the command asks for, and what is to be said of its files.

    Raises
    ------
    AuditError
        If something cannot be found or read, or the audit fails.
    """
    if Path(target).suffix in _KINDS and data is None:
        return _of_posteriors(Path(target), scale, threshold, batch_size)
    if data is None:
        raise AuditError(f"There are no inputs for {target}: name a file of inputs (.npy, .npz, .pt, .safetensors).")
    encode = load_encoder(target)
    files = _files(Path(data))
    batches = (batch for path in files for batch in _inputs(path).split(batch_size))
    try:
        found = audit(encode, batches, scale=scale, threshold=threshold, device=device)
    except RuntimeError as error:
        raise AuditError(f"The audit of {target} failed: {' '.join(str(error).split())[:300]}") from error
    return found, {"loaded from": target, "data": f"{data} ({len(files)} file(s))"}


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


def _of_posteriors(path: Path, scale: str | None, threshold: float, batch_size: int) -> tuple[Audit, dict[str, str]]:
    arrays = _arrays(path)
    second = next((name for name in SCALES if name in arrays), None)
    if "mean" not in arrays or second is None:
        raise AuditError(
            f"{path} holds {', '.join(arrays)}: posteriors are arrays named mean and log_variance (or variance, std, "
            "log_std); for inputs name the encoder first."
        )
    if scale is not None and scale != second:
        raise AuditError(
            f"{path} names its second array {second}, and --scale says {scale}: rename it or leave that out."
        )
    parts = [arrays[name].split(batch_size) for name in ("mean", second)]
    if arrays["mean"].shape != arrays[second].shape:
        shapes = f"{tuple(arrays['mean'].shape)} and {tuple(arrays[second].shape)}"
        raise AuditError(f"{path} holds mean and {second} of shapes {shapes}: they must be the same.")

    def posteriors(pair: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"mean": pair[0], second: pair[1]}

    found = audit(posteriors, zip(*parts, strict=True), threshold=threshold, whole_batch=True)
    return found, {"data": str(path)}


def _files(data: Path) -> list[Path]:
    if data.is_dir():
        files = sorted(path for path in data.iterdir() if path.suffix in _KINDS and not path.name.startswith("."))
        if not files:
            raise AuditError(
                f"The folder {data} holds no {', '.join(_KINDS)} file: put inputs there, first axis inputs."
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
    try:
        found = dict(_read(path))
    except AuditError:
        raise
    except (
        ValueError,
        TypeError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        _safetensors_error(),
    ) as error:
        raise AuditError(
            f"{path} cannot be read as arrays of numbers (damaged, or it holds objects, which are not loaded): "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
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
        raise AuditError(f"{path} is of no kind that is read: give {', '.join(_KINDS)}.")


def _is_numeric(array: np.ndarray) -> bool:
    return array.dtype.kind in "fiub"


def _safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError
