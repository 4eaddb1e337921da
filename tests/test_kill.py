"""Killed at any moment, the same command again gives the same numbers, and no stray file is left."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path


def test_twenty_kills_at_random_moments_lose_nothing(tmp_path):
    # VAEMI_KILL_SEED repeats the moments of a test that failed, as far as they are operations on files.
    seed = int(os.environ.get("VAEMI_KILL_SEED", random.randrange(10**6)))
    print(f"seed {seed}")
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "stages", str(seed)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
    report = json.loads(done.stdout)
    assert len(report) == 20
    lost = [kill for kill in report if kill["again"] != 0 or kill["differs"]]
    assert not lost, f"seed {seed}: {lost}"
