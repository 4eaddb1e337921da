"""Figures, tables and numbers of the pages without a notebook: the idea, limits, the estimator, scale, many runs.

Each function writes what its page includes to a folder and returns the numbers that the page names.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import explorer
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import optimize, stats
from templates import ROOT, markdown_table

from companion import claims, figures, runs
from companion.experiments import pages
from companion.sweep import REFERENCE_SWEEPS
from companion.words import duration_in_words, number_in_words, range_in_words, ratio_in_words
from vaemi import influence

SEEDS, PATH = REFERENCE_SWEEPS
START = "mnist-start"
_BENCHMARKS = ROOT / "benchmarks"
# The digit of the landing page.
_DIGIT = 3
NOTHING = "-"


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})


def _write_table(rows: Any, path: Path) -> None:
    path.write_text(markdown_table(pd.DataFrame(rows)), encoding="utf-8")


def landing(mnist: Mapping[str, Any], tensors: Path, generated: Path) -> None:
    """Draw the figure of `book/index.md` from the values of a MNIST run and the tensors that it kept, if any."""
    nats, sigma_star = mnist["information_nats"], mnist["sigma_star"]
    strips = {}
    if tensors.exists():
        kept = explorer.load(tensors)
        factors = explorer.shown_factors(nats)
        factors = list(dict.fromkeys([*factors[:3], factors[-1]]))
        pictures = influence.traverse(kept.model, kept.mean[_DIGIT], factors, torch.tensor(sigma_star), steps=7)
        strips = dict(zip(factors, pictures, strict=True))
    _save(figures.landing(nats, sigma_star, strips, claims.THRESHOLD), generated / "fig-landing.svg")


def idea(generated: Path) -> dict[str, float]:
    """Draw the figure of `book/idea.md`."""
    _save(figures.used_and_ignored_factor(), generated / "fig-idea.svg")
    return {"used_nats": pages.used_factor_nats()}


def limits(mnist: Mapping[str, Any], generated: Path) -> dict[str, Any]:
    """Draw the figure of `book/beyond.md`, which also quotes the values of a MNIST run."""
    codes = pages.rotated_codes()
    _save(figures.rotated_code(codes), generated / "fig-beyond-turned.svg")
    shares = {"half": 0.5, "tenth": 0.1, "hundredth": 0.01}
    # The smallest group whose membership has an entropy above the threshold.
    smallest = optimize.brentq(lambda p: -p * math.log(p) - (1 - p) * math.log1p(-p) - claims.THRESHOLD, 1e-12, 0.5)
    damage = pages.damage_correlation(mnist["information_nats"], mnist["removal_damage"])
    return {
        "turned": pages.rotated_numbers(codes),
        "copies": pages.noisy_copies(),
        # A correlation of fewer than two factors is not defined.
        "damage": {name: number_in_words(None if math.isnan(value) else value) for name, value in damage.items()},
        "decoder_uses_them": damage["influential"] > 0.5,
        "flag_nats": {name: pages.rare_flag(share) for name, share in shares.items()},
        "smallest_flag_percent": 100 * float(smallest),
    }


_SHORT = {"fixed bins, 100 on [-4, 4]": "fixed bins", "Monte-Carlo log-sum-exp": "log-sum-exp"}


def estimators(generated: Path) -> dict[str, Any]:
    """Write the tables and the figure of the committed benchmarks of estimators."""
    measured = json.loads((_BENCHMARKS / "estimators.json").read_text(encoding="utf-8"))
    rows = pd.DataFrame(measured["rows"]).rename(columns={"cpu_seconds_one_thread": "cpu_seconds"})
    rows = rows[rows.failed.isna()].replace({"estimator": _SHORT})
    ours = rows[rows.estimator == "vaemi"].set_index(["m", "scale"]).cpu_seconds
    rows["times_ours"] = rows.cpu_seconds / ours.loc[list(zip(rows.m, rows.scale, strict=True))].to_numpy()
    as_given = rows[rows.scale == 1].sort_values(["m", "cpu_seconds"])
    _save(figures.cost_and_error(as_given[as_given.m == 10_000]), generated / "fig-estimators-cost.svg")
    columns = {
        "estimator": as_given.estimator,
        "samples": as_given.m.map("{:,}".format),
        "CPU seconds, one thread": as_given.cpu_seconds.map(lambda s: f"{s:.3g}" if s < 100 else f"{s:,.0f}")
        + as_given.projected.map({True: r"\*", False: ""}),
        "times vaemi": as_given.times_ours.map(lambda times: f"{float(f'{times:.2g}'):,g}"),
        "peak memory (MB)": as_given.peak_megabytes.map("{:.0f}".format),
        "largest error (nats)": as_given.largest_error.map("{:.1g}".format),
    }
    _write_table(columns, generated / "benchmark-estimators.md")
    seconds = as_given.set_index(["estimator", "m"]).cpu_seconds
    rescaled = rows[rows.scale == 10].set_index("estimator").largest_error
    return {
        "machine": measured["machine"],
        "estimators": as_given.estimator.nunique(),
        "cpu_seconds": {str(m): float(value) for m, value in seconds["vaemi"].items()},
        "fixed_bins_cpu_seconds": float(seconds["fixed bins", 50_000]),
        "times_faster_than_fixed_bins": float(seconds["fixed bins", 50_000] / seconds["vaemi", 50_000]),
        "times_faster_than_log_sum_exp": float(seconds["log-sum-exp", 50_000] / seconds["vaemi", 50_000]),
        "fixed_bins_error_when_rescaled": float(rescaled["fixed bins"]),
        "robustness": _robustness(generated),
        "labels": _labels(generated),
        "speed": _speed(generated),
    }


def _speed(generated: Path) -> dict[str, Any]:
    """Write the table of the estimator before and after a change; return what the run was."""
    measured = json.loads((_BENCHMARKS / "speed.json").read_text(encoding="utf-8"))
    before, after, formula = ("before", "after", "the paper's formula")
    rows = [
        {
            "case": row["case"],
            "CPU seconds before": f"{row[before]['cpu_seconds']:.2g}",
            "after": f"{row[after]['cpu_seconds']:.2g}",
            "goal": f"{row['goal_cpu_seconds']:.2g}",
            "times the paper's formula, before": f"{row[before]['cpu_seconds'] / row[formula]['cpu_seconds']:.1f}",
            "after ": f"{row[after]['cpu_seconds'] / row[formula]['cpu_seconds']:.1f}",
            "peak memory (MB), before": f"{row[before].get('peak_megabytes', math.nan):.0f}",
            "after  ": f"{row[after].get('peak_megabytes', math.nan):.0f}",
            "largest error (nats)": f"{row[after]['largest_error']:.0e}",
        }
        for row in measured["rows"]
    ]
    _write_table(rows, generated / "benchmark-speed.md")
    return {"date": measured["date"], "before": measured["commits"]["before"], "machine": measured["machine"]}


def _labels(generated: Path) -> dict[str, Any]:
    """Write the table of information about numbers; return the numbers that the page names."""
    measured = json.loads((_BENCHMARKS / "labels.json").read_text(encoding="utf-8"))
    peers = [peer for peer in ("ten classes", "scikit-learn", "GMM-MI") if peer in measured["rows"][0]]
    shown = [
        {
            "case": row["case"],
            "truth (nats)": f"{row['truth']:.3f}",
            "vaemi": f"{row['vaemi']['mean']:.3f}",
            "its standard error": f"{row['stderr']:.3f}",
            "root mean square error": f"{row['vaemi']['error']:.3f}",
            "intervals that hold the truth": f"{row['covered']} of {row['data_sets']}",
            **{peer: f"{row[peer]['mean']:.3f}" for peer in peers},
        }
        for row in measured["rows"]
    ]
    _write_table(shown, generated / "labels.md")
    return {"samples": measured["samples"]}


def _robustness(generated: Path) -> dict[str, Any]:
    """Write the tables of negative values, repetitions and bias; return the numbers that the page names."""
    measured = json.loads((_BENCHMARKS / "robustness.json").read_text(encoding="utf-8"))
    rows = [row for row in measured["rows"] if not row["failed"]]
    shown = [
        {
            "estimator": _SHORT.get(row["estimator"], row["estimator"]),
            "negative values": f"{row['ignored']['negative']} of {row['ignored']['factors']}",
            "lowest value (nats)": _signed(row["ignored"]["lowest"]),
            "spread over seeds (nats)": _signed(row["seeds"]["spread"]),
        }
        for row in rows
    ]
    _write_table(shown, generated / "robustness-values.md")
    tables: dict[str, list[dict[str, str]]] = {"levels": [], "dimensions": []}
    for row in rows:
        name = {"estimator": _SHORT.get(row["estimator"], row["estimator"])}
        tables["levels"].append(name | {_nats(at["truth"]): _estimate(at) for at in row["levels"]})
        if row["dimensions"]:
            cells = {f"{_nats(at['truth'])} in {at['dimension']} factors": _estimate(at) for at in row["dimensions"]}
            tables["dimensions"].append(name | cells)
    for part, cells_of_rows in tables.items():
        _write_table(pd.DataFrame(cells_of_rows).fillna("-"), generated / f"robustness-{part}.md")
    return {
        "samples": measured["samples"],
        "ceiling_nats": math.log(measured["samples"]),
        "seeds": len(rows[0]["seeds"]["nats"]),
        "seeds_truth_nats": rows[0]["seeds"]["truth"],
        "estimators": len(rows),
        "exactly_zero": {row["estimator"]: row["ignored"]["exactly_zero"] for row in rows},
    }


def _nats(amount: float) -> str:
    return f"{amount:g} nat" if amount == 1 else f"{amount:g} nats"


def _signed(nats: float) -> str:
    return "0" if nats == 0 else f"{nats:.1g}" if abs(nats) < 0.01 else f"{nats:.2f}"


def _estimate(at: Mapping[str, Any]) -> str:
    return f"{at['estimate']:.2f}" + (f" to {at['upper']:.2f}" if "upper" in at else "")


def families(generated: Path) -> dict[str, Any]:
    """Write the tables of posterior families and of other libraries' models, from the committed benchmark."""
    measured = json.loads((_BENCHMARKS / "families.json").read_text(encoding="utf-8"))
    truths = [
        {
            "posterior": row["family"],
            "measured": row["measured"],
            "truth": f"{row['truth']:.3f} ({row['known_by']})",
            "vaemi": f"{row['nats']:.3f}",
            "standard error": f"{row['stderr']:.3f}",
            "upper value": f"{row['upper']:.3f}",
            "error": f"{row['nats'] - row['truth']:+.3f}".replace("-0.000", "0.000").replace("+0.000", "0.000"),
        }
        for row in measured["truths"]
    ]
    models = [
        {
            "library": row["library"],
            "model": f"`{row['model']}`",
            "outcome": row["outcome"],
            "codes of its decoder, mean": "-" if row["mean"] is None else f"{row['mean']:.2f}",
            "mean square": "-" if row["mean_square"] is None else f"{row['mean_square']:.2f}",
        }
        for row in measured["models"]
    ]
    said = [
        {"model": f"`{row['model']}`", "what `vaemi.audit` says": row["says"].replace("{", r"\{").replace("*", r"\*")}
        for row in measured["models"]
        if row["says"]
    ]
    for name, rows in (("truths", truths), ("models", models), ("sentences", said)):
        _write_table(rows, generated / f"families-{name}.md")
    return {"samples": measured["samples"], "inputs": measured["inputs"]}


