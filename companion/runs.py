"""Run a notebook with papermill, and keep what it finds.

`results/<profile>/<notebook>.json` and `.ipynb` are the latest run, `.safetensors` the tensors that it kept, if any.
Every run is also kept under `results/<profile>/all/` by a digest of what it was made of (notebook, package,
parameters), so that a run that was made before is recognized. Files take their name only when they are whole.
"""

from __future__ import annotations

import ast
import datetime
import difflib
import errno
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from companion.errors import RunError
from vaemi._files import only_one, written_whole

if TYPE_CHECKING:
    from torch import Tensor

    from companion.claims import Claim
    from companion.data.sources import Provenance
    from vaemi.models import VAE
    from vaemi.training import Training

_ENVIRONMENT = "VAEMI_RUN"
_VERSIONS_OF = ("vaemi", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "numba", "papermill")
# What is taken for a parameter of each type, and what it becomes: a text may consist of a number.
_NUMBER_TYPES = {"int": (int,), "float": (int, float), "str": (str, int, float), "bool": (bool,)}
_CONVERTED = {"float": float, "str": str}


@dataclass(frozen=True)
class Outcome:
    """Where a run's files are, and whether it had been made before."""

    result: Path
    notebook: Path
    made_before: bool


@dataclass(frozen=True)
class Planned:
    """A run that has been checked and not been made, or was made before.

    Attributes
    ----------
    parameters : dict
        All that is given to the notebook, the profile's included, each of the type that the notebook wants.
    result : Path
        Where every run with these parameters of this notebook and package is kept.
    made_before : bool
        Whether that file is there, whole.
    """

    parameters: dict[str, Any]
    result: Path
    made_before: bool


@dataclass(frozen=True)
class Profile:
    """A file in `notebooks/profiles`.

    Attributes
    ----------
    parameters : dict of str to dict
        By name of the notebook, those that are not the notebook's own. A profile that says `extends` has those of the
        other one, and its own before them.
    weights : dict
        What `vaemi.training.train` is told of weights that are passed on; empty where a profile says nothing of them.
        `weights: keep` puts them into `results/<profile>/weights`, `weights: use` takes them from the `weights` of the
        profile that is extended and trains nothing.
    as_run : list of str
        Notebooks that are taken from the results of the profile that is extended as they were run there, since what
        they train is too much to be passed on.
    extends : str or None
        Name of the other profile.
    """

    parameters: dict[str, dict[str, Any]]
    weights: dict[str, Any]
    as_run: list[str]
    extends: str | None


