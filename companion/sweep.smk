# One job per run of a sweep; `companion.sweep` writes the config file. Parameters reach a job as quoted JSON.

import json
import sys

import pandas as pd
from snakemake.utils import Paramspace

SPACE = Paramspace(pd.DataFrame(config["points"]))


# `local`: on the file system also where a cluster's profile names a storage.
rule all:
    input:
        [local(f"{config['folder']}/{point}.json") for point in SPACE.instance_patterns],
    localrule: True


rule run:
    input:
        local(config["settings"]),
    output:
        # `update`: a failed run leaves the result of an earlier one.
        local(update(f"{config['folder']}/{SPACE.wildcard_pattern}.json")),
    wildcard_constraints:
        **{name: "[^/]+" for name in config["points"][0]},
    params:
        python=sys.executable,
        config=config["config"],
        point=lambda wildcards: json.dumps(SPACE.instance(wildcards), default=lambda value: value.item()),
    threads: config["threads"]
    shell:
        "{params.python:q} -m companion.sweep {params.config:q} {params.point:q} {output:q}"