def scale(generated: Path) -> dict[str, Any]:
    """Draw the committed benchmark of large data."""
    measured = json.loads((_BENCHMARKS / "scale.json").read_text(encoding="utf-8"))
    rows = pd.DataFrame(measured["rows"]).sort_values("samples")
    _save(figures.time_and_memory(rows, megabytes_of_a_sample=8e-6 * measured["factors"]), generated / "fig-scale.svg")
    in_files = rows[~rows.in_memory]
    return measured | {
        "fewest": in_files.iloc[0].to_dict(),
        "most": in_files.iloc[-1].to_dict(),
        "in_memory": rows[rows.in_memory].iloc[-1].to_dict(),
    }


def training(generated: Path) -> dict[str, Any]:
    """Write the tables of the committed benchmark of training and the paragraph on graphics cards."""
    measured = json.loads((_BENCHMARKS / "training.json").read_text(encoding="utf-8"))
    of_ours, of_float32 = measured["times_as_fast_as"].values()
    peers = [
        {
            "training": name,
            "CPU ms per step": f"{milliseconds:.1f}",
            "vaemi is faster by": _times(of_ours.get(name)),
            "vaemi in float32 is faster by": _times(of_float32.get(name)),
        }
        for name, milliseconds in measured["cpu_milliseconds_per_step"].items()
    ]
    parts = pd.DataFrame(measured["milliseconds_by_part"]).rename_axis("part (CPU ms per step)").reset_index()
    _write_table(peers, generated / "training-peers.md")
    _write_table(parts.round(1).astype(str), generated / "training-parts.md")
    (generated / "gpu.md").write_text(gpu(_BENCHMARKS / "gpu.json"), encoding="utf-8")
    return {name: measured[name] for name in ("steps", "precision", "threads", "torch", "processor")}