class Run:
    """The notebook's side of a run: where its checkpoints go, and where it leaves what it found.

    In a notebook that is opened by hand, the folder is `results/interactive` of the project.

    Parameters
    ----------
    experiment : str
        Name of the notebook.
    """

    def __init__(self, experiment: str) -> None:
        told = json.loads(os.environ.get(_ENVIRONMENT, "{}"))
        self.experiment = experiment
        self.profile: str = told.get("profile", "interactive")
        self.parameters: dict[str, Any] = told.get("parameters", {})
        self.fresh: bool = told.get("fresh", False)
        self._weights: dict[str, Any] = told.get("weights", {})
        self._folder = Path(told["folder"]) if told else project_root() / "results" / self.profile
        self._result = Path(told["result"]) if told else self._folder / f"{experiment}.json"
        self._started = time.time()
        self._trainings: list[Training] = []

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints of this profile."""
        return self._folder / "checkpoints"

    @property
    def storage(self) -> dict[str, Any]:
        """Where this profile keeps its trainings, as keyword arguments of `vaemi.training.train`."""
        return {"checkpoints": self.checkpoints, "fresh": self.fresh, **self._weights}

    def train(self, model: VAE, samples: Tensor, held_out: Tensor, *, label: str = "", **settings: Any) -> Training:
        """Train a model, or take what an earlier run with the same settings trained.

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
        """Write the result of the run and show where its numbers come from.

        Parameters
        ----------
        data : Provenance
            Data set that was used.
        values : mapping
            Names to numbers, lists of numbers, or mappings of keys to those.
        claims : sequence of Claim
            Verdicts on the paper's claims; none where the experiment has none.
        seed : int
        libraries : sequence of str, optional
            Packages whose versions are recorded beside those that every run records.

        Returns
        -------
        dict
            The whole result, manifest included.
        """
        from IPython.display import Markdown, display

        result = self.record(
            data=data.to_dict(),
            values=values,
            claims=[claim.to_dict() for claim in claims],
            seed=seed,
            device=self._trainings[0].device if self._trainings else "cpu",
            training_seconds=sum(training.seconds for training in self._trainings),
            weights=self._trainings[0].weights if self._trainings else None,
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
        """Leave what the notebook found; returns the whole result, manifest included.

        Parameters
        ----------
        data : mapping
            Where the data come from: source, stand_in, n, checksum.
        values : mapping
            Names to numbers, lists of numbers, or mappings of keys to those.
        claims : sequence of mapping
            Each with id, statement, rule, holds, value, stderr, unit, published; none where an experiment has nothing
            to say about the paper.
        seed : int
        device : str
            What it was trained on ("cpu", "cuda:0").
        training_seconds : float
            Time spent training, over all resumed parts.
        weights : Path, optional
            File of the model that was measured, where it is passed on: `Training.weights`.
        libraries : sequence of str, optional
            Packages whose versions matter beside those that every run names.
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
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._result, json.dumps(result, indent=1, allow_nan=False) + "\n")
        return result

    def keep_tensors(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Leave tensors beside the result, in a safetensors file of its name.

        Parameters
        ----------
        tensors : mapping of name to Tensor
            On any device; a later call replaces those of an earlier one.
        about : mapping
            What a reader of the file must know, anything that JSON can hold; `about` in the file's metadata.
        """
        import safetensors.torch

        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = safetensors.torch.save(whole, {"about": json.dumps(dict(about))})
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(_tensors(self._result.with_suffix("")), content)


def run(
    notebook: str,
    profile: str = "quick",
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
    root: Path | None = None,
    latest: bool = True,
) -> Outcome:
    """Execute `notebooks/<notebook>.ipynb` under a profile.

    Parameters
    ----------
    notebook, profile : str
        Names of a notebook and of a file in `notebooks/profiles`.
    parameters : mapping, optional
        Overrides of the profile, by name of the notebook's parameters cell.
    force : bool
        Make the run again, training included, even if it was made before.
    root : Path, optional
        The project, found from the working folder upwards if left out; results go to `results` in it.
    latest : bool
        Whether this becomes the latest run, which the site shows. If not, it is kept under `all` alone.

    Returns
    -------
    Outcome
        Of the latest run's files, or of those under `all`.

    Raises
    ------
    RunError
        If a name or value is wrong, a folder cannot be written, the disk is full or the notebook stops with an
        error. The files of earlier runs are as they were.
    """
    root = root or project_root()
    source = _notebook_path(root, notebook)
    settings = read_profile(root, profile)
    planned = plan(notebook, profile, parameters, root)
    kept, folder = planned.result.with_suffix(""), (root / "results").resolve() / profile
    shown = folder / notebook if latest else kept
    as_run = notebook in settings.as_run
    if as_run and (parameters or not planned.made_before):
        raise RunError(
            f"Profile {profile} shows {notebook} as it was run at profile {settings.extends}, in {kept.parent}, "
            + ("and takes no parameters" if parameters else "where there is no such run")
            + f": run it there (vaemi run {notebook} --profile {settings.extends})."
        )
    try:
        (folder / "all").mkdir(parents=True, exist_ok=True)
        with only_one(kept.with_name(f".{kept.name}.lock"), lambda: _say_waiting(notebook, folder)):
            made_before = is_whole(planned.result) and (as_run or not force)
            if not made_before:
                failed = shown.with_name(shown.name + ".failed.ipynb")
                weights = settings.weights
                _execute(source, kept, planned.parameters, profile, folder, root, weights, fresh=force, failed=failed)
            if latest:
                # Runs of the same notebook with other parameters take the same place.
                with only_one(folder / f".{notebook}.lock", lambda: None):
                    _make_latest(kept, shown)
    except OSError as error:
        raise RunError(_os_error_in_words(error, folder)) from None
    return Outcome(_json(shown), _ipynb(shown), made_before)


def plan(
    notebook: str, profile: str = "quick", parameters: Mapping[str, Any] | None = None, root: Path | None = None
) -> Planned:
    """What `run` would do with the same arguments; nothing is started or written.

    Parameters
    ----------
    notebook, profile, parameters, root
        As for `run`.

    Returns
    -------
    Planned

    Raises
    ------
    RunError
        If a name or value is wrong.
    """
    root = root or project_root()
    source = _notebook_path(root, notebook)
    settings = read_profile(root, profile)
    chosen = _checked_parameters(source, {**settings.parameters.get(notebook, {}), **(parameters or {})})
    results = (root / "results").resolve()
    if notebook in settings.as_run:
        kept = results / str(settings.extends) / notebook
    else:
        # A parameter that is given its default makes no other run.
        digest = _digest(source, _other_than_defaults(source, chosen), settings.weights)
        kept = results / profile / "all" / f"{notebook}-{digest}"
    return Planned(chosen, _json(kept), is_whole(_json(kept)))


def project_root(start: Path | None = None) -> Path:
    """The folder, from `start` or the working folder upwards, that holds `notebooks/profiles`.

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


def need_extra(extra: str, modules: Sequence[str]) -> None:
    """Say in a sentence which modules of an extra of this package cannot be imported, before anything is trained.

    Raises
    ------
    RunError
        If one is missing.
    """
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise RunError(
            f"{', '.join(missing)} cannot be imported: install the extra {extra}, pip install '.[{extra}]' in the clone"
        )


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with written_whole(path) as scratch:
        if isinstance(content, bytes):
            scratch.write_bytes(content)
        else:
            scratch.write_text(content)


def parameters_of(source: Path) -> dict[str, dict[str, str]]:
    """The parameters cell of a notebook: name to papermill's description (type, default, help)."""
    import papermill

    return papermill.inspect_notebook(str(source))


def defaults_of(source: Path) -> dict[str, Any]:
    """The parameters of a notebook as its own cell sets them, which are literals."""
    return {name: ast.literal_eval(about["default"]) for name, about in parameters_of(source).items()}


def _notebook_path(root: Path, name: str) -> Path:
    available = sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))
    if name not in available:
        raise RunError(f"There is no notebook {name!r} in {root / 'notebooks'}: choose {_or_list(available, name)}.")
    return root / "notebooks" / f"{name}.ipynb"


