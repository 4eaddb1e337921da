"""Atomic writes and exclusive locks."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vaemi._files import atomic_write, exclusive_lock


def test_a_file_is_replaced_on_success_only(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def interrupted():
        with atomic_write(path) as scratch:
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "before"
    with atomic_write(path) as scratch:
        scratch.write_text("after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_one_thread_at_a_time(tmp_path, capsys):
    inside, most = [], []

    def work(_):
        with exclusive_lock(tmp_path / ".lock", waiting="waiting"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.002)
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(20)))
    assert max(most) == 1
    assert set(capsys.readouterr().err.split()) == {"waiting"}


KILLED = """\
import pathlib, sys, time
from vaemi._files import atomic_write, exclusive_lock
path = pathlib.Path(sys.argv[1])
with exclusive_lock(path.with_name(".lock")), atomic_write(path) as scratch:
    scratch.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_writer_releases_its_lock_and_leaves_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    process = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.communicate()
    assert path.read_text() == "before"
    with exclusive_lock(tmp_path / ".lock"), atomic_write(path) as scratch:
        scratch.write_text("after")
    assert path.read_text() == "after"
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", "file"]
