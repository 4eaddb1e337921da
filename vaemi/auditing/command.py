"""What `vaemi audit` reads: an encoder from a Python file or module, inputs or posteriors from files."""

from __future__ import annotations

import glob
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaemi._files import atomic_write
from vaemi._version import __version__
from vaemi.auditing.encoder import audit
from vaemi.auditing.files import KINDS, _readable, audit_files, npz_arrays
from vaemi.auditing.result import Audit
from vaemi.errors import AuditError, import_extra
from vaemi.information.words import counted

_INPUT_KINDS = (".npy", ".npz", ".pt", ".safetensors")
#: The name that stands for standard output.
STANDARD_OUTPUT = Path("-")
_INPUT_NAMES = ("x", "data", "inputs", "images")


def audit_target(
    target: str,
    data: Sequence[str],
    *,
    scale: str | None,
    threshold: float,
    batch_size: int,
    device: str | None,
    state: str | None,
    dask: str | None,
    decode: str | None,
    no_decode: bool,
    channel_axis: int | None,
    kl: float | None,
    max_bytes: int,
) -> tuple[Audit, dict[str, str]]:
    """Audit an encoder on inputs in files, or posteriors in files; return also where the numbers come from."""
    if Path(target).suffix in _INPUT_KINDS or Path(target).is_dir() or (":" not in target and _is_pattern(target)):
        if decode:
            raise AuditError("--decode is for encoders: files of posteriors have no inputs to decode.")
        if channel_axis is not None or device is not None:
            raise AuditError("--channel-axis and --device are for encoders, not for files of posteriors.")
        given = [target, *data]
        files = [path for name in given for path in _files(name, KINDS)]
        client = import_extra("distributed", "dask").Client(dask) if dask else nullcontext()
        with client as connected:
            found = audit_files(
                files, scale=scale, threshold=threshold, state=state, client=connected, kl=kl, max_bytes=max_bytes
            )
        about = {"data": f"{_listed(given)} ({counted(found.n_batches, 'file')} counted)"}
        return found, about if state is None else about | {"state": state}
    if not data:
        raise AuditError(f"There are no inputs for {target}: name a file of inputs ({', '.join(_INPUT_KINDS)}).")
    if decode and no_decode:
        raise AuditError("--decode and --no-decode contradict each other: leave one of them out.")
    if state or dask:
        raise AuditError("--state and --dask are for posteriors in files: save the posteriors of the encoder first.")
    encode = load_encoder(target)
    files = [path for name in data for path in _files(name, _INPUT_KINDS)]
    batches = (batch for path in files for batch in _inputs(path).split(batch_size))
    try:
        decoder = load_encoder(decode) if decode else False if no_decode else None
        found = audit(
            encode,
            batches,
            scale=scale,
            threshold=threshold,
            device=device,
            decode=decoder,
            channel_axis=channel_axis,
            kl=kl,
            max_bytes=max_bytes,
        )
    except RuntimeError as error:
        raise AuditError(f"The audit of {target} failed: {' '.join(str(error).split())[:300]}") from error
    return found, {"loaded from": target, "data": f"{_listed(data)} ({counted(len(files), 'file')})"}


def load_encoder(target: str) -> Any:
    """Return the object that ``FILE.py:NAME`` or ``MODULE:NAME`` names. This runs the file."""
    # A drive letter has a colon too, so split at the last one.
    place, _, name = target.rpartition(":")
    if not place or not name.isidentifier():
        raise AuditError(
            f"{target!r} is not an encoder: write FILE.py:NAME or MODULE:NAME, such as my_vae.py:encode; posteriors "
            f"are {' or '.join(KINDS)} files."
        )
    folder, module_name = Path.cwd(), place
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise AuditError(f"There is no file {place}: give the path of the Python file with the encoder.")
        folder, module_name = Path(place).resolve().parent, Path(place).stem
        print(f"vaemi: running {place}, which may do anything you may do.", file=sys.stderr)
    # As with `python FILE.py`, imports find the modules beside the file, and no arguments are for it.
    sys.path.insert(0, str(folder))
    arguments, sys.argv = sys.argv, [place]
    try:
        module = importlib.import_module(module_name)
    except SystemExit as stop:
        raise AuditError(
            f"{place} ended when it was run (exit status {stop.code or 0}): put code that parses arguments or calls "
            'sys.exit under `if __name__ == "__main__":`.'
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise AuditError(f"{place} cannot be run: {type(error).__name__}: {reason}") from error
    finally:
        sys.argv = arguments
    if not hasattr(module, name):
        names = [word for word, thing in vars(module).items() if not word.startswith("_") and callable(thing)]
        raise AuditError(f"{place} has no {name}: it has {', '.join(names[:10]) or 'nothing that can be called'}.")
    return getattr(module, name)


def check_writable(*paths: Path | None) -> None:
    """Raise an AuditError if a report cannot be written where it should, before the work that it reports."""
    for path in paths:
        if path is None or path == STANDARD_OUTPUT:
            continue
        if path.is_dir():
            raise AuditError(f"{path} is a folder: name a file in it, such as {path / 'report.html'}.")
        if not path.parent.is_dir():
            raise AuditError(f"There is no folder {path.parent} for {path.name}: create it first.")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise AuditError(f"{path} cannot be written: choose a place where you may write.")


def as_json(audit: Audit, about: Mapping[str, str]) -> str:
    """Return everything that an audit found as JSON."""
    return json.dumps({"vaemi": __version__, **about, **audit.to_dict()}, indent=1, allow_nan=False) + "\n"


def as_csv(audit: Audit) -> str:
    """Return the table of an audit with all criteria as CSV."""
    return audit.to_frame(all_criteria=True).to_csv(index=False)


def write_text(text: str, path: Path) -> None:
    """Write a text to a file, which is replaced if it exists, or to standard output for ``-``."""
    if path == STANDARD_OUTPUT:
        sys.stdout.write(text)
        return
    with atomic_write(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


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
        raise AuditError(f"{name} holds or matches no {', '.join(kinds)} file: check the folder or the pattern.")
    return files


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} ... {names[-1]}"


def _inputs(path: Path) -> Tensor:
    """Read the inputs in a file, without running code that it may contain."""
    with _readable(path):
        if path.suffix == ".npy":
            # Mapped, as it may be larger than memory; copy-on-write, as torch warns of arrays that are read-only.
            arrays: Any = np.load(path, mmap_mode="c", allow_pickle=False)
        elif path.suffix == ".npz":
            arrays = npz_arrays(path)
        elif path.suffix == ".pt":
            arrays = torch.load(path, map_location="cpu", weights_only=True)
        elif path.suffix == ".safetensors":
            arrays = import_extra("safetensors.torch", "audit").load_file(path)
        else:
            raise AuditError(f"{path} cannot be read as inputs: use {', '.join(_INPUT_KINDS)} files.")
    if isinstance(arrays, Mapping):
        name = next((name for name in (*_INPUT_NAMES, *arrays) if name in arrays), None)
        if len(arrays) != 1 and name not in _INPUT_NAMES:
            raise AuditError(f"{path} holds {', '.join(arrays)}: name the inputs {' or '.join(_INPUT_NAMES)}.")
        arrays = arrays[name]
    with _readable(path):
        return torch.as_tensor(arrays)
