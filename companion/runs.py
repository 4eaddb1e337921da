"""Run a notebook with papermill and keep its result.

A run leaves `results/<profile>/<notebook>.json`, `.ipynb` and, if it kept tensors, `.safetensors`. The files appear
when the run has succeeded; a failed or killed run leaves those of the run before.
"""

from __future__ import annotations

import ast
import datetime
import difflib
import errno
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from companion.errors import RunError
from vaemi._files import atomic_write, exclusive_lock
from vaemi.errors import import_extra

if TYPE_CHECKING:
    from torch import Tensor

    from companion.claims import Claim
    from companion.data.sources import Provenance
    from vaemi.models import VAE
    from vaemi.training import Training

_ENVIRONMENT = "VAEMI_RUN"
_VERSIONS_OF = ("vaemi", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "numba", "papermill")
# Accepted types of a parameter by its annotation. A number is accepted as a text: `-p label=3` gives an int.
PARAMETER_TYPES = {"int": (int,), "float": (int, float), "str": (str, int, float), "bool": (bool,)}
_SUFFIXES = (".safetensors", ".ipynb", ".json")


@dataclass(frozen=True)
class Outcome:
    """Paths of a run's result and executed notebook."""

    result: Path
    notebook: Path


@dataclass(frozen=True)
class Profile:
    """A file in `notebooks/profiles`.

    Attributes
    ----------
    parameters : dict of str to dict
        Parameters by notebook, those of the extended profile included.
    weights : dict
        Keyword arguments on committed weights for the training, or empty. `weights: keep` writes trained weights to
        `results/<profile>/weights`; `weights: use` reads those of the extended profile and never trains.
    as_run : list of str
        Notebooks whose results are copied from the extended profile.
    extends : str or None
        Name of the extended profile.
    """

    parameters: dict[str, dict[str, Any]]
    weights: dict[str, Any]
    as_run: list[str]
    extends: str | None


