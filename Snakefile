# Behind `make book`: data -> runs -> claims -> site. Snakemake decides what to make again.
#
# Results are marked `update`, so that Snakemake does not delete them before a run; `vaemi run` replaces them when it has
# succeeded. A run made by hand (`vaemi run mnist -p beta=4`) is newer than the site: the next `make book` shows it.

import shlex
from glob import glob
from pathlib import Path

from snakemake.logging import logger

from companion import runs
from companion.sweep import REFERENCE_SWEEPS

PROFILE = str(config.get("profile", "quick"))
PROFILES = sorted(path.stem for path in Path("notebooks/profiles").glob("*.yaml"))
if PROFILE not in PROFILES:  # a name goes into paths and commands
    raise WorkflowError(f"There is no profile {PROFILE!r} in notebooks/profiles: choose one of {', '.join(PROFILES)}.")
STUDENT = str(config.get("student", 0)) != "0"
ON_DATA = ["mnist", "celeba", "deap"]  # each on the data set of its name
EXPERIMENTS = ["theory", "criteria", "estimators", "sparsity", "objectives", "your_vae", *ON_DATA]
SETTINGS = runs.read_profile(Path(), PROFILE)
EXTENDED = SETTINGS.extends
WEIGHTS = sorted(map(str, Path(f"results/{EXTENDED}").glob("weights/*")))
if SETTINGS.weights.get("trained_only") and not WEIGHTS:
    raise WorkflowError(
        f"Profile {PROFILE} takes weights from results/{EXTENDED}/weights, where there are none: make them (make "
        "reference; it says how long that takes), or build another profile."
    )
PAGES = [str(path) for path in sorted(Path("book").rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
RESULTS = expand(f"results/{PROFILE}/{{experiment}}.json", experiment=EXPERIMENTS)
MARKS = f"_build/marks/{PROFILE}"
# What each step prints, which `make book` shows only if the step fails.
LOG = f"_build/log/{PROFILE}"
REFERENCE_TABLES = [f"results/paper/sweeps/{name}.csv" for name in REFERENCE_SWEEPS]
# Those that `vaemi sweep` made at this profile, if any.
OWN_TABLES = [path for name in REFERENCE_SWEEPS if Path(path := f"results/{PROFILE}/sweeps/{name}.csv").exists()]

# By experiment: a mark for each data set that it reads. It is newer than the result if the user's files have changed.
DATA_MARKS = {name: runs.data_marks(Path(), name, PROFILE) for name in EXPERIMENTS}
# Modules that a chapter uses, beside those of all chapters.
CHAPTER = {
    "celeba": ["celeba", "faces"],
    "deap": ["deap", "eeg"],
    "mnist": ["mnist", "classifier"],
    "objectives": ["objectives", "theory"],
}


def code_of(experiment):
    """The code that a run uses; a change elsewhere does not make it again."""
    names = ["__init__", "shared", "style", *CHAPTER.get(experiment, [experiment])]
    modules = [Path(f"companion/{room}/{name}.py") for room in ("experiments", "figures") for name in names]
    judged = [Path("companion") / name for name in ("claims.py", "claims.toml", "published.json")]
    rooms = [path for room in ("vaemi", "companion/data") for path in sorted(Path(room).rglob("*.py"))]
    return [str(path) for path in [*rooms, *modules, *judged] if path.exists()]


def inputs_of(wildcards):
    name = wildcards.experiment
    if name in SETTINGS.as_run:
        return [f"results/{EXTENDED}/{name}.json"]
    # Its page compares counts with those of the longer run.
    longer = ["results/paper/objectives.json"] if name == "objectives" and PROFILE != "paper" else []
    own = [f"notebooks/{name}.ipynb", f"notebooks/profiles/{PROFILE}.yaml", *code_of(name)]
    return [*own, *DATA_MARKS[name], *WEIGHTS, *longer]


onstart:
    # For book/progress.py.
    steps = [(job.rule.name, job.wildcards_dict) for job in workflow.dag.needrun_jobs()]
    logger.info("plan", extra={"plan": steps, "durations": f"{LOG}/durations.json"})


rule site:
    input:
        RESULTS,
        PAGES,
        REFERENCE_TABLES,
        OWN_TABLES,
        "results/paper/sweeps/mnist-start.csv",
        claims=MARKS + "/claims.txt",
        benchmark="benchmarks/estimators.json",
        benchmark_of_labels="benchmarks/labels.json",
        benchmark_of_robustness="benchmarks/robustness.json",
        benchmark_of_scale="benchmarks/scale.json",
        benchmark_of_speed="benchmarks/speed.json",
        benchmark_of_training="benchmarks/training.json",
        benchmark_of_gpu=glob("benchmarks/gpu.json"),  # if it has been run on a card
        benchmark_of_remarks="benchmarks/remarks.json",
        benchmark_of_families="benchmarks/families.json",
        changelog="CHANGELOG.md",
        config="_config.yml",
        contents="_toc.yml",
    output:
        touch(f"{MARKS}/{'student' if STUDENT else 'site'}"),
    params:
        edition="--student" if STUDENT else "",
    log:
        LOG + "/site.log",
    shell:
        "python book/build.py --profile {PROFILE:q} {params.edition} > {log:q} 2>&1"


# The results without a site, for `make reference`.
rule measured:
    input:
        MARKS + "/claims.txt",
        REFERENCE_TABLES,


rule data:
    output:
        f"results/{PROFILE}/.data/{{data_set}}-{{source}}",
    wildcard_constraints:
        data_set="|".join(ON_DATA),
    priority: 2
    log:
        LOG + "/data-{data_set}-{source}.log",
    shell:
        "vaemi data get {wildcards.data_set:q} --source {wildcards.source:q} > {log:q} 2>&1 && "
        "python -m companion.data {wildcards.data_set:q} {wildcards.source:q} > {output:q} 2>> {log:q}"


rule run:
    input:
        inputs_of,
    output:
        update(f"results/{PROFILE}/{{experiment}}.json"),
    wildcard_constraints:
        experiment="|".join(sorted({*EXPERIMENTS} - {*ON_DATA})),
    # Libraries use as many threads as a rule declares; these small networks are slower with more than one.
    threads: 1
    log:
        LOG + "/{experiment}.log",
    shell:
        "vaemi run {wildcards.experiment:q} --profile {PROFILE:q} > {log:q} 2>&1"


# The longest runs come first, so that no core waits at the end.
use rule run as run_on_data with:
    wildcard_constraints:
        experiment="|".join(ON_DATA),
    # Training on pictures gains little from a second thread, so two of them run side by side.
    threads: max(1, workflow.cores // 2)
    priority: 1


# The sweeps that the book shows are those of the reference run, which are committed; only `make reference` makes them.
if PROFILE == "paper":

    rule sweep:
        input:
            ancient("results/paper/mnist.json"),
        output:
            update("results/paper/sweeps/{sweep}.csv"),
        wildcard_constraints:
            sweep="|".join(REFERENCE_SWEEPS),
        params:
            arguments=lambda wildcards: shlex.split(REFERENCE_SWEEPS[wildcards.sweep]),
        threads: workflow.cores
        priority: -1
        log:
            LOG + "/sweep-{sweep}.log",
        shell:
            "vaemi sweep {params.arguments:q} --name {wildcards.sweep:q} --profile paper --jobs {threads} > {log:q} 2>&1"


rule claims:
    input:
        RESULTS,
    output:
        MARKS + "/claims.txt",
    log:
        LOG + "/claims.log",
    shell:
        "vaemi claims --profile {PROFILE:q} > {output:q} 2> {log:q}"
