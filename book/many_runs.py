"""Show the spread over seeds and the path over beta on the page on many runs, from the tables of two sweeps.

The tables are those of the reference run, or this profile's where `vaemi sweep` has made both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from companion import claims, figures, runs
from companion.errors import RunError
from companion.sweep import REFERENCE_SWEEPS
from companion.words import duration_in_words, ratio_in_words

ROOT = Path(__file__).resolve().parent.parent
SEEDS, PATH = REFERENCE_SWEEPS
_ACCURACY = "accuracy_percent_by_ratio_kept"
# Quantities drawn against beta, from the top.
_PANELS = {
    "influential_factors": f"factors above\n{claims.THRESHOLD:g} nats",
    "total_information_nats": "information of\nall factors (nats)",
    "learned_sigma": "error of a pixel\n(learned $\\sigma$)",
}


def tables_of(results: Path) -> list[Path]:
    """Return the tables over seeds and over beta: a profile's own if it has both, else the reference run's.

    Parameters
    ----------
    results : Path
        Results of a profile.
    """
    own, reference = (
        [folder / "sweeps" / f"{name}.csv" for name in (SEEDS, PATH)]
        for folder in (results, results.parent / claims.REFERENCE)
    )
    return own if all(path.exists() for path in own) else reference


def stage(profile: str, results: Path, generated: Path) -> dict[str, Any]:
    """Write the table, the commands and the figure, and return the numbers that `book/many_runs.md` names.

    Parameters
    ----------
    profile : str
        Name of the profile.
    results : Path
        Its results.
    generated : Path
        Folder of generated parts of pages.
    """
    paths = tables_of(results)
    at = paths[0].parent.parent.name
    for name, arguments in REFERENCE_SWEEPS.items():
        command = f"vaemi sweep {arguments} --name {name} --profile {profile}"
        (generated / f"{name}.md").write_text(f"```console\n$ .venv/bin/{command}\n```\n", encoding="utf-8")
    seeds, path = map(_table, paths)
    reference = results.parent / claims.REFERENCE / "sweeps" / f"{SEEDS}.csv"
    beside = pd.read_csv(reference) if at != claims.REFERENCE and reference.exists() else None
    table = _over_seeds(seeds, beside).to_markdown(index=False, disable_numparse=True)
    (generated / "many-runs-seeds.md").write_text(table, encoding="utf-8")
    both = pd.concat([seeds, path]).drop_duplicates(["beta", "seed"])
    figures.use_style()
    figures.beta_path(both, _PANELS).savefig(generated / "fig-many-runs-beta.svg", metadata={"Date": None})
    columns = [column for column in seeds if column.startswith(_ACCURACY)]
    spread = seeds[columns].max() - seeds[columns].min()
    widest = spread.idxmax()
    ends = path.groupby("beta")[list(_PANELS)].mean()
    return {
        "profile": at,
        "seeds": len(seeds),
        "beta": float(seeds.beta.iloc[0]),
        "runs": len(both),
        "in_sum": duration_in_words(sum(map(runs.whole_seconds, both.to_dict("records")))),
        "accuracy": {"all_kept": float(spread[f"{_ACCURACY}[1.0]"]), "widest": float(spread[widest])},
        "ratios": len(columns),
        "published_within": sum(
            bool(seeds[f"{_ACCURACY}[{ratio}]"].min() <= accuracy <= seeds[f"{_ACCURACY}[{ratio}]"].max())
            for ratio, accuracy in claims.published_accuracies().items()
        ),
        "other_than_the_seed": _other_than_the_seed(at),
        "widest_percent_kept": 100 * float(widest.removeprefix(f"{_ACCURACY}[").removesuffix("]")),
        "factors": {"low": int(seeds.influential_factors.min()), "high": int(seeds.influential_factors.max())},
        "first": {"beta": float(ends.index[0]), **ends.iloc[0].to_dict()},
        "last": {"beta": float(ends.index[-1]), **ends.iloc[-1].to_dict()},
        "runs_of_a_beta": path.groupby("beta").size().max().item(),
    }


def _other_than_the_seed(profile: str) -> str:
    """Return a sentence on the length of the training, which can differ from the published one."""
    defaults = runs.defaults_of(ROOT / "notebooks" / "mnist.ipynb")
    steps, published = (
        (defaults | runs.read_profile(ROOT, name).parameters["mnist"])["steps"] for name in (profile, claims.REFERENCE)
    )
    if steps == published:
        return f"This profile trains for {steps:,} steps, as the paper does."
    return f"The seed is not the only difference: this profile trains for {steps:,} steps, the paper for {published:,}."


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, pd.errors.EmptyDataError):
        raise RunError(
            f"{path} does not exist: restore it, or run "
            f"`vaemi sweep {REFERENCE_SWEEPS[path.stem]} --name {path.stem} --profile {claims.REFERENCE}`."
        ) from None


def _over_seeds(table: pd.DataFrame, reference: pd.DataFrame | None) -> pd.DataFrame:
    """Return a row per number: published, a reference run's, and mean, lowest and highest over the seeds."""
    published = claims.published()["mnist"]
    shown: list[tuple[str, str, float | None, str]] = [
        (f"accuracy with {ratio_in_words(ratio)} of the factors (%)", f"{_ACCURACY}[{ratio}]", accuracy, ".2f")
        for ratio, accuracy in claims.published_accuracies().items()
    ]
    above = published["factors_above_half_a_nat"]
    shown += [
        ("factors above half a nat", "factors_above_half_a_nat", above, "g"),
        (f"factors above {claims.THRESHOLD:g} nats", "influential_factors", None, "g"),
        ("information of all factors (nats)", "total_information_nats", None, ".2f"),
    ]
    columns = [column for _, column, _, _ in shown]
    forms = [form for *_, form in shown]
    found = {
        "number": [label for label, *_ in shown],
        "published": ["-" if known is None else f"{known:{form}}" for _, _, known, form in shown],
    }
    if reference is not None:
        means, ends = _means(reference[columns], forms), _ends(reference[columns], forms)
        found["reference run"] = [f"{mean} ({end})" for mean, end in zip(means, ends, strict=True)]
    found |= {"mean": _means(table[columns], forms), "lowest to highest": _ends(table[columns], forms)}
    return pd.DataFrame(found)


def _means(table: pd.DataFrame, forms: list[str]) -> list[str]:
    return [f"{mean:{'.1f' if form == 'g' else form}}" for mean, form in zip(table.mean(), forms, strict=True)]


def _ends(table: pd.DataFrame, forms: list[str]) -> list[str]:
    return [f"{low:{form}} to {high:{form}}" for low, high, form in zip(table.min(), table.max(), forms, strict=True)]