def _times(ratios: list[float] | None) -> str:
    return NOTHING if ratios is None else f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def gpu(path: Path) -> str:
    """Return the table of a benchmark on a graphics card, or the sentence that it has not been run on one."""
    if not path.exists():
        return (
            "The measurements on a graphics card have not been run: no card was at hand. On a machine with a CUDA "
            "card, this command is meant to take at most eight minutes:\n\n"
            "```console\n$ .venv/bin/python benchmarks/gpu.py --json benchmarks/gpu.json\n```\n"
        )
    measured = json.loads(path.read_text(encoding="utf-8"))
    estimator, sketch, chapter = (measured[name] for name in ("estimator", "sketch", "chapter"))
    rows: list[tuple[str, str, str]] = [
        (
            f"estimator, {estimator['samples']:,} samples of {estimator['factors']} factors",
            f"{estimator['seconds']['card']:.3g} s",
            f"{estimator['seconds']['cpu']:.3g} s on the machine's CPU; a factor differs by "
            f"{estimator['largest_difference_nats']:.0e} nats at most",
        ),
        (
            "step of a training that updates a sketch",
            f"{sketch['milliseconds_per_step']['with']:.3g} ms",
            f"{sketch['milliseconds_per_step']['without']:.3g} ms without; {sketch['overhead_percent']:+.0f} %",
        ),
    ]
    rates = dict(measured["training"]["steps_per_second"])
    plain = rates.pop("plain loop, float32")
    rows += [
        (f"training, {name}", f"{rate:.0f} steps/s", f"plain loop in float32: {plain:.0f}")
        for name, rate in rates.items()
    ]
    if two := measured["two_processes"]:
        one, both = two["steps_per_second"].values()
        rows.append((f"two processes over {two['backend']}", f"{both:.0f} steps/s", f"one: {one:.0f}"))
    rows += [(f"peak memory, {name}", f"{size:.0f} MB", NOTHING) for name, size in measured["peak_megabytes"].items()]
    verdicts = ", ".join(f"{id} {verdict}" for id, verdict in chapter["verdicts"].items())
    rows.append(
        (f"{chapter['parameters']['steps']:,} steps on MNIST", f"{chapter['training_seconds']:.0f} s", verdicts)
    )
    table = markdown_table(pd.DataFrame(rows, columns=["measurement", measured["card"], "compared with, or verdicts"]))
    about = f"{measured['card']}, with torch {measured['machine']['torch']}"
    return f"`benchmarks/gpu.py` measured on {about}:\n\n{table}"


