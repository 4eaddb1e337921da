# Behind `make book`: data -> runs -> claims -> site. Only what changed is made again.
#
# A run's result is marked `update`, so that Snakemake neither deletes it before a run nor loses it when one fails;
# `vaemi run` writes it whole or not at all. A run made by hand (`vaemi run mnist -p beta=4`) is newer than the site, so
# the next `make book` shows it.

from pathlib import Path

PROFILE = config.get("profile", "quick")
EXPERIMENTS = ["theory", "estimators", "sparsity", "mnist", "celeba", "deap"]
ON_PICTURES = ["mnist", "celeba", "deap"]
DATA_SETS = ["mnist", "celeba", "deap"]  # each for the experiment of its name
PACKAGE = [str(path) for path in sorted(Path("vaemi").rglob("*.py"))] + ["vaemi/published.json"]
PAGES = [str(path) for path in sorted(Path("book").rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
RESULTS = expand(f"results/{PROFILE}/{{experiment}}.json", experiment=EXPERIMENTS)
MARKS = f"_build/marks/{PROFILE}"


rule site:
    input:
        RESULTS,
        PAGES,
        claims=MARKS + "/claims.txt",
        benchmark="benchmarks/estimators.json",
        config="_config.yml",
        contents="_toc.yml",
    output:
        touch(MARKS + "/site"),
    shell:
        "python book/build.py --profile {PROFILE}"


rule data:
    output:
        touch("_build/marks/data/{data_set}"),
    shell:
        "vaemi data get {wildcards.data_set}"


rule run:
    input:
        lambda wildcards: [f"_build/marks/data/{name}" for name in DATA_SETS if name == wildcards.experiment],
        PACKAGE,
        notebook="notebooks/{experiment}.ipynb",
        profile=f"notebooks/profiles/{PROFILE}.yaml",
    output:
        update(f"results/{PROFILE}/{{experiment}}.json"),
    # Snakemake tells a job's libraries to use so many threads. Training on pictures gains little by a second one, so two
    # experiments run side by side; the small networks of the others are slower with more than one.
    threads: lambda wildcards: max(1, workflow.cores // 2) if wildcards.experiment in ON_PICTURES else 1
    shell:
        "vaemi run {wildcards.experiment} --profile {PROFILE}"


rule claims:
    input:
        RESULTS,
    output:
        MARKS + "/claims.txt",
    shell:
        "vaemi claims --profile {PROFILE} | tee {output}"
