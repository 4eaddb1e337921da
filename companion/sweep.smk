# One job per run of a sweep; `companion.sweep` writes the config file. Parameters reach a job as quoted JSON.

import json
import sys
from pathlib import Path

import pandas as pd
from snakemake.utils import Paramspace

SPACE = Paramspace(pd.DataFrame(config["points"]))
FOLDER = Path(config["settings"]).parent
PYTHON = sys.executable
FORCE = "--force" if config["force"] else ""


# `local`: on the file system also where a cluster's profile names a storage.
rule all:
    input:
        [local(f"{FOLDER}/{point}.json") for point in SPACE.instance_patterns],
    localrule: True


rule run:
    input:
        local(config["settings"]),
    output:
        # `update`: a failed run leaves the result of an earlier one.
        local(update(f"{FOLDER}/{SPACE.wildcard_pattern}.json")),
    wildcard_constraints:
        **{name: "[^/]+" for name in config["points"][0]},
    params:
        point=lambda wildcards: json.dumps(SPACE.instance(wildcards), default=lambda value: value.item()),
    threads: config["threads"]
    shell:
        "{PYTHON:q} -m companion.sweep {input:q} {params.point:q} {FORCE} {output:q}"