class Run:
    """A run as seen from its notebook: trains models and writes the result.

    In a notebook opened by hand the result goes to `results/interactive`.

    Parameters
    ----------
    experiment : str
        Name of the notebook.
    """

    def __init__(self, experiment: str) -> None:
        settings = json.loads(os.environ.get(_ENVIRONMENT, "{}"))
        self.experiment = experiment
        self.profile: str = settings.get("profile", "interactive")
        self.parameters: dict[str, Any] = settings.get("parameters", {})
        self.fresh: bool = settings.get("fresh", False)
        self._weights: dict[str, Any] = settings.get("weights", {})
        self._folder = Path(settings["folder"]) if settings else project_root() / "results" / self.profile
        self._base = Path(settings["base"]) if settings else self._folder / experiment
        self._started = time.time()
        self._trainings: list[Training] = []

    @property
    def checkpoints(self) -> Path:
        """Folder of this profile's training checkpoints."""
        return self._folder / "checkpoints"

    @property
    def storage(self) -> dict[str, Any]:
        """Keyword arguments of a training that say where this profile keeps it."""
        return {"checkpoints": self.checkpoints, "fresh": self.fresh, **self._weights}

    def train(self, model: VAE, samples: Tensor, held_out: Tensor, *, label: str = "", **settings: Any) -> Training:
        """Train a model, or load what an earlier run trained with the same settings.

        Parameters
        ----------
        model, samples, held_out, **settings
            See `vaemi.training.train`.
        label : str
            Begins the name of the weights' file in profiles that commit weights; without it none are committed.

        Returns
        -------
        Training
        """
        from companion.weights import train_or_load

        storage = self.storage if label else {"checkpoints": self.checkpoints, "fresh": self.fresh}
        training = train_or_load(model, samples, held_out, label=label, **storage, **settings)
        self._trainings.append(training)
        return training

    def finish(
        self,
        *,
        data: Provenance,
        values: Mapping[str, Any],
        claims: Sequence[Claim] = (),
        seed: int,
        libraries: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Write the result of the run and display where its numbers come from.

        Parameters
        ----------
        data : Provenance
            Data set that was used.
        values : mapping
            Names to numbers, lists of numbers, or mappings of keys to those.
        claims : sequence of Claim
            Verdicts on the paper's claims, if any.
        seed : int
        libraries : sequence of str, optional
            Packages whose versions are recorded in addition to the usual ones.

        Returns
        -------
        dict
            The whole result, manifest included.
        """
        from IPython.display import Markdown, display

        first = self._trainings[0] if self._trainings else None
        result = self.record(
            data=data.to_dict(),
            values=values,
            claims=[claim.to_dict() for claim in claims],
            seed=seed,
            device=first.device if first else "cpu",
            training_seconds=sum(training.seconds for training in self._trainings),
            weights=first.weights if first else None,
            libraries=libraries,
        )
        display(Markdown(provenance_in_words(result)))
        return result

    def record(
        self,
        *,
        data: Mapping[str, Any],
        values: Mapping[str, Any],
        claims: Sequence[Mapping[str, Any]],
        seed: int,
        device: str,
        training_seconds: float,
        weights: Path | None = None,
        libraries: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Write the result from its parts; `finish` fills in most of them.

        Parameters
        ----------
        data : mapping
            source, stand_in, n, checksum.
        values, seed, libraries
            See `finish`.
        claims : sequence of mapping
            See `companion.claims.Claim`.
        device : str
            Device of the training ("cpu", "cuda:0").
        training_seconds : float
            Training time, that of resumed parts included.
        weights : Path, optional
            File of the trained weights in profiles that commit them.

        Returns
        -------
        dict
            The whole result, manifest included.
        """
        result = {
            "experiment": self.experiment,
            "profile": self.profile,
            "data": dict(data),
            "values": dict(values),
            "claims": [dict(claim) for claim in claims],
            "manifest": {
                "parameters": self.parameters,
                "seed": seed,
                "versions": {"python": platform.python_version()}
                | {name: _version(name) for name in (*_VERSIONS_OF, *libraries)},
                "git_commit": _git_commit(),
                "device": _device_in_words(device),
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "duration_seconds": round(time.time() - self._started, 1),
                "training_seconds": round(training_seconds, 1),
                **({"weights": weights.name} if weights else {}),
            },
        }
        self._write(".json", (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
        return result

    def keep_tensors(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Write tensors to a safetensors file next to the result, replacing those of an earlier call.

        Parameters
        ----------
        tensors : mapping of name to Tensor
            On any device.
        about : mapping
            Description for readers of the file, as JSON; `about` in its metadata.
        """
        import safetensors.torch

        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        self._write(".safetensors", safetensors.torch.save(on_cpu, {"about": json.dumps(dict(about))}))

    def _write(self, suffix: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(_with(self._base, suffix)) as scratch:
            scratch.write_bytes(content)


def run(
    notebook: str,
    profile: str = "quick",
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
    root: Path | None = None,
    result: Path | None = None,
) -> Outcome:
    """Execute `notebooks/<notebook>.ipynb` under a profile.

    Parameters
    ----------
    notebook, profile : str
        Names of a notebook and of a file in `notebooks/profiles`.
    parameters : mapping, optional
        Values that override the profile's, by name in the notebook's parameters cell.
    force : bool
        Train anew instead of loading trainings with the same settings.
    root : Path, optional
        The clone; found from the working folder upwards by default.
    result : Path, optional
        The `.json` file to write; `results/<profile>/<notebook>.json` by default.

    Returns
    -------
    Outcome

    Raises
    ------
    RunError
        If a name or value is wrong, a file cannot be written or the notebook fails. Earlier results are unchanged.
    """
    root = (root or project_root()).resolve()
    source = find_notebook(root, notebook)
    settings = read_profile(root, profile)
    chosen = checked_parameters(source, {**settings.parameters.get(notebook, {}), **(parameters or {})})
    folder = (root / "results").resolve() / profile
    base = (result or folder / f"{notebook}.json").with_suffix("")
    as_run = folder.with_name(str(settings.extends)) / notebook if notebook in settings.as_run else None
    if as_run and (parameters or not _with(as_run, ".json").is_file()):
        reason = "takes no parameters" if parameters else f"needs {_with(as_run, '.json')}, which does not exist"
        raise RunError(
            f"{notebook} at profile {profile} is a copy of the run at profile {settings.extends} and {reason}: "
            f"use vaemi run {notebook} --profile {settings.extends}."
        )
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        waiting = f"vaemi: another process is running {notebook} in {base.parent}; waiting for it."
        with exclusive_lock(base.with_name(f".{base.name}.lock"), waiting), _scratch_folder(base) as scratch:
            if as_run:
                _copy(as_run, scratch / base.name)
            else:
                told = {
                    "profile": profile,
                    "parameters": chosen,
                    "folder": str(folder),
                    "base": str(scratch / base.name),
                    "fresh": force and not settings.weights.get("trained_only"),
                    "weights": settings.weights,
                }
                _execute(source, root, scratch, told, failed=_with(base, ".failed.ipynb"))
            _publish(scratch / base.name, base)
    except OSError as error:
        raise RunError(_os_error_in_words(error, folder)) from None
    return Outcome(_with(base, ".json"), _with(base, ".ipynb"))


def project_root(start: Path | None = None) -> Path:
    """Return the closest folder, from `start` or the working folder upwards, that contains `notebooks/profiles`.

    Raises
    ------
    RunError
        If there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks" / "profiles").is_dir():
            return folder
    raise RunError(f"{start} is not in a clone of the project (no notebooks/profiles): change into it first.")


def need_extra(extra: str, modules: Iterable[str]) -> None:
    """Import modules of an extra; see `vaemi.errors.import_extra`."""
    for module in modules:
        import_extra(module, extra)


def find_notebook(root: Path, name: str) -> Path:
    """Return the path of a notebook.

    Raises
    ------
    RunError
        If there is none of this name.
    """
    return _find(root / "notebooks", name, "notebook", ".ipynb")


def parameters_of(source: Path) -> dict[str, dict[str, str]]:
    """Return papermill's description (type, default, help) of each parameter of a notebook."""
    import papermill

    return papermill.inspect_notebook(str(source))


def defaults_of(source: Path) -> dict[str, Any]:
    """Return the default value of each parameter of a notebook."""
    return {name: ast.literal_eval(about["default"]) for name, about in parameters_of(source).items()}


def checked_parameters(source: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters converted to the types that a notebook's parameters cell declares.

    Raises
    ------
    RunError
        If the notebook has no parameter of a name, or a value is of another type.
    """
    known = parameters_of(source)
    chosen = {}
    for name, value in given.items():
        if name not in known:
            raise RunError(f"The notebook {source.stem} has no parameter {name!r}: choose {_or_list(known, name)}.")
        wanted = known[name]["inferred_type_name"]
        accepted = PARAMETER_TYPES.get(wanted, (object,))
        if not isinstance(value, accepted) or (isinstance(value, bool) and wanted != "bool"):
            raise RunError(
                f"The parameter {name} of the notebook {source.stem} is of type {wanted}, and {value!r} is not; its "
                f"default is {known[name]['default']}."
            )
        chosen[name] = {"float": float, "str": str}.get(wanted, lambda same: same)(value)
    return chosen


def read_profile(root: Path, name: str) -> Profile:
    """Read a profile of the clone in `root`.

    Raises
    ------
    RunError
        If there is none of this name, or its file is invalid.
    """
    path = _find(root / "notebooks" / "profiles", name, "profile", ".yaml")
    try:
        settings = dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        extended, weights = settings.pop("extends", None), settings.pop("weights", None)
        as_run = str(settings.pop("as_run", "")).split()
        parameters = {notebook: dict(given) for notebook, given in settings.items()}
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise RunError(f"{path} is not a mapping of notebooks to parameters: {' '.join(str(error).split())}.") from None
    needs_extended = weights == "use" or as_run
    if weights not in (None, "keep", "use") or (needs_extended and extended is None) or extended == name:
        raise RunError(
            f"{path} has weights: {weights} and extends: {extended}. Write weights: keep, or weights: use (and as_run: "
            "notebooks) with extends: another profile."
        )
    if extended is not None:
        under = read_profile(root, extended).parameters
        parameters = {each: under.get(each, {}) | parameters.get(each, {}) for each in under | parameters}
    storage: dict[str, Any] = {}
    if weights:
        holder = name if weights == "keep" else extended
        storage = {"weights": str(root / "results" / holder / "weights"), "trained_only": weights == "use"}
    return Profile(parameters, storage, as_run, extended)


def whole_seconds(manifest: Mapping[str, Any]) -> float:
    """Return the seconds of a run, with the training even where that was loaded from an earlier run."""
    seconds, training = manifest["duration_seconds"], manifest["training_seconds"]
    return seconds if seconds >= training else seconds + training


def provenance_in_words(result: Mapping[str, Any]) -> str:
    """Return a Markdown quotation with the data, parameters, device, versions and date of a result."""
    data, manifest = result["data"], result["manifest"]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    changed = ", ".join(f"{name} = {value}" for name, value in manifest["parameters"].items()) or "the notebook's own"
    lines = [
        "**Where these numbers come from**",
        f"Data: {data['source']} ({data['n']:,} samples, checksum {data['checksum'][:12]})."
        + (" **This is a stand-in for the paper's data.**" if data["stand_in"] else ""),
        f"Profile: {result['profile']}; parameters: {changed}; seed {manifest['seed']}.",
        f"Computed on {manifest['device']} in {whole_seconds(manifest):.0f} s, "
        f"{manifest['training_seconds']:.0f} s of it training, on {manifest['date'][:10]}.",
        f"Code: commit {manifest['git_commit']}; {versions}.",
    ]
    return "\n>\n".join(f"> {line}" for line in lines)


def errors_in(notebook: Any) -> list[tuple[int, Any]]:
    """Return the error outputs of an executed notebook, each with the index of its cell."""
    return [
        (index, output)
        for index, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def ready_for_the_book(notebook: Any) -> Any:
    """Return an executed notebook without parameters cells, progress bars and papermill's metadata."""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            cell.metadata.tags = [*tags, "remove-cell"]
        if "injected-parameters" in tags:
            cell.metadata.tags = [*tags, "hide-input"]
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if (out.output_type, out.get("name")) != ("stream", "stderr")]
        for noise in ("papermill", "execution"):
            cell.metadata.pop(noise, None)
    notebook.metadata.pop("papermill", None)
    return notebook


def _with(base: Path, suffix: str) -> Path:
    # Not `with_suffix`: the name of a run in a sweep can contain a dot (beta~0.5).
    return base.with_name(base.name + suffix)


def _find(folder: Path, name: str, kind: str, suffix: str) -> Path:
    available = sorted(path.stem for path in folder.glob(f"*{suffix}"))
    if name not in available:
        raise RunError(f"There is no {kind} {name!r} in {folder}: choose {_or_list(available, name)}.")
    return folder / f"{name}{suffix}"


def _or_list(names: Iterable[str], wanted: str) -> str:
    names = list(names)
    close = difflib.get_close_matches(wanted, names, n=1)
    return ", ".join(names) + (f" (did you mean {close[0]}?)" if close else "")


@contextmanager
def _scratch_folder(base: Path) -> Iterator[Path]:
    """Yield a folder next to a result, after deleting those of killed runs. The caller holds the lock of the result."""
    for leftover in base.parent.iterdir():
        if leftover.is_dir() and leftover.name.startswith(f".{base.name}."):
            shutil.rmtree(leftover, ignore_errors=True)
    # A new name each time: the kernel of a killed run can outlive it for a moment and must not write into this one.
    scratch = Path(tempfile.mkdtemp(prefix=f".{base.name}.", dir=base.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    for suffix in _SUFFIXES:
        if (path := _with(source, suffix)).exists():
            shutil.copyfile(path, _with(target, suffix))


def _publish(made: Path, base: Path) -> None:
    """Move a run's files into place."""
    # The result goes first and comes last: a kill in between leaves no result, never files of two runs.
    _with(base, ".json").unlink(missing_ok=True)
    for suffix in _SUFFIXES:
        if _with(made, suffix).exists():
            _with(made, suffix).replace(_with(base, suffix))
        else:
            _with(base, suffix).unlink(missing_ok=True)
    _with(base, ".failed.ipynb").unlink(missing_ok=True)


def _execute(source: Path, root: Path, scratch: Path, told: dict[str, Any], failed: Path) -> None:
    """Execute a notebook; its files go to `told["base"]` in the scratch folder."""
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    base = Path(told["base"])
    executed = _with(base, ".ipynb")
    try:
        with _environment(scratch, told):
            papermill.execute_notebook(
                str(source),
                str(executed),
                parameters=told["parameters"],
                kernel_name="python3",
                cwd=str(root),
                progress_bar=False,
                log_output=True,
                extra_arguments=["--log-level=50"],  # otherwise Ctrl-C prints the kernel's log
            )
    except papermill.PapermillExecutionError as error:
        with atomic_write(failed) as copy:
            shutil.copyfile(executed, copy)
        raise RunError(
            f"The notebook {source.stem} stopped in cell {error.exec_count} with {error.ename}: {error.evalue} "
            f"(see {failed}; earlier results are unchanged)."
        ) from None
    except DeadKernelError:
        raise RunError(
            f"The notebook {source.stem} stopped because its Python process died, perhaps for lack of memory. Run it "
            "again: training resumes, and earlier results are unchanged."
        ) from None
    notebook = nbformat.read(executed, as_version=4)
    for index, output in errors_in(notebook):
        raise RunError(f"The notebook {source.stem} shows {output.ename} in cell {index}: {output.evalue}.")
    if not _with(base, ".json").exists():
        raise RunError(f"The notebook {source.stem} ended without a result: its last cell must call Run.finish.")
    executed.write_text(nbformat.writes(ready_for_the_book(notebook)) + "\n", encoding="utf-8")


@contextmanager
def _environment(scratch: Path, told: Mapping[str, Any]) -> Iterator[None]:
    """Set the environment of a kernel: this interpreter, the run's settings, and data folders as seen from here."""
    kernel = scratch / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Python 3", "language": "python"}
    kernel.write_text(json.dumps(spec), encoding="utf-8")
    # First on the path, since another "python3" kernel there may belong to another interpreter.
    paths = [str(scratch), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    changed = {_ENVIRONMENT: json.dumps(told), "JUPYTER_PATH": os.pathsep.join(paths)}
    if data := os.environ.get("VAEMI_DATA"):
        changed["VAEMI_DATA"] = str(Path(data).expanduser().absolute())  # the kernel has another working folder
    before = dict(os.environ)
    os.environ.update(changed)
    try:
        yield
    finally:
        for name in changed:
            del os.environ[name]
            if name in before:
                os.environ[name] = before[name]


def _os_error_in_words(error: OSError, folder: Path) -> str:
    if error.errno == errno.ENOSPC:
        return f"The disk of {folder} is full: make room and run again (earlier results are unchanged)."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        return f"{error.filename or folder} cannot be written ({error.strerror}): results go to {folder}."
    return f"{error.filename or folder}: {error.strerror or error} (earlier results are unchanged)."


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    """Return the commit of the working copy, "+changes" if it has any, or "unknown" outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _device_in_words(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name") if hasattr(torch.cpu, "get_capabilities") else None
    threads = torch.get_num_threads()
    return f"{name or platform.machine()}, {threads} thread{'s' * (threads != 1)}"
