"""Run a notebook with papermill and keep its result.

A run leaves `results/<profile>/<notebook>.json`, `.ipynb` and, if it kept tensors, `.safetensors`. The files appear
when the run has succeeded; a failed or killed run leaves those of the run before.
"""

from __future__ import annotations

import ast
import datetime
import difflib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from companion.errors import RunError
from vaemi._files import exclusive_lock

if TYPE_CHECKING:
    from torch import Tensor

    from companion.claims import Claim
    from companion.data.sources import Provenance
    from vaemi.models import VAE
    from vaemi.training import Training

_ENVIRONMENT = "VAEMI_RUN"
_VERSIONS_OF = ("vaemi", "torch", "torchvision", "lightning", "scikit-learn", "numpy", "numba", "papermill")
_SUFFIXES = (".safetensors", ".ipynb", ".json")
# What a notebook's Markdown cells are filled with; not kept.
_FILLED = ".filled"
_STAND_INS = ("embedded", "drawn", "simulated")


@dataclass(frozen=True)
class Profile:
    """A file in `notebooks/profiles`.

    Attributes
    ----------
    parameters : dict of str to dict
        Parameters by notebook, those of the extended profile included.
    weights : dict
        Arguments of `companion.weights.train_or_load`: `weights: keep` writes to `results/<profile>/weights`, and
        `weights: use` reads what the extended profile wrote and never trains.
    as_run : list of str
        Notebooks whose results are copied from the extended profile.
    extends : str or None
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
        self._result = Path(settings["result"]) if settings else self._folder / f"{experiment}.json"
        self._started = time.time()
        self._trainings: list[Training] = []
        self._filled: dict[str, Any] = {}

    def fill(self, **values: Any) -> None:
        """Give values to Markdown cells and captions, which write ``{{ name }}`` or ``{{ "%.2f"|format(name) }}``.

        `vaemi run` fills them in when the notebook has run; in a notebook opened by hand the values are printed here.

        Parameters
        ----------
        **values
            Numbers, one-element tensors, texts in Markdown, and lists or mappings of these.
        """
        self._filled |= values
        if self.profile == "interactive":
            for name, value in values.items():
                print(f"{name}: {value}")

    def train(self, model: VAE, samples: Tensor, held_out: Tensor, *, label: str = "", **settings: Any) -> Training:
        """Train a model, or load what an earlier run trained with the same settings.

        Parameters
        ----------
        model, samples, held_out, **settings
            See `vaemi.training.train`.
        label : str
            Prefix of the weights' file in profiles that commit weights; without it none are committed.

        Returns
        -------
        Training
        """
        from companion.weights import train_or_load

        settings |= {"checkpoints": self._folder / "checkpoints", "fresh": self.fresh}
        if label:
            settings |= self._weights
        training = train_or_load(model, samples, held_out, label=label, **settings)
        self._trainings.append(training)
        return training

    def keep_tensors(self, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Write tensors to a safetensors file next to the result.

        Parameters
        ----------
        tensors : mapping of name to Tensor
        about : mapping
            Description for readers of the file: JSON under `about` in its metadata.
        """
        import safetensors.torch

        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        safetensors.torch.save_file(on_cpu, self._file(".safetensors"), {"about": json.dumps(dict(about))})

    def finish(
        self,
        *,
        data: Provenance,
        values: Mapping[str, Any],
        claims: Sequence[Claim] = (),
        seed: int,
        libraries: Sequence[str] = (),
    ) -> None:
        """Write the result of the run and display where its numbers come from.

        Parameters
        ----------
        data : Provenance
        values : mapping
            Names to numbers, lists of numbers, or mappings of keys to those.
        claims : sequence of Claim, optional
        seed : int
        libraries : sequence of str, optional
            More packages whose versions are recorded.
        """
        from IPython.display import Markdown, display

        first = self._trainings[0] if self._trainings else None
        manifest = {
            "parameters": self.parameters,
            "seed": seed,
            "versions": {"python": platform.python_version()}
            | {name: _version(name) for name in (*_VERSIONS_OF, *libraries)},
            "git_commit": _git_commit(),
            "device": _device_in_words(first.device if first else "cpu"),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "duration_seconds": round(time.time() - self._started, 1),
            "training_seconds": round(sum(training.seconds for training in self._trainings), 1),
        }
        if first and first.weights:
            manifest["weights"] = first.weights.name
        result = {
            "experiment": self.experiment,
            "profile": self.profile,
            "data": data.to_dict(),
            "values": dict(values),
            "claims": list(claims),
            "manifest": manifest,
        }
        # json writes numbers that are not finite as NaN and Infinity, which are not JSON.
        if wrong := [name for name, value in values.items() if re.search("NaN|Infinity", json.dumps(value))]:
            raise RunError(f"{', '.join(wrong)} would not be finite: repeat more often, or take more samples.")
        self._file(".json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if self.profile != "interactive":
            self._file(_FILLED).write_text(json.dumps(self._filled, default=_plain_number), encoding="utf-8")
        display(Markdown(_provenance(result)))

    def _file(self, suffix: str) -> Path:
        """Return the path of a file of this run, in a folder that exists."""
        self._result.parent.mkdir(parents=True, exist_ok=True)
        return self._result.with_suffix(suffix)


def run(
    notebook: str,
    profile: str = "quick",
    parameters: Mapping[str, Any] | None = None,
    force: bool = False,
    result: Path | None = None,
) -> Path:
    """Execute `notebooks/<notebook>.ipynb` of the clone that contains the working folder.

    Parameters
    ----------
    notebook, profile : str
        Names of a notebook and of a file in `notebooks/profiles`.
    parameters : mapping, optional
        Values that override the profile's, by name in the notebook's parameters cell.
    force : bool
        Train anew instead of loading trainings with the same settings.
    result : Path, optional
        The `.json` file to write; `results/<profile>/<notebook>.json` by default.

    Returns
    -------
    Path
        The result. The executed notebook is beside it.

    Raises
    ------
    RunError
        If a name or value is wrong, a file cannot be written or the notebook fails. Earlier results are unchanged.
    """
    root = project_root()
    source = find_notebook(root, notebook)
    settings = read_profile(root, profile)
    chosen = checked_parameters(source, {**settings.parameters.get(notebook, {}), **(parameters or {})})
    folder = root / "results" / profile
    result = result or folder / f"{notebook}.json"
    as_run = folder.with_name(str(settings.extends)) / f"{notebook}.json" if notebook in settings.as_run else None
    if as_run and (parameters or not as_run.is_file()):
        raise RunError(
            f"{notebook} at profile {profile} is a copy of {as_run}, which must exist, and takes no parameters: use "
            f"vaemi run {notebook} --profile {settings.extends}."
        )
    try:
        with _scratch_folder(result) as scratch:
            made = scratch / result.name
            if as_run:
                for suffix in _SUFFIXES:
                    if as_run.with_suffix(suffix).exists():
                        shutil.copyfile(as_run.with_suffix(suffix), made.with_suffix(suffix))
            else:
                told = {
                    "profile": profile,
                    "parameters": chosen,
                    "folder": str(folder),
                    "result": str(made),
                    "fresh": force and not settings.weights.get("trained_only"),
                    "weights": settings.weights,
                }
                _execute(source, root, told, failed=result.with_suffix(".failed.ipynb"))
            _publish(made, result)
    except OSError as error:
        raise RunError(
            f"{error.filename or folder} cannot be written ({error.strerror}); earlier results are unchanged."
        ) from None
    return result


def project_root() -> Path:
    """Return the clone that contains the working folder.

    Raises
    ------
    RunError
        If there is none.
    """
    start = Path.cwd()
    for folder in (start, *start.parents):
        if (folder / "notebooks" / "profiles").is_dir():
            return folder
    raise RunError(f"{start} is not in a clone of the project (no notebooks/profiles): run the command in a clone.")


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


def data_sources(source: Path, given: Mapping[str, Any]) -> dict[str, str]:
    """Return where a notebook takes each data set from, by data set, without stand-ins that are asked for by name.

    The parameter `data_source` is about the data set that the notebook is named after; the others that end in
    `_source` are about MNIST.

    Parameters
    ----------
    source : Path
        The notebook.
    given : mapping
        Parameters that differ from its own.
    """
    values = {**defaults_of(source), **given}
    sources = {
        source.stem if name == "data_source" else "mnist": str(value)
        for name, value in values.items()
        if name.endswith("_source")
    }
    return {data_set: wanted for data_set, wanted in sources.items() if wanted not in _STAND_INS}


def data_marks(root: Path, notebook: str, profile: str) -> list[str]:
    """Return a file for each data set of a notebook, with the signature of the files that the last run used.

    A mark is written, and then newer than the result, if its data are others now: the user's files have changed, or
    there were none and a stand-in was used.

    Parameters
    ----------
    root : Path
        The clone.
    notebook, profile : str
    """
    from companion.data import DataError, reader  # imports torch

    folder = root / "results" / profile
    result = folder / f"{notebook}.json"
    given = read_profile(root, profile).parameters.get(notebook, {})
    marks = []
    for data_set, wanted in data_sources(find_notebook(root, notebook), given).items():
        mark = folder / ".data" / f"{data_set}-{wanted}"
        try:
            signature = reader(data_set).signature(wanted)
        except DataError as error:
            signature = str(error)  # the run will say it
        if mark.exists():
            changed = mark.read_text(encoding="utf-8").strip() != signature
        else:
            changed = bool(signature) and result.exists() and _is_on_a_stand_in(result)
        if changed:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(signature, encoding="utf-8")
        marks.append(str(mark))
    return marks


def _is_on_a_stand_in(result: Path) -> bool:
    return json.loads(result.read_text(encoding="utf-8"))["data"]["stand_in"]


def _truth_value(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


#: Some runs count up from the seed, and scikit-learn takes no seed above twice this.
LARGEST_SEED = 2**31 - 1
# Parses a parameter, by the type that the notebook declares.
PARAMETER_TYPES: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str, "bool": _truth_value}


def checked_parameters(source: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters converted to the types that a notebook's parameters cell declares.

    Parameters
    ----------
    source : Path
        The notebook.
    given : mapping of str to object
        Values, or texts such as ``"1e-3"``, by name.

    Raises
    ------
    RunError
        If the notebook has no parameter of a name, a value is of another type, or a seed is negative or too large.
    """
    known = parameters_of(source)
    return {name: checked_parameter(source, known, name, value) for name, value in given.items()}


def checked_parameter(source: Path, known: Mapping[str, Any], name: str, value: Any) -> Any:
    """Convert one value as `checked_parameters` does; `known` is what `parameters_of` returns for the notebook."""
    if name not in known:
        raise RunError(f"The notebook {source.stem} has no parameter {name!r}: choose {_or_list(known, name)}.")
    wanted = known[name]["inferred_type_name"]
    try:
        converted = PARAMETER_TYPES[wanted](str(value))
    except (KeyError, ValueError):
        raise RunError(
            f"The parameter {name} of the notebook {source.stem} is of type {wanted}, and {value!r} is not; its "
            f"default is {known[name]['default']}."
        ) from None
    if name == "seed" and not 0 <= converted <= LARGEST_SEED:
        raise RunError(f"The seed is {converted}: give a whole number from 0 to {LARGEST_SEED}.")
    return converted


def read_profile(root: Path, name: str) -> Profile:
    """Read a profile of the clone in `root`.

    Raises
    ------
    RunError
        If there is none of this name, or its file is invalid.
    """
    path = _find(root / "notebooks" / "profiles", name, "profile", ".yaml")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        extended, weights, as_run = (settings.pop(key, None) for key in ("extends", "weights", "as_run"))
        parameters = {notebook: dict(given) for notebook, given in settings.items()}
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise RunError(f"{path} is not a mapping of notebooks to parameters: {' '.join(str(error).split())}.") from None
    if extended:
        under = read_profile(root, extended).parameters
        parameters = {each: under.get(each, {}) | parameters.get(each, {}) for each in under | parameters}
    storage: dict[str, Any] = {}
    if weights:
        holder = extended if weights == "use" else name
        storage = {"weights": str(root / "results" / holder / "weights"), "trained_only": weights == "use"}
    return Profile(parameters, storage, (as_run or "").split(), extended)


def whole_seconds(manifest: Mapping[str, Any]) -> float:
    """Return the seconds of a run, with the training even where that was loaded from an earlier run."""
    seconds, training = manifest["duration_seconds"], manifest["training_seconds"]
    return seconds if seconds >= training else seconds + training


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
def _scratch_folder(result: Path) -> Iterator[Path]:
    """Yield an empty folder next to a result, to one process at a time."""
    result.parent.mkdir(parents=True, exist_ok=True)
    waiting = f"vaemi: another process is making {result}; waiting for it."
    with exclusive_lock(result.with_name(f".{result.stem}.lock"), waiting):
        scratch = result.with_name(f".{result.stem}.run")
        shutil.rmtree(scratch, ignore_errors=True)  # of a killed run
        scratch.mkdir()
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _execute(source: Path, root: Path, told: dict[str, Any], failed: Path) -> None:
    """Execute a notebook; its files go beside `told["result"]`."""
    import nbformat
    import papermill
    from ipykernel.kernelspec import write_kernel_spec
    from nbclient.exceptions import DeadKernelError

    executed = Path(told["result"]).with_suffix(".ipynb")
    # Otherwise the "python3" of the user or of the system can be the kernel of another interpreter.
    jupyter = executed.with_name("jupyter")
    write_kernel_spec(str(jupyter / "kernels" / "python3"))
    before = dict(os.environ)
    os.environ[_ENVIRONMENT] = json.dumps(told)
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(jupyter), before.get("JUPYTER_PATH")]))
    if data := before.get("VAEMI_DATA"):
        os.environ["VAEMI_DATA"] = str(Path(data).expanduser().absolute())  # the kernel has another working folder
    try:
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
        executed.replace(failed)
        raise RunError(
            f"The notebook {source.stem} stopped in cell {error.exec_count} with {error.ename}: {error.evalue} "
            f"(see {failed}; earlier results are unchanged)."
        ) from None
    except DeadKernelError:
        raise RunError(
            f"The notebook {source.stem} stopped because its Python process died, perhaps for lack of memory. Run it "
            "again: training resumes, and earlier results are unchanged."
        ) from None
    except RuntimeError as error:
        raise RunError(
            f"The Python process of the notebook {source.stem} did not start ({error}): check that {sys.executable} -m "
            "ipykernel_launcher starts one. Earlier results are unchanged."
        ) from None
    finally:
        os.environ.clear()
        os.environ.update(before)
    if not executed.with_suffix(".json").exists():
        raise RunError(f"The notebook {source.stem} ended without a result: its last cell must call Run.finish.")
    notebook = _ready_for_the_book(nbformat.read(executed, as_version=4))
    values = json.loads(executed.with_suffix(_FILLED).read_text(encoding="utf-8"))
    _fill(notebook, {**defaults_of(source), **told["parameters"], **values}, source.stem)
    executed.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _fill(notebook: Any, values: Mapping[str, Any], name: str) -> None:
    """Replace ``{{ ... }}`` by parameters and what `Run.fill` got, in Markdown cells, captions and alt texts."""
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)

    def filled(text: str) -> str:
        try:
            return environment.from_string(text).render(values)
        except (jinja2.TemplateError, TypeError) as error:
            start = text.lstrip().partition("\n")[0][:60]
            raise RunError(f"The notebook {name} cannot fill its text {start!r}: {error}.") from None

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = filled(cell.source)
        for about in cell.metadata.get("mystnb", {}).values():  # figure: caption; image: alt
            for key in about.keys() & {"caption", "alt"}:
                about[key] = filled(about[key])


def _plain_number(value: Any) -> Any:
    """Return a tensor, array or number of numpy as numbers or lists, for JSON."""
    return value.tolist()


def _ready_for_the_book(notebook: Any) -> Any:
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


def _publish(made: Path, result: Path) -> None:
    """Move a run's files into place; a kill on the way leaves no result, never files of two runs."""
    result.unlink(missing_ok=True)
    for suffix in _SUFFIXES:
        if made.with_suffix(suffix).exists():
            made.with_suffix(suffix).replace(result.with_suffix(suffix))
        else:
            result.with_suffix(suffix).unlink(missing_ok=True)
    result.with_suffix(".failed.ipynb").unlink(missing_ok=True)


def _provenance(result: Mapping[str, Any]) -> str:
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


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    """Return the commit of the working copy, "+changes" if it has any, or "unknown" outside git."""

    def git(*arguments: str) -> str:
        return subprocess.check_output(
            ["git", *arguments], cwd=Path(__file__).parent, text=True, stderr=subprocess.DEVNULL
        ).strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _device_in_words(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    name = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    return f"{name}, {threads} thread{'s' * (threads != 1)}"