def remarks(generated: Path) -> dict[str, Any]:
    """Write the table of wrong and missing remarks on the scale; return the numbers that the page names."""
    measured = json.loads((_BENCHMARKS / "remarks.json").read_text(encoding="utf-8"))
    misread = ("log_std", "variance", "std")

    def misses(of: Mapping[str, Any], kind: str) -> int:
        return sum(of[name][kind] for name in misread)

    rows = [
        {
            "epochs": epochs,
            "trainings": of["trainings"],
            "false alarms": of["false_alarms"],
            "misreadings": misses(of, "matter"),
            "remarked": misses(of, "remarked"),
            "undecided": misses(of, "undecided"),
            "no message": misses(of, "silent"),
        }
        for epochs, of in (*measured["by_epochs"].items(), ("all", measured["all"]))
    ]
    _write_table(rows, generated / "remarks.md")
    every = measured["all"]
    return {
        "trainings": every["trainings"],
        "matters": measured["matters"],
        "false_alarms": every["false_alarms"],
        "false_alarms_with_kl": every["false_alarms_with_kl"],
        **{kind: misses(every, kind) for kind in ("matter", "silent", "silent_with_kl")},
        "reported": misses(every, "matter") - misses(every, "silent"),
    }


# --- many runs of MNIST -----------------------------------------------------------------------------------------------

