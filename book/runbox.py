"""The box on every page that is a notebook: how to run it, where, what can be changed, and how long it takes.

Everything in it comes from a file: the parameters from the notebook, the times from the manifests of runs, the links to
services from `repository.url` in `_config.yml`. What has not been measured is said not to have been.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat

from companion import runs
from companion.words import duration_in_words

_ON_GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
# How a device is called in a manifest if it is no GPU: "AMD EPYC, 2 threads".
_WITHOUT_GPU = re.compile(r"\d+ threads?$")
# What a notebook's parameters cell proposes to try.
_EXAMPLE = re.compile(r"`vaemi run \w+ -p (\w+=\S+)`")


class RunBoxError(Exception):
    """A setting that no run box can be made from; the message says which and what to write."""


def place(
    notebook: Any,
    result: Mapping[str, Any],
    source: Path,
    downloads: Path,
    results: Path,
    repository: Mapping[str, str],
) -> None:
    """Put the box below the opening of an executed notebook, and the notebook to download into a folder.

    Parameters
    ----------
    notebook : NotebookNode
        The executed notebook; gets one more cell.
    result : mapping
        What its run left.
    source : Path
        The notebook as committed, without outputs.
    downloads : Path
        Folder for the copy that readers download, beside the folder of the pages.
    results : Path
        The results of all profiles.
    repository : mapping
        `url` and `branch` of the public repository; an empty url leaves out the links to services.

    Raises
    ------
    RunBoxError
        If the url is set and is not that of a repository on GitHub.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, downloads)
    text = _box(source, result, results, downloads.name, repository)
    opening = next((i for i, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"), -1)
    cell = nbformat.v4.new_markdown_cell(text, id="run-box")
    notebook.cells.insert(opening + 1, cell)


def parameters_table(source: Path, used: Mapping[str, Any]) -> str:
    """A notebook's parameters in Markdown, with those of the page's own run where they differ from the defaults."""
    described = runs.parameters_of(source)
    here = {name: value for name, value in used.items() if value != ast.literal_eval(described[name]["default"])}
    rows = [["parameter", "default", *(["this page"] if here else []), "meaning"]]
    rows.append(["---"] * len(rows[0]))
    for name, about in described.items():
        value = [f"`{json.dumps(here[name])}`" if name in here else "the same"] if here else []
        rows.append([f"`{name}`", f"`{about['default']}`", *value, about["help"].replace("|", r"\|")])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def example(source: Path) -> str:
    """A parameter to change, as the notebook itself proposes it: "beta=4"."""
    for cell in nbformat.read(source, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            proposed = _EXAMPLE.search(cell.source)
            if proposed:
                return proposed[1]
    return "seed=1"


def services(repository: Mapping[str, str], name: str) -> dict[str, str]:
    """Addresses that open the committed notebook at Binder and Colab; none without a public address.

    Raises
    ------
    RunBoxError
        If the public address is not on GitHub.
    """
    url, branch = repository.get("url") or "", repository.get("branch") or "main"
    if not url:
        return {}
    found = _ON_GITHUB.fullmatch(url)
    if not found:
        raise RunBoxError(
            f"repository.url in _config.yml is {url!r}, which is no repository on GitHub: write "
            "https://github.com/OWNER/NAME, or leave it empty to show no links to Binder and Colab."
        )
    owner, project = found.groups()
    path = f"notebooks/{name}.ipynb"
    where = quote(branch, safe="")
    return {
        "Binder": f"https://mybinder.org/v2/gh/{owner}/{project}/{where}?labpath={quote(path, safe='')}",
        "Colab": f"https://colab.research.google.com/github/{owner}/{project}/blob/{quote(branch)}/{path}",
    }


def time_in_words(result: Mapping[str, Any], published: Mapping[str, Any] | None = None, uses_gpu: bool = True) -> str:
    """How long a run took and on what, and whether a GPU has been measured.

    Parameters
    ----------
    result : mapping
        The run behind the page.
    published : mapping, optional
        The run at the published setting, if there is one.
    uses_gpu : bool
        Whether the notebook takes one where there is one; if not, its metadata has `vaemi: {uses_gpu: false}`.
    """
    measured = [result]
    if published is not None and published["profile"] != result["profile"]:
        measured.append(published)
    kinds = {_WITHOUT_GPU.search(one["manifest"]["device"]) is None for one in measured}
    said = [
        f"{duration_in_words(runs.whole_seconds(one['manifest']))} at profile `{one['profile']}`, {_device(one)}"
        for one in measured
    ]
    sentences = [f"The run behind this page took {'; the published setting took '.join(said)}."]
    if False in kinds:
        sentences.append("Expect about as long on a laptop.")
    else:
        sentences.append("How long it takes on a laptop without a GPU has not been measured.")
    if not uses_gpu:
        sentences.append("It makes no use of a GPU.")
    elif True not in kinds:
        sentences.append("With a GPU, which is used where there is one, the time has not been measured.")
    return " ".join(sentences)


def _device(result: Mapping[str, Any]) -> str:
    device = result["manifest"]["device"]
    return f"{'without' if _WITHOUT_GPU.search(device) else 'on'} a GPU ({device})"


def _published(results: Path, name: str) -> dict[str, Any] | None:
    path = results / "paper" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _box(source: Path, result: Mapping[str, Any], results: Path, downloads: str, repository: Mapping[str, str]) -> str:
    name = source.stem
    links = services(repository, name)
    uses_gpu = nbformat.read(source, as_version=4).metadata.get("vaemi", {}).get("uses_gpu", True)
    lines = [
        "::::{dropdown} Run this page yourself",
        ":class-container: run-box",
        ":icon: play",
        "",
        "In a clone of the repository, where `make book` or `make test` has made `.venv`:",
        "",
        "```console",
        f"$ .venv/bin/vaemi run {name}",
        f"$ .venv/bin/vaemi run {name} -p {example(source)}",
        "$ make book",
        "```",
        "",
        "The first repeats this page, the second changes a parameter, and `make book` then shows what came out.",
        "",
        f"**How long.** {time_in_words(result, _published(results, name), uses_gpu)}",
        "",
        f"**The notebook.** {{download}}`{name}.ipynb <../{downloads}/{name}.ipynb>`, without outputs. It needs the",
        "package `vaemi` and runs in a clone.",
    ]
    if links:
        lines += [
            "",
            f"**Without installing anything.** [Open it on Binder]({links['Binder']}), which takes some minutes to",
            f"start, or [on Colab]({links['Colab']}). On Colab run this in a cell first:",
            "",
            "```ipython3",
            f"!git clone --depth 1 --branch {repository.get('branch') or 'main'} {repository['url']} vaemi",
            "%cd vaemi",
            "%pip install --quiet --editable .",
            "```",
        ]
    table = parameters_table(source, result["manifest"]["parameters"])
    lines += ["", "**What can be changed.**", "", table, "", "::::"]
    return "\n".join(lines)
