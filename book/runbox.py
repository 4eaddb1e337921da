"""The box on every notebook page: how to run it, where, its parameters, and how long it takes.

The parameters come from the notebook, the times from the manifests of runs, and the links to Binder and Colab from
`repository.url` in `_config.yml`.
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

_ON_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?")
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
        Executed notebook.
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
    example = _EXAMPLE.search("\n".join(cell.source for cell in committed.cells))
    published = results / claims.REFERENCE / f"{source.stem}.json"
    measured = [result]
    if published.exists() and result["profile"] != claims.REFERENCE:
        measured.append(json.loads(published.read_text(encoding="utf-8")))
    box = render(
        "run_box.md",
        name=source.stem,
        example=example[1] if example else "seed=1",
        downloads=downloads.name,
        time=time_in_words(measured, committed.metadata.get("vaemi", {}).get("uses_gpu", True)),
        services=services(repository, source.stem),
        url=repository["url"],
        branch=repository["branch"],
        parameters=_parameters_table(source, result["manifest"]["parameters"]),
    )
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(box, id="run-box"))


def services(repository: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the addresses that open a committed notebook at Binder and Colab; empty without a public address.

    Raises
    ------
    CompanionError
        If the public address is not on GitHub.
    """
    url, branch = repository["url"], repository["branch"]
    if not url:
        return {}
    found = _ON_GITHUB.fullmatch(url)
    if not found:
        raise CompanionError(
            f"repository.url in _config.yml is {url!r}, which is not a repository on GitHub: write "
            "https://github.com/OWNER/NAME, or leave it empty to omit the links to Binder and Colab."
        )
    path = f"notebooks/{name}.ipynb"
    return {
        "Binder": f"https://mybinder.org/v2/gh/{found[1]}/{quote(branch, safe='')}?labpath={quote(path, safe='')}",
        "Colab": f"https://colab.research.google.com/github/{found[1]}/blob/{quote(branch)}/{path}",
    }


def time_in_words(measured: list[Mapping[str, Any]], uses_gpu: bool) -> str:
    """Describe how long a page's run took, and the reference run if it is another one, and what was not measured."""
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


def _parameters_table(source: Path, used: Mapping[str, Any]) -> str:
    """Return the parameters of a notebook in Markdown; a column shows those that its run changed."""
    rows, is_changed = [], False
    for name, about in runs.parameters_of(source).items():
        here = used.get(name, default := ast.literal_eval(about["default"]))
        is_changed |= here != default
        rows.append(
            {
                "parameter": f"`{name}`",
                "default": f"`{about['default']}`",
                "this page": f"`{json.dumps(here)}`" if here != default else "the same",
                "meaning": about["help"].replace("|", r"\|"),
            }
        )
    table = pd.DataFrame(rows)
    return markdown_table(table if is_changed else table.drop(columns="this page"))