_ACCURACY = "accuracy_percent_by_ratio_kept"
# Quantities drawn against beta, from the top.
_PANELS = {
    "influential_factors": f"factors above\n{claims.THRESHOLD:g} nats",
    "total_information_nats": "information of\nall factors (nats)",
    "learned_sigma": "error of a pixel\n(learned $\\sigma$)",
}


def tables_of(results: Path) -> list[Path]:
    """Return the tables over seeds and over beta: a profile's own if it has both, else the reference run's."""
    own, reference = (
        [folder / "sweeps" / f"{name}.csv" for name in (SEEDS, PATH)]
        for folder in (results, results.parent / claims.REFERENCE)
    )
    return own if all(path.exists() for path in own) else reference


def many_runs(results: Path, generated: Path) -> dict[str, Any]:
    """Write the table, the commands and the figure of `book/many_runs.md` for the results of a profile."""
    paths = tables_of(results)
    profile = paths[0].parent.parent.name
    for name, arguments in REFERENCE_SWEEPS.items():
        command = f".venv/bin/vaemi sweep {arguments} --name {name} --profile {results.name}"
        (generated / f"{name}.md").write_text(f"```console\n$ {command}\n```\n", encoding="utf-8")
    seeds, path = map(pd.read_csv, paths)
    reference = results.parent / claims.REFERENCE / "sweeps" / f"{SEEDS}.csv"
    beside = pd.read_csv(reference) if profile != claims.REFERENCE and reference.exists() else None
    (generated / "many-runs-seeds.md").write_text(_over_seeds(seeds, beside), encoding="utf-8")
    both = pd.concat([seeds, path]).drop_duplicates(["beta", "seed"])
    _save(figures.beta_path(both, _PANELS), generated / "fig-many-runs-beta.svg")
    accuracies = seeds.filter(like=f"{_ACCURACY}[").rename(columns=lambda name: name.split("[")[1].rstrip("]"))
    spread = accuracies.max() - accuracies.min()
    published = pd.Series(claims.published_accuracies())
    ends = path.groupby("beta", as_index=False)[list(_PANELS)].mean()
    return {
        "profile": profile,
        "seeds": len(seeds),
        "beta": float(seeds.beta.iloc[0]),
        "runs": len(both),
        "in_sum": duration_in_words(sum(map(runs.whole_seconds, both.to_dict("records")))),
        "accuracy": {"all_kept": float(spread["1.0"]), "widest": float(spread.max())},
        "ratios": len(published),
        "published_within": int(published.between(accuracies.min(), accuracies.max()).sum()),
        "other_than_the_seed": _other_than_the_seed(profile),
        "widest_percent_kept": 100 * float(spread.idxmax()),
        "first": ends.iloc[0].to_dict(),
        "last": ends.iloc[-1].to_dict(),
    }


def _other_than_the_seed(profile: str) -> str:
    """Return a sentence on the length of the training, which can differ from the published one."""
    defaults = runs.defaults_of(ROOT / "notebooks" / "mnist.ipynb")
    steps, published = (
        (defaults | runs.read_profile(ROOT, name).parameters["mnist"])["steps"] for name in (profile, claims.REFERENCE)
    )
    if steps == published:
        return f"This profile trains for {steps:,} steps, as the authors' notebook does."
    return (
        f"The seed is not the only difference: this profile trains for {steps:,} steps, the authors' notebook for "
        f"{published:,}."
    )


