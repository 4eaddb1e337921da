"""Files that are whole or not there, and locks that a dead process does not hold."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vaemi import _files
from vaemi._files import only_one, written_whole

HOLDING = """
import sys, time, pathlib
from vaemi._files import only_one, written_whole
path = pathlib.Path(sys.argv[1])
with only_one(path.with_name(".lock"), lambda: None), written_whole(path) as scratch:
    scratch.write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_holds_no_lock_and_its_leftover_goes(tmp_path):
    path, lock = tmp_path / "file", tmp_path / ".lock"
    path.write_text("before")
    process = subprocess.Popen([sys.executable, "-c", HOLDING, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    leftover = tmp_path / f".file.{process.pid}"
    # While it lives, it is waited for, and nobody takes its file away.
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as pool:

        def second():
            with only_one(lock, waiting.set) as locked:
                return locked is not None

        waiter = pool.submit(second)
        assert waiting.wait(30)
        _files.remove_leftovers(path)
        assert leftover.read_text() == "half"
        assert not waiter.done()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert waiter.result(30) is True
    with written_whole(path) as scratch:
        scratch.write_text("after")
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_one_at_a_time_however_many_come(tmp_path):
    inside, most = [], []

    def work(_):
        with only_one(tmp_path / ".lock", lambda: None):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.002)
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(100)))
    assert max(most) == 1
    assert list(tmp_path.iterdir()) == []


def test_without_locks_everything_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "fcntl", None)
    with only_one(tmp_path / ".lock", lambda: pytest.fail("waited")) as locked:
        assert locked is None
    (tmp_path / ".file.1").write_text("perhaps of a living process")
    with written_whole(tmp_path / "file") as scratch:
        scratch.write_text("whole")
    assert (tmp_path / "file").read_text() == "whole"
    assert (tmp_path / ".file.1").exists()


def test_an_exception_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def interrupted():
        with written_whole(path) as scratch:
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_program_that_a_process_becomes_keeps_its_lock(tmp_path):
    """As `make book` becomes Snakemake."""
    code = (
        "import os, sys, pathlib\nfrom vaemi._files import only_one\n"
        "with only_one(pathlib.Path(sys.argv[1]), lambda: None, inherited=True):\n"
        "    os.execvp('sh', ['sh', '-c', 'echo held; exec sleep 60'])\n"
    )
    lock = tmp_path / ".lock"
    process = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"

    said = []
    with ThreadPoolExecutor(1) as pool:

        def second():
            with only_one(lock, lambda: said.append(1) or process.kill()) as locked:
                return locked is not None

        # It waits until it has ended the other.
        assert pool.submit(second).result(30) is True
    process.communicate()
    assert said == [1]
    assert list(tmp_path.iterdir()) == []
