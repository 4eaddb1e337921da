"""The box on every notebook page: how to run it, where, its parameters, and how long it takes.

Its content comes from files: the parameters from the notebook, the times from the manifests of runs, the links to
Binder and Colab from `repository.url` in `_config.yml`.
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
import pandas as pd
from templates import markdown_table, render

from companion import claims, runs
from companion.errors import CompanionError
from companion.words import duration_in_words

_ON_GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
# A manifest names a CPU with its threads, "AMD EPYC, 2 threads", and a GPU without.
_CPU = re.compile(r"\d+ threads?$")
# The example in a notebook's parameters cell.
_EXAMPLE = re.compile(r"`vaemi run \w+ -p (\w+=\S+)`")


def place(
    notebook: Any,
    result: Mapping[str, Any],
    source: Path,
    downloads: Path,
    results: Path,
    repository: Mapping[str, str],
) -> None:
    """Insert the box after the opening of an executed notebook and copy the notebook for download.

    Parameters
    ----------
    notebook : NotebookNode
        Executed notebook; gets one more cell.
    result : mapping
        Result of its run.
    source : Path
        The committed notebook, without outputs.
    downloads : Path
        Folder for the copy, beside the folder of the pages.
    results : Path
        Folder of the results of all profiles.
    repository : mapping
        `url` and `branch` of the public repository. Without a url there are no links to Binder and Colab.

    Raises
    ------
    CompanionError
        If the url is not that of a repository on GitHub.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, downloads)
    committed = nbformat.read(source, as_version=4)
    published = results / claims.REFERENCE / f"{source.stem}.json"
    box = render(
        "run_box.md",
        name=source.stem,
        example=_example(committed),
        downloads=downloads.name,
        time=time_in_words(
            result,
            json.loads(published.read_text()) if published.exists() else None,
            committed.metadata.get("vaemi", {}).get("uses_gpu", True),
        ),
        services=services(repository, source.stem),
        url=repository.get("url"),
        branch=repository.get("branch") or "main",
        parameters=_parameters_table(source, result["manifest"]["parameters"]),
    )
    opening = next((i for i, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"), -1)
    notebook.cells.insert(opening + 1, nbformat.v4.new_markdown_cell(box, id="run-box"))


def services(repository: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the addresses that open a committed notebook at Binder and Colab; empty without a public address.

    Raises
    ------
    CompanionError
        If the public address is not on GitHub.
    """
    url, branch = repository.get("url") or "", repository.get("branch") or "main"
    if not url:
        return {}
    found = _ON_GITHUB.fullmatch(url)
    if not found:
        raise CompanionError(
            f"repository.url in _config.yml is {url!r}, which is not a repository on GitHub: write "
            "https://github.com/OWNER/NAME, or leave it empty to omit the links to Binder and Colab."
        )
    project, path = f"{found[1]}/{found[2]}", f"notebooks/{name}.ipynb"
    return {
        "Binder": f"https://mybinder.org/v2/gh/{project}/{quote(branch, safe='')}?labpath={quote(path, safe='')}",
        "Colab": f"https://colab.research.google.com/github/{project}/blob/{quote(branch)}/{path}",
    }


def time_in_words(result: Mapping[str, Any], published: Mapping[str, Any] | None = None, uses_gpu: bool = True) -> str:
    """Describe how long a run took, on which device, and which devices have not been measured.

    Parameters
    ----------
    result : mapping
        The run of the page.
    published : mapping, optional
        The run at the published setting.
    uses_gpu : bool
        False for a notebook with `vaemi: {uses_gpu: false}` in its metadata.
    """
    measured = [result]
    if published is not None and published["profile"] != result["profile"]:
        measured.append(published)
    on_cpu = [_CPU.search(one["manifest"]["device"]) is not None for one in measured]
    times = [
        f"{duration_in_words(runs.whole_seconds(one['manifest']))} at profile `{one['profile']}`, "
        f"{'without' if cpu else 'on'} a GPU ({one['manifest']['device']})"
        for one, cpu in zip(measured, on_cpu, strict=True)
    ]
    sentences = [f"The run behind this page took {'; the published setting took '.join(times)}."]
    if any(on_cpu):
        sentences.append("Expect about as long on a laptop.")
    else:
        sentences.append("The time on a laptop without a GPU has not been measured.")
    if not uses_gpu:
        sentences.append("The notebook does not use a GPU.")
    elif all(on_cpu):
        sentences.append("A GPU is used if there is one; the time with it has not been measured.")
    return " ".join(sentences)


def _example(notebook: Any) -> str:
    """Return the change of a parameter that the notebook proposes, such as "beta=4"."""
    cells = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    found = _EXAMPLE.search("\n".join(cells))
    return found[1] if found else "seed=1"


def _parameters_table(source: Path, used: Mapping[str, Any]) -> str:
    """Return the parameters of a notebook in Markdown; a column shows those that its run changed."""
    described = runs.parameters_of(source)
    changed = {name: value for name, value in used.items() if value != ast.literal_eval(described[name]["default"])}
    rows = pd.DataFrame(
        {
            "parameter": [f"`{name}`" for name in described],
            "default": [f"`{about['default']}`" for about in described.values()],
            "this page": [f"`{json.dumps(changed[name])}`" if name in changed else "the same" for name in described],
            "meaning": [about["help"].replace("|", r"\|") for about in described.values()],
        }
    )
    return markdown_table(rows if changed else rows.drop(columns="this page"))