def _accuracies() -> dict[str, tuple[str, float]]:
    """Return the column in the table of a sweep and the published number of each accuracy, by what a page calls it."""
    return {
        f"accuracy with {ratio_in_words(ratio)} of the factors (%)": (f"{_ACCURACY}[{ratio}]", accuracy)
        for ratio, accuracy in claims.published_accuracies().items()
    }


def _over_seeds(seeds: pd.DataFrame, reference: pd.DataFrame | None) -> str:
    """Return a Markdown table of numbers: published, a reference run's, and mean and range over the seeds."""
    shown = [(label, column, f"{accuracy:.2f}") for label, (column, accuracy) in _accuracies().items()]
    above_half = claims.published()["mnist"]["factors_above_half_a_nat"]
    shown += [
        ("factors above half a nat", "factors_above_half_a_nat", f"{above_half}"),
        (f"factors above {claims.THRESHOLD:g} nats", "influential_factors", "-"),
        ("information of all factors (nats)", "total_information_nats", "-"),
    ]

    def mean_and_range(values: pd.Series) -> tuple[str, str]:
        whole = "factors" in values.name  # a count
        low, high = (f"{end:g}" if whole else f"{end:.2f}" for end in (values.min(), values.max()))
        return f"{values.mean():.{1 if whole else 2}f}", f"{low} to {high}"

    rows = []
    for label, column, published in shown:
        mean, span = mean_and_range(seeds[column])
        row = {"number": label, "published": published}
        if reference is not None:
            row["reference run"] = "{} ({})".format(*mean_and_range(reference[column]))
        rows.append(row | {"mean": mean, "lowest to highest": span})
    return markdown_table(pd.DataFrame(rows))


# --- the published run among runs of the same setting -----------------------------------------------------------------


def published_among_runs(table: Path) -> tuple[str, dict[str, Any]]:
    """Compare the published numbers with runs at the published setting that start as PyTorch and as Keras do.

    Parameters
    ----------
    table : Path
        CSV file with a row per run.

    Returns
    -------
    str
        Markdown table: each published number with the range over the runs of each start, and the number of runs below.
    dict
        Numbers that the page names.
    """
    found = pd.read_csv(table)
    notebook = claims.published()["mnist"]
    numbers = {label: (column, accuracy, 2) for label, (column, accuracy) in _accuracies().items()}
    numbers["factors above half a nat"] = ("factors_above_half_a_nat", notebook["factors_above_half_a_nat"], 0)
    # The authors' number is the negative of ours.
    objective = -notebook["objective_on_validation_at_epoch_100"]
    numbers["objective on all validation digits"] = ("objective_on_validation", objective, 1)
    rows, outside, inside = [], 0, Counter()
    for label, (column, published, digits) in numbers.items():
        values = found[column]
        of_start = {}
        for start, own in values.groupby(found.start):
            of_start[f"{start} start"] = range_in_words(own.tolist(), digits)
            inside[start] += bool(own.min() <= published <= own.max())
        below, equal = (values < published).sum(), (values == published).sum()
        outside += below + equal == 0 or below == len(values)
        rows.append(
            {
                "number": label,
                "published": f"{published:.{digits}f}",
                **of_start,
                "runs below": f"{below} of {len(values)}",
            }
        )
    starts = found.start.value_counts()
    return markdown_table(pd.DataFrame(rows)), {
        "runs": len(found),
        "starts": ", ".join(f"{number} with the {start} start" for start, number in starts.items()),
        "numbers": len(rows),
        "inside": dict(inside),
        "outside": int(outside),
        "outside_by_chance": 2 * len(rows) / (len(found) + 1),
    }


