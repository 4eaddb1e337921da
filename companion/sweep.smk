# One job per run of a sweep; `companion.sweep` writes the config file. Parameters reach a job as quoted JSON.

import json
import sys

import pandas as pd
from snakemake.utils import Paramspace

SPACE = Paramspace(pd.DataFrame(config["points"]))
PYTHON = sys.executable
FORCE = "--force" if config["force"] else ""


def told(wildcards):
    parameters = {**config["settings"], **SPACE.instance(wildcards)}
    what = {"notebook": config["notebook"], "profile": config["profile"], "parameters": parameters}
    return json.dumps(what, default=lambda value: value.item())


# `local`: on the file system also where a cluster's profile names a storage.
rule all:
    input:
        [local(f"{config['folder']}/{point}.json") for point in SPACE.instance_patterns],
    localrule: True


rule run:
    output:
        # `update`: a failed run leaves the result of an earlier one.
        local(update(f"{config['folder']}/{SPACE.wildcard_pattern}.json")),
    wildcard_constraints:
        **{name: "[^/]+" for name in config["points"][0]},
    params:
        told=told,  # a change makes the run again
    threads: config["threads"]
    shell:
        "{PYTHON:q} -m companion.sweep {params.told:q} {FORCE} {output:q}"
