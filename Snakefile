# Behind `make book`: data -> runs -> claims -> site. Only what changed is made again.
#
# A run's result is marked `update`, so that Snakemake neither deletes it before a run nor loses it when one fails;
# `vaemi run` writes it whole or not at all. A run made by hand (`vaemi run mnist -p beta=4`) is newer than the site, so
# the next `make book` shows it.

import re
import shlex
from pathlib import Path

import yaml

PROFILE = str(config.get("profile", "quick"))
PROFILES = sorted(path.stem for path in Path("notebooks/profiles").glob("*.yaml"))
if PROFILE not in PROFILES:  # a name goes into paths and commands
    raise WorkflowError(f"There is no profile {PROFILE!r} in notebooks/profiles: choose one of {', '.join(PROFILES)}.")
STUDENT = str(config.get("student", 0)) != "0"
ON_DATA = ["mnist", "celeba", "deap"]  # each on the data set of its name
EXPERIMENTS = ["theory", "estimators", "sparsity", "objectives", "your_vae", *ON_DATA]
PACKAGE = [str(path) for path in sorted(Path("vaemi").rglob("*.py"))] + ["vaemi/published.json"]
# Of another profile, where this one takes what was made there.
MADE_AT = yaml.safe_load(Path(f"notebooks/profiles/{PROFILE}.yaml").read_text() or "{}").get("extends", PROFILE)
TAKEN = [str(path) for path in sorted(Path(f"results/{MADE_AT}").glob("weights/*"))] if MADE_AT != PROFILE else []
if MADE_AT != PROFILE and not TAKEN:
    raise WorkflowError(
        f"Profile {PROFILE} takes weights from results/{MADE_AT}/weights, where there are none: make them (make reference; "
        "it says how long that takes), or build another profile."
    )
PAGES = [str(path) for path in sorted(Path("book").rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
RESULTS = expand(f"results/{PROFILE}/{{experiment}}.json", experiment=EXPERIMENTS)
MARKS = f"_build/marks/{PROFILE}"
SWEEPS = yaml.safe_load(Path("notebooks/sweeps.yaml").read_text()).get(MADE_AT)
if not SWEEPS:
    raise WorkflowError(f"notebooks/sweeps.yaml has no profile {MADE_AT!r}: write there which sweeps the book makes.")


rule site:
    input:
        RESULTS,
        PAGES,
        expand(MARKS + "/sweeps/{sweep}", sweep=SWEEPS),
        expand(f"results/{PROFILE}/sweeps/{{sweep}}.csv", sweep=SWEEPS),
        claims=MARKS + "/claims.txt",
        benchmark="benchmarks/estimators.json",
        benchmark_of_scale="benchmarks/scale.json",
        changelog="CHANGELOG.md",
        config="_config.yml",
        contents="_toc.yml",
    output:
        touch(MARKS + "/site"),
    params:
        # A parameter, so that the other edition is built when the switch has changed.
        edition="--student" if STUDENT else "",
    shell:
        "python book/build.py --profile {PROFILE:q} {params.edition}"


# All that is measured, without a site: what `make reference` asks for.
rule measured:
    input:
        MARKS + "/claims.txt",
        expand(MARKS + "/sweeps/{sweep}", sweep=SWEEPS),


# Longest first, so that no core waits at the end.
rule data:
    output:
        touch("_build/marks/data/{data_set}"),
    wildcard_constraints:
        data_set="|".join(ON_DATA),
    priority: 2
    shell:
        "vaemi data get {wildcards.data_set:q}"


rule run:
    input:
        PACKAGE,
        TAKEN,
        notebook="notebooks/{experiment}.ipynb",
        profile=f"notebooks/profiles/{PROFILE}.yaml",
    output:
        update(f"results/{PROFILE}/{{experiment}}.json"),
    wildcard_constraints:
        experiment="|".join(sorted({*EXPERIMENTS} - {*ON_DATA})),
    # Snakemake tells a job's libraries to use so many threads; these small networks are slower with more than one.
    threads: 1
    shell:
        "vaemi run {wildcards.experiment:q} --profile {PROFILE:q}"


use rule run as run_on_data with:
    input:
        PACKAGE,
        TAKEN,
        "_build/marks/data/{experiment}",
        notebook="notebooks/{experiment}.ipynb",
        profile=f"notebooks/profiles/{PROFILE}.yaml",
    wildcard_constraints:
        experiment="|".join(ON_DATA),
    # Training on pictures gains little by a second thread, so two of them run side by side.
    threads: max(1, workflow.cores // 2)
    priority: 1


# After the run that the site shows, which is one of a sweep's, and after all others that can be made. It hands out the
# cores itself, so that it gets all.
if MADE_AT == PROFILE:

    rule sweep:
        input:
            lambda wildcards: f"results/{PROFILE}/{shlex.split(SWEEPS[wildcards.sweep])[0]}.json",
        output:
            # The table is there, too, when some of the runs failed; the mark is not.
            table=update(f"results/{PROFILE}/sweeps/{{sweep}}.csv"),
            mark=touch(MARKS + "/sweeps/{sweep}"),
        wildcard_constraints:
            sweep="|".join(map(re.escape, SWEEPS)),
        params:
            told=lambda wildcards: shlex.split(SWEEPS[wildcards.sweep]),
        threads: workflow.cores
        priority: -1
        # Its progress goes to standard error; what it found is on the page.
        shell:
            "vaemi sweep {params.told:q} --name {wildcards.sweep:q} --profile {PROFILE:q} --jobs {threads} > /dev/null"

else:

    rule sweep:
        input:
            f"results/{MADE_AT}/sweeps/{{sweep}}.csv",
        output:
            f"results/{PROFILE}/sweeps/{{sweep}}.csv",
            touch(MARKS + "/sweeps/{sweep}"),
        shell:
            "cp {input:q} {output[0]:q}"


rule claims:
    input:
        RESULTS,
    output:
        MARKS + "/claims.txt",
    shell:
        "vaemi claims --profile {PROFILE:q} | tee {output:q}"
