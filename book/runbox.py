"""The box on every notebook page: how to run it, where, its parameters, and how long it takes; links to the repository.

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
    branch, there = repository["branch"], on_github(repository)
    if not there:
        return {}
    path = f"notebooks/{name}.ipynb"
    return {
        "Binder": f"https://mybinder.org/v2/gh/{there}/{quote(branch, safe='')}?labpath={quote(path, safe='')}",
        "Colab": f"https://colab.research.google.com/github/{there}/blob/{quote(branch)}/{path}",
    }


def on_github(repository: Mapping[str, str]) -> str:
    """Return "owner/name" of the public repository, or "" without a public address.

    Raises
    ------
    CompanionError
        If the public address is not on GitHub.
    """
    url = repository["url"]
    found = _ON_GITHUB.fullmatch(url)
    if url and not found:
        raise CompanionError(
            f"repository.url in _config.yml is {url!r}, which is not a repository on GitHub: write "
            "https://github.com/OWNER/NAME, or leave it empty to omit the links to the repository, Binder and Colab."
        )
    return found[1] if found else ""


def public_links(repository: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the parts of Jupyter Book's configuration that put links to a public repository on every page.

    The theme makes them from the place of a page, which is the same in the repository and in what Jupyter Book reads:
    launch buttons open `notebooks/NAME.ipynb`. Without a public address there are none.
    """
    if not (there := on_github(repository)):
        return {}
    owner, _, name = there.partition("/")
    return {
        "repository": {"url": f"https://github.com/{there}"},  # without what the theme would not understand
        "html": {
            "use_repository_button": True,
            "use_issues_button": True,
            "use_edit_page_button": True,
            "baseurl": f"https://{owner}.github.io/{name}/",  # where .github/workflows/pages.yml publishes
        },
        "launch_buttons": {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        },
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