def read_profile(root: Path, name: str) -> Profile:
    """A profile of the project in a folder.

    Raises
    ------
    RunError
        If there is none of this name, or its file cannot be understood.
    """
    folder = root / "notebooks" / "profiles"
    available = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in available:
        raise RunError(f"There is no profile {name!r} in {folder}: choose {_or_list(available, name)}.")
    path = folder / f"{name}.yaml"
    try:
        settings = dict(yaml.safe_load(path.read_text()) or {})
        extended, weights = settings.pop("extends", None), settings.pop("weights", None)
        as_run = str(settings.pop("as_run", "")).split()
        parameters = {notebook: dict(given) for notebook, given in settings.items()}
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise RunError(f"{path} is no mapping of notebooks to parameters: {' '.join(str(error).split())}.") from None
    alone = extended is None and (weights == "use" or as_run)
    if weights not in (None, "keep", "use") or alone or extended == name:
        raise RunError(
            f"{path}: weights is {weights!r} and extends is {extended!r}; write weights: keep, or weights: use (and "
            "as_run: notebooks) with extends: another profile."
        )
    if extended is not None:
        under = read_profile(root, extended).parameters
        parameters = {
            notebook: under.get(notebook, {}) | parameters.get(notebook, {}) for notebook in under | parameters
        }
    told: dict[str, Any] = {}
    if weights:
        holder = name if weights == "keep" else extended
        told = {"weights": str(root / "results" / holder / "weights"), "trained_only": weights == "use"}
    return Profile(parameters, told, as_run, extended)


