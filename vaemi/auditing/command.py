"""What `vaemi audit` reads: an encoder from a Python file or module, inputs or posteriors from files."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaemi.auditing.encoder import audit
from vaemi.auditing.files import KINDS, _readable, audit_files
from vaemi.auditing.result import Audit
from vaemi.errors import AuditError, import_extra

_INPUT_KINDS = (".npy", ".npz", ".pt", ".safetensors")
_INPUT_NAMES = ("x", "data", "inputs", "images")


def audit_target(
    target: str,
    data: Sequence[str],
    *,
    scale: str | None = None,
    threshold: float = 0.1,
    batch_size: int = 256,
    device: str | None = None,
    state: str | None = None,
    dask: str | None = None,
) -> tuple[Audit, dict[str, str]]:
    """Audit an encoder on inputs in files, or posteriors in files.

    Parameters
    ----------
    target : str
        ``FILE.py:NAME`` or ``MODULE:NAME`` of an encoder; or a file, folder or pattern of posteriors.
    data : sequence of str
        Files or folders of inputs; or more posteriors.
    scale, threshold, batch_size, device
        See `audit`.
    state : str, optional
        See `audit_files`.
    dask : str, optional
        Address of a Dask scheduler whose workers count the files of posteriors.

    Returns
    -------
    Audit
    dict of str to str
        Where the numbers come from, for the report.

    Raises
    ------
    AuditError
        If something cannot be found or read, or the audit fails.
    """
    if _names_posteriors(target):
        given = [target, *data]
        files = [path for name in given for path in _files(name, KINDS)]
        client = import_extra("distributed", "dask").Client(dask) if dask else nullcontext()
        with client as connected:
            found = audit_files(files, scale=scale, threshold=threshold, state=state, client=connected)
        about = {"data": f"{_listed(given)} ({found.n_batches} file(s) counted)"}
        return found, about if state is None else about | {"state": state}
    if not data:
        raise AuditError(f"There are no inputs for {target}: name a file of inputs ({', '.join(_INPUT_KINDS)}).")
    if state or dask:
        raise AuditError("--state and --dask are for posteriors in files: save those of the encoder first.")
    encode = load_encoder(target)
    files = [path for name in data for path in _files(name, _INPUT_KINDS)]
    batches = (batch for path in files for batch in _inputs(path).split(batch_size))
    try:
        found = audit(encode, batches, scale=scale, threshold=threshold, device=device)
    except RuntimeError as error:
        raise AuditError(f"The audit of {target} failed: {' '.join(str(error).split())[:300]}") from error
    return found, {"loaded from": target, "data": f"{_listed(data)} ({len(files)} file(s))"}


def load_encoder(target: str) -> Any:
    """Return the object that ``FILE.py:NAME`` or ``MODULE:NAME`` names. This runs the file.

    Raises
    ------
    AuditError
        If the target is not of that form, there is no such file, module or name, or running it fails.
    """
    # A drive letter has a colon too, so split at the last one.
    place, _, name = target.rpartition(":")
    if not place or not name.isidentifier():
        raise AuditError(
            f"{target!r} is not an encoder: write FILE.py:NAME or MODULE:NAME, such as my_vae.py:encode; posteriors "
            f"are {' or '.join(KINDS)} files."
        )
    if place.endswith(".py") and not Path(place).is_file():
        raise AuditError(f"There is no file {place}: give the path of the Python file with the encoder.")
    try:
        module = _module_of_file(Path(place)) if place.endswith(".py") else _module_from_here(place)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise AuditError(f"{place} cannot be run: {type(error).__name__}: {reason}") from error
    if not hasattr(module, name):
        names = [word for word, thing in vars(module).items() if not word.startswith("_") and callable(thing)]
        raise AuditError(f"{place} has no {name}: it has {', '.join(names[:10]) or 'nothing that can be called'}.")
    return getattr(module, name)


def _module_of_file(path: Path) -> ModuleType:
    print(f"vaemi: running {path}, which may do anything you may do.", file=sys.stderr)
    # As with `python FILE.py`, imports find the modules beside the file.
    sys.path.insert(0, str(path.resolve().parent))
    specification = importlib.util.spec_from_file_location(f"_audited_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # pickles and dataclasses look it up
    specification.loader.exec_module(module)
    return module


def _module_from_here(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _names_posteriors(target: str) -> bool:
    path = Path(target)
    return path.suffix in _INPUT_KINDS or path.is_dir() or (_is_pattern(target) and ":" not in target)


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[") and not Path(name).exists()


def _files(name: str, kinds: tuple[str, ...]) -> list[Path]:
    """Return the files that a name, the name of a folder, or a pattern stands for."""
    path = Path(name)
    if _is_pattern(name):
        found = [Path(match) for match in glob.glob(name, recursive=True)]  # noqa: PTH207 - may be absolute
    elif path.is_dir():
        found = [file for file in path.iterdir() if not file.name.startswith(".")]
    elif path.exists():
        return [path]
    else:
        raise AuditError(f"There is no {name}: name a file, a folder or a pattern in quotes.")
    files = sorted(file for file in found if file.suffix in kinds)
    if not files:
        raise AuditError(f"{name} holds or matches no {', '.join(kinds)} file: look at the folder and the pattern.")
    return files


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} ... {names[-1]}"


def _inputs(path: Path) -> Tensor:
    with _readable(path):
        arrays = dict(_read(path))
    if not arrays:
        raise AuditError(f"{path} holds no arrays: it must hold inputs, whose first axis counts them.")
    name = next(iter(arrays)) if len(arrays) == 1 else next((name for name in _INPUT_NAMES if name in arrays), None)
    if name is None:
        raise AuditError(f"{path} holds {', '.join(arrays)}: name the inputs {' or '.join(_INPUT_NAMES)}.")
    if arrays[name].ndim == 0 or not len(arrays[name]):
        raise AuditError(f"{path} holds an array without inputs: the first axis must count them.")
    return arrays[name]


def _read(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the arrays of numbers in a file, without running code that it may contain."""
    if path.suffix == ".npy":
        # Mapped, as it may be larger than memory; copy-on-write, as torch warns of arrays that are read-only.
        yield "x", torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    elif path.suffix == ".npz":
        # Opened here, as NumPy leaves a damaged file open that it opened itself.
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            for name in file.files:
                if (array := file[name]).dtype.kind in "fiub":
                    yield name, torch.from_numpy(array)
    elif path.suffix == ".pt":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of an unusual pickle before it refuses it
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        named = loaded if isinstance(loaded, Mapping) else {"x": loaded}
        yield from ((str(name), value) for name, value in named.items() if isinstance(value, Tensor))
    elif path.suffix == ".safetensors":
        yield from import_extra("safetensors.torch", "audit").load_file(path).items()
    else:
        raise AuditError(f"{path} cannot be read as inputs: use {', '.join(_INPUT_KINDS)} files.")
