# Behind `vaemi sweep`: one job for each run of a plan that `companion.sweep` wrote. Nothing that a user typed comes into a
# command line: a job is told the plan's file and its own fingerprint, and reads the parameters there.

import json
import sys
from pathlib import Path

PLAN = Path(config["plan"])
PLANNED = json.loads(PLAN.read_text())
WORK = PLAN.parent


rule all:
    input:
        [local(run["result"]) for run in PLANNED["runs"]],
    localrule: True


# `update`, so that Snakemake neither deletes a result before it is made again nor when that fails; `local`, so that it
# is where `vaemi run` puts it also on a cluster whose profile names a storage.
rule run:
    output:
        local(update(PLANNED["kept"] + "/" + PLANNED["notebook"] + "-{fingerprint}.json")),
    wildcard_constraints:
        fingerprint="[0-9a-f]+",
    log:
        local(str(WORK / "{fingerprint}.log")),
    params:
        python=sys.executable,
        plan=str(PLAN),
    threads: PLANNED["threads"]
    shell:
        "{params.python:q} -m companion.sweep {params.plan:q} {wildcards.fingerprint} $(date +%s) > {log:q} 2>&1"
