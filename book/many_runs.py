"""What the page on many runs shows: the spread over seeds and the path over beta, from the tables of two sweeps.

It is a page and no notebook, since the result of a notebook is kept by its code and its parameters, and would not
be made anew when the sweeps have been.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from companion import claims, figures, runs
from companion.runs import RunError, duration_in_words

ROOT = Path(__file__).resolve().parent.parent
SEEDS, PATH = "mnist-seeds", "mnist-beta"
_ACCURACY = "accuracy_percent_by_ratio_kept"
# What is drawn against beta, from the top.
_PANELS = {
    "influential_factors": f"factors above\n{claims.THRESHOLD:g} nats",
    "total_information_nats": "information of\nall factors (nats)",
    "learned_sigma": "error of a pixel\n(learned $\\sigma$)",
}


def made_at(profile: str) -> str:
    """The profile at which a profile's sweeps are made: its own, or where it takes what was made there."""
    return runs.read_profile(ROOT, profile).extends or profile


def sweeps(profile: str) -> dict[str, str]:
    """Arguments of `vaemi sweep` by the name of the tables.

    Raises
    ------
    RunError
        If the profile has no sweeps.
    """
    path = ROOT / "notebooks" / "sweeps.yaml"
    found = yaml.safe_load(path.read_text()).get(made_at(profile))
    if not found:
        raise RunError(f"{path} has no profile {made_at(profile)!r}: write there which sweeps the book makes with it.")
    return found


def stage(profile: str, results: Path, generated: Path) -> dict[str, Any]:
    """Write the table, the commands and the figure, and return the numbers that `book/many_runs.md` names.

    Parameters
    ----------
    profile : str
        Name of the profile.
    results : Path
        Its results.
    generated : Path
        Where the page's parts go.
    """
    at = made_at(profile)
    commands = {name: f"vaemi sweep {told} --name {name} --profile {at}" for name, told in sweeps(profile).items()}
    seeds, path = (_table(results / "sweeps" / f"{name}.csv", commands[name]) for name in (SEEDS, PATH))
    for name, command in commands.items():
        (generated / f"{name}.md").write_text(f"```console\n$ .venv/bin/{command}\n```\n")
    reference = results.parent / claims.REFERENCE / "sweeps" / f"{SEEDS}.csv"
    beside = pd.read_csv(reference) if at != claims.REFERENCE and reference.exists() else None
    table = _over_seeds(seeds, beside)
    (generated / "many-runs-seeds.md").write_text(table.to_markdown(index=False, disable_numparse=True))
    both = pd.concat([seeds, path]).drop_duplicates("fingerprint")
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
    """Whether the length of the training, too, differs between runs of a profile and the published one."""
    defaults = runs.defaults_of(ROOT / "notebooks" / "mnist.ipynb")
    steps, published = (
        (defaults | runs.read_profile(ROOT, name).parameters["mnist"])["steps"] for name in (profile, claims.REFERENCE)
    )
    if steps == published:
        return f"This profile trains for {steps:,} steps, as the paper does."
    return f"Nor is the seed the only difference: this profile trains for {steps:,} steps, the paper for {published:,}."


def _table(path: Path, command: str) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, pd.errors.EmptyDataError):
        raise RunError(f"{path} is not there: run `{command}` first.") from None


def _over_seeds(table: pd.DataFrame, reference: pd.DataFrame | None) -> pd.DataFrame:
    """A row for each number: the published one, a reference run's, and mean, lowest and highest over the seeds."""
    published = claims.published()["mnist"]
    shown = [
        (f"accuracy with {claims.ratio_in_words(ratio)} of the factors (%)", f"{_ACCURACY}[{ratio}]", accuracy, ".2f")
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
