# Behind `make book`: data -> runs -> claims -> site. Only what changed is made again.
#
# The marks under _build/ say that a step was done; the results themselves are written by `vaemi run`, which keeps every
# earlier run and never leaves half a file.

from pathlib import Path

PROFILE = config.get("profile", "quick")
EXPERIMENTS = ["mnist"]
DATA_SETS = ["mnist"]
PACKAGE = [str(path) for path in sorted(Path("vaemi").rglob("*.py"))] + ["vaemi/published.json"]
PAGES = [str(path) for path in sorted(Path("book").rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
MARKS = f"_build/marks/{PROFILE}"


rule site:
    input:
        expand(MARKS + "/{experiment}.run", experiment=EXPERIMENTS),
        MARKS + "/claims.txt",
        PAGES,
        "_config.yml",
        "_toc.yml",
        "book/build.py",
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
        expand("_build/marks/data/{data_set}", data_set=DATA_SETS),
        PACKAGE,
        notebook="notebooks/{experiment}.ipynb",
        profile=f"notebooks/profiles/{PROFILE}.yaml",
    output:
        touch(MARKS + "/{experiment}.run"),
    shell:
        "vaemi run {wildcards.experiment} --profile {PROFILE}"


rule claims:
    input:
        expand(MARKS + "/{experiment}.run", experiment=EXPERIMENTS),
    output:
        MARKS + "/claims.txt",
    shell:
        "vaemi claims --profile {PROFILE} | tee {output}"