def factor_counts(mnist: Mapping[str, Any], table: Path) -> str:
    """Return a Markdown table of the factors above half a nat by source.

    Parameters
    ----------
    mnist : mapping
        Values of the MNIST run of this build.
    table : Path
        Table of the reference run's seeds.
    """
    published = claims.published()
    figure = published["mnist_figure_1"]
    rows = [
        {
            "source": "Figure 1 of the paper, read off by eye",
            "factors above half a nat": str(figure["factors_drawn"]),
            "the most informative (nats)": f"about {figure['information_nats']['max']:g}",
            "all factors (nats)": f"about {figure['sum_about']:g}",
        }
    ]
    seeds = pd.read_csv(table).rename(columns=lambda name: name.replace("[max]", "")).to_dict("records")
    found = {
        "the authors' notebook": published["mnist"],
        "an independent run in PyTorch": published["mnist_independent_port"],
        "an independent run that starts as Keras does": published["mnist_keras_start"],
        **{f"the reference run, seed {run['seed']}": run for run in seeds},
        "the MNIST page of this build": mnist,
    }
    for source, run in found.items():
        most = run.get("information_of_influential_factors_nats")
        values = (most["max"] if isinstance(most, dict) else most, run.get("total_information_nats"))
        counted = str(run["factors_above_half_a_nat"])
        rows.append(dict(zip(rows[0], [source, counted, *map(number_in_words, values)], strict=True)))
    return markdown_table(pd.DataFrame(rows))


# --- the seeds of the reference run beside the published accuracies ---------------------------------------------------

# A difference of more points between the mean over the seeds and the published accuracy is looked into.
_POINTS = 2.0
_CONFIDENCE = 0.95


def deviations(table: Path) -> str:
    """Compare the seeds of the reference run, given by the table of their sweep, with the published accuracies."""
    seeds = pd.read_csv(table)
    accuracies, changes = [], []
    for ratio, published in claims.published_accuracies().items():
        found = seeds[f"{_ACCURACY}[{ratio}]"]
        difference = found.mean() - published
        accuracies.append(
            {
                "factors kept": ratio_in_words(ratio),
                "published (%)": f"{published:.2f}",
                "mean (%)": f"{found.mean():.2f}",
                "each seed (%)": ", ".join(f"{one:.2f}" for one in found),
                "difference (points)": f"{difference:+.2f}",
            }
        )
        if abs(difference) > _POINTS:
            changes.append({"factors kept": ratio_in_words(ratio)} | _changes(seeds, ratio, published))
    text = markdown_table(pd.DataFrame(accuracies))
    if not changes:
        return f"{text}\nNo mean is more than {_POINTS:g} points off.\n"
    text += f"\n{len(changes)} of the {len(accuracies)} means are more than {_POINTS:g} points off. "
    text += "The accuracies (%) after smaller changes of the same runs, and which changes reach the published one:\n"
    return f"{text}\n{markdown_table(pd.DataFrame(changes))}"


def _changes(seeds: pd.DataFrame, ratio: str, published: float) -> dict[str, str]:
    """Return the range of accuracies after each change of a run, and the changes that reach the published accuracy."""
    found = seeds[f"{_ACCURACY}[{ratio}]"]

    def ends(*names: str) -> pd.DataFrame:
        columns = seeds[[f"{name}[{ratio}]" for name in names]]
        return pd.DataFrame({"low": columns.min(axis=1), "high": columns.max(axis=1)})

    changes = {
        "another classifier": ends("lowest_accuracy_percent_of_classifiers", "highest_accuracy_percent_of_classifiers"),
        "a longer training of it": ends(_ACCURACY, "accuracy_percent_of_longer_classifier"),
        "the Gaussian ranking": ends(_ACCURACY, "accuracy_percent_by_gaussian_ranking"),
        "one factor exchanged": ends(
            "lowest_accuracy_percent_after_exchange", "highest_accuracy_percent_after_exchange"
        ),
    }
    n = len(found)
    half = stats.t.ppf((1 + _CONFIDENCE) / 2, n - 1) * found.std() * math.sqrt(1 + 1 / n) if n > 1 else math.inf
    changes[f"one more seed, {100 * _CONFIDENCE:.0f} % interval"] = pd.DataFrame(
        {"low": [found.mean() - half], "high": [found.mean() + half]}
    )
    reached = [name for name, at in changes.items() if ((at.low <= published) & (published <= at.high)).any()]
    return {
        **{name: f"{at.low.min():.1f} to {at.high.max():.1f}" for name, at in changes.items()},
        "reached by": "; ".join(name.partition(",")[0] for name in reached) or "none",
    }
