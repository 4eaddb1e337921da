"""Killed at any moment, the same command again gives the same numbers, and no stray file is left."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path


def killed(folder, moments):
    """What the script found after its kills: a dict for each."""
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run([sys.executable, script, folder, moments], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{moments}: {done.stderr[-3000:]}"
    return json.loads(done.stdout)


def test_twenty_kills_at_random_moments_lose_nothing(tmp_path):
    # VAEMI_KILL_SEED repeats the moments of a test that failed, as far as they are operations on files.
    seed = os.environ.get("VAEMI_KILL_SEED", str(random.randrange(10**6)))
    print(f"seed {seed}")
    report = killed(tmp_path / "stages", seed)
    assert len(report) == 20
    lost = [kill for kill in report if kill["again"] != 0 or kill["differs"]]
    assert not lost, f"seed {seed}: {lost}"


def test_a_kill_while_files_take_their_names_leaves_nothing_behind(tmp_path):
    """At each of the last operations: a cache that has its name, while its journal and its lock are still there."""
    report = killed(tmp_path / "stages", "last")
    assert min(Counter(kill["stage"] for kill in report).values()) == 12
    lost = [kill for kill in report if kill["again"] != 0 or kill["differs"]]
    assert not lost