def _checked_parameters(source: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    known = parameters_of(source)
    chosen = {}
    for name, value in given.items():
        if name not in known:
            raise RunError(f"The notebook {source.stem} has no parameter {name!r}: choose {_or_list(known, name)}.")
        wanted = known[name]["inferred_type_name"]
        accepted = _NUMBER_TYPES.get(wanted)
        if accepted and (not isinstance(value, accepted) or (isinstance(value, bool) and wanted != "bool")):
            raise RunError(
                f"The parameter {name} of the notebook {source.stem} is of type {wanted}, and {value!r} is not; its "
                f"default is {known[name]['default']}."
            )
        chosen[name] = _CONVERTED.get(wanted, lambda same: same)(value)
    return chosen


def _other_than_defaults(source: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are not what the notebook's own cell says."""
    known = parameters_of(source)
    return {name: value for name, value in chosen.items() if not _is_written(value, known[name]["default"])}


def _is_written(value: Any, text: str) -> bool:
    try:
        written = ast.literal_eval(text)
    except (ValueError, SyntaxError):  # an expression, whose value only the notebook knows
        return False
    # By type too: True is not 1, though Python holds them equal.
    return type(written) is type(value) and bool(written == value)


def _or_list(names: Any, wanted: str) -> str:
    close = difflib.get_close_matches(wanted, list(names), n=1)
    return f"{', '.join(names)}" + (f" (did you mean {close[0]}?)" if close else "")


def _digest(source: Path, parameters: Mapping[str, Any], weights: Mapping[str, Any] | None = None) -> str:
    """Changes with the notebook, the package's code and the parameters, and with weights that are used, not made."""
    digest = hashlib.blake2b(source.read_bytes(), digest_size=6)
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    digest.update(json.dumps(parameters, sort_keys=True).encode())
    if weights and weights["trained_only"]:
        for path in sorted(Path(weights["weights"]).glob("*.safetensors")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _json(base: Path) -> Path:
    return base.with_name(base.name + ".json")


def _ipynb(base: Path) -> Path:
    return base.with_name(base.name + ".ipynb")


def _tensors(base: Path) -> Path:
    return base.with_name(base.name + ".safetensors")


def _say_waiting(notebook: str, folder: Path) -> None:
    print(f"vaemi: another process makes this run of {notebook} in {folder}; waiting for it.", file=sys.stderr)


def _make_latest(kept: Path, latest: Path) -> None:
    """Put a run's files in the place of those of the run before, of which none may stay beside them."""
    with ExitStack() as stack:
        # All that can find the disk full comes first.
        for path, target in ((_json(kept), _json(latest)), (_ipynb(kept), _ipynb(latest))):
            scratch = stack.enter_context(written_whole(target))
            scratch.write_bytes(path.read_bytes())
        if _tensors(kept).exists():
            scratch = stack.enter_context(written_whole(_tensors(latest)))
            scratch.write_bytes(_tensors(kept).read_bytes())
        # Without it the others are no result: a kill between here and the end leaves none, and not a mixture of two.
        _json(latest).unlink(missing_ok=True)
        if not _tensors(kept).exists():
            _tensors(latest).unlink(missing_ok=True)
        # The names are given in the opposite order: the result comes last.


def _replace_or_remove(target: Path, source: Path) -> None:
    """Make the target what the source is, absent if that is absent."""
    if source.exists():
        write_atomically(target, source.read_bytes())
    else:
        target.unlink(missing_ok=True)


def is_whole(result: Path) -> bool:
    """Whether a run's result and notebook are there and can be read."""
    kept = result.with_suffix("")
    try:
        return isinstance(json.loads(_json(kept).read_text())["claims"], list) and _ipynb(kept).is_file()
    except (OSError, ValueError, KeyError):
        return False


def _execute(
    source: Path,
    kept: Path,
    parameters: dict[str, Any],
    profile: str,
    folder: Path,
    root: Path,
    weights: dict[str, Any],
    fresh: bool,
    failed: Path,
) -> None:
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    # A folder: the kernel of a killed process lives on for a moment, and what it still writes has no place once that is
    # removed.
    scratch = kept.with_name(f".{kept.name}.{os.getpid()}") / kept.name
    told = {
        "profile": profile,
        "parameters": parameters,
        "folder": str(folder),
        "result": str(_json(scratch)),
        # What is used and not made cannot be made again.
        "fresh": fresh and not weights.get("trained_only"),
        "weights": weights,
    }
    _remove_scratch(kept)
    scratch.parent.mkdir()
    before = os.environ.get(_ENVIRONMENT)
    os.environ[_ENVIRONMENT] = json.dumps(told)
    try:
        papermill.execute_notebook(
            str(source),
            str(_ipynb(scratch)),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(root),
            progress_bar=False,
            log_output=True,
            # The kernel's own log is of no use to the reader of this command, least of all after Ctrl-C.
            extra_arguments=["--log-level=50"],
        )
        notebook = nbformat.read(_ipynb(scratch), as_version=4)
        _refuse_errors(notebook, source.stem)
        if not _json(scratch).exists():
            raise RunError(f"The notebook {source.stem} ended without recording its result: it must call Run.record.")
        write_atomically(_ipynb(kept), nbformat.writes(ready_for_the_book(notebook)) + "\n")
        _replace_or_remove(_tensors(kept), _tensors(scratch))
        _json(scratch).replace(_json(kept))
    except papermill.PapermillExecutionError as error:
        write_atomically(failed, _ipynb(scratch).read_bytes())
        raise RunError(
            f"The notebook {source.stem} stopped in cell {error.exec_count} with {error.ename}: {error.evalue} "
            f"(see {failed}; earlier results are untouched)."
        ) from None
    except DeadKernelError:
        raise RunError(
            f"The notebook {source.stem} stopped because its Python process died, as it does when it is killed or the "
            "memory is used up: make room and run again (earlier results are untouched, training goes on)."
        ) from None
    finally:
        if before is None:
            del os.environ[_ENVIRONMENT]
        else:
            os.environ[_ENVIRONMENT] = before
        _remove_scratch(kept)


def _remove_scratch(kept: Path) -> None:
    """Delete what this run, and killed ones of the same, had begun; none is at work, or this one would wait."""
    for path in kept.parent.glob(f".{kept.name}.*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def whole_seconds(manifest: Mapping[str, Any]) -> float:
    """What a run takes from beginning to end, in seconds, also where its training was taken from an earlier run."""
    seconds, training = manifest["duration_seconds"], manifest["training_seconds"]
    return seconds if seconds >= training else seconds + training


def duration_in_words(seconds: float) -> str:
    """Seconds, minutes or hours, as one would say it: "45 s", "22 min", "5.5 h"."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def provenance_in_words(result: Mapping[str, Any]) -> str:
    """Where a result comes from, as a Markdown quotation: data, profile, parameters, seed, device, versions, date."""
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


def _refuse_errors(notebook: Any, name: str) -> None:
    for index, output in errors_in(notebook):
        raise RunError(f"The notebook {name} shows {output.ename} in cell {index}: {output.evalue}.")


def errors_in(notebook: Any) -> list[tuple[int, Any]]:
    """The error outputs of an executed notebook, each with the index of its cell."""
    return [
        (index, output)
        for index, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def ready_for_the_book(notebook: Any) -> Any:
    """The executed notebook without what a reader need not see: parameters cells, progress bars, papermill's notes."""
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


def _os_error_in_words(error: OSError, folder: Path) -> str:
    if error.errno == errno.ENOSPC:
        return f"The disk of {folder} is full: make room and run again (earlier results are untouched)."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        return f"{error.filename or folder} cannot be written ({error.strerror}): results go to {folder}."
    return f"{error.filename or folder}: {error.strerror or error} (earlier results are untouched)."


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    """Commit of the working copy, "+changes" if it has any, or "unknown" outside git."""

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
    capabilities = torch.cpu.get_capabilities()
    threads = torch.get_num_threads()
    return f"{capabilities.get('cpu_name') or platform.machine()}, {threads} thread{'s' * (threads != 1)}"
