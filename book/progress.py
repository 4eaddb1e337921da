"""What `make book` prints while it runs: the plan, a line per finished step with the time left, and what failed.

A logger plugin of Snakemake, which `book/make.py` registers. The Snakefile logs the plan: a record with the attributes
`plan`, the rule and the wildcards of each step, and `durations`, the file with the seconds of earlier builds.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from logging import ERROR, LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from companion.words import duration_in_words
from vaemi._files import atomic_write

# Measured once, for profiles that have not been built on this machine.
MEASURED = Path(__file__).resolve().parent.parent / "workflow" / "durations.json"
# Seconds without a finished step after which a line says what is running.
PATIENCE = 60.0
# The time left follows the machine's speed, as if it had already run this long at the expected one.
_WEIGHT_OF_THE_EXPECTED = 30.0
_LINES_OF_A_FAILURE = 20
# A progress bar of tqdm: "training:  43%|####      | 430/1000 [02:10<03:01, ...".
_BAR = re.compile(r"([^\r\n:|]+):\s+(\d+)%\|[^|]*\|[^\[\r\n]*\[[\d:]+<([\d:]+)")
# What `vaemi` and `book/build.py` say of an error that is the user's.
_EXPLAINED = re.compile(r"^(?:vaemi|book): (?!another)", re.MULTILINE)
_NAMES = {"claims": "verdicts", "site": "site", "measured": "all"}


def name_of(rule: str, wildcards: Mapping[str, str]) -> str:
    """Return the name of a step: an experiment, "data: mnist", "sweep: mnist-seed", "verdicts" or "site"."""
    value = next(iter(wildcards.values()), "")
    return f"{rule}: {value}" if rule in ("data", "sweep") else value or _NAMES.get(rule, rule)


class Progress:
    """Which steps are done and running, and how long the others will take.

    Parameters
    ----------
    steps : iterable of str
        Names of the steps to be made.
    expected : mapping of str to float
        Seconds of each step in an earlier build. A step that is not there is taken to be as long as those like it, the
        ones that look for data or all others, that are done.
    now : float
        The time, in seconds.
    """

    def __init__(self, steps: Iterable[str], expected: Mapping[str, float], now: float) -> None:
        self.steps = list(steps)
        self.expected = dict(expected)
        self.begun = now
        self.running: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    def start(self, step: str, now: float) -> None:
        """Note that a step begins."""
        self.running[step] = now

    def finish(self, step: str, now: float) -> float:
        """Note that a step has ended; return its seconds."""
        self.seconds[step] = now - self.running.pop(step, now)
        return self.seconds[step]

    def expected_of(self, step: str) -> float | None:
        """Return the seconds that a step should take, or None while that cannot be known."""
        if step in self.expected:
            return self.expected[step]
        alike = [s for name, s in self.seconds.items() if name.startswith("data: ") == step.startswith("data: ")]
        return sum(alike) / len(alike) if alike else None

    def left(self, now: float) -> float | None:
        """Return the seconds until all steps are done, or None while that cannot be known."""
        open_steps = [step for step in self.steps if step not in self.seconds]
        amounts = [self.expected_of(step) for step in open_steps]
        if None in amounts:
            return None
        remaining = sum(amount for amount in amounts if amount is not None)
        for step, begun in self.running.items():
            remaining -= min(now - begun, self.expected_of(step) or 0.0)
        done = sum(self.expected.get(step, seconds) for step, seconds in self.seconds.items())
        return remaining * (now - self.begun + _WEIGHT_OF_THE_EXPECTED) / (done + _WEIGHT_OF_THE_EXPECTED)


class LogHandler(LogHandlerBase):
    """Prints the events of Snakemake that a reader of the book waits for."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self._progress = Progress([], {}, time.monotonic())
        self._jobs: dict[int, tuple[str, list[str]]] = {}
        self._durations: Path | None = None
        self._has_failed = False
        self._rule_exception = ""
        self._printed = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._show_what_is_running, daemon=True).start()

    def emit(self, record: LogRecord) -> None:
        """Print what a record of Snakemake says, if anything."""
        event, about = getattr(record, "event", None), record.__dict__
        if "plan" in about:
            self._plan([name_of(*step) for step in about["plan"]], Path(about["durations"]))
        elif event == LogEvent.JOB_INFO:
            name = name_of(about["rule_name"], about["wildcards"])
            self._jobs[about["jobid"]] = (name, list(about["log"]))
            self._progress.start(name, time.monotonic())
        elif event == LogEvent.JOB_FINISHED:
            self._finished(*self._jobs[about["job_id"]])
        elif event == LogEvent.JOB_ERROR:
            self._failed(*self._jobs[about["jobid"]])
        elif about.get("exception") == "RuleException":
            self._rule_exception = record.getMessage()  # mostly the error of a job follows, which says more
        elif record.levelno >= ERROR and not self._has_failed:  # what comes after the first one follows from it
            self._has_failed = True
            self._say(record.getMessage(), sys.stderr)

    def close(self) -> None:
        """End the thread and keep the durations for the next build."""
        self._ended.set()
        if self._rule_exception and not self._has_failed:
            self._has_failed = True  # Python calls this a second time when it ends
            self._say(self._rule_exception, sys.stderr)
        if self._durations and self._progress.seconds:
            known = _read(self._durations) | {name: round(s, 1) for name, s in self._progress.seconds.items()}
            self._durations.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._durations) as path:
                path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        super().close()

    def _plan(self, steps: list[str], durations: Path) -> None:
        profile = durations.parent.name
        expected = _read(MEASURED).get(profile, {}) | _read(durations)
        self._durations = durations
        self._progress = Progress(steps, expected, time.monotonic())
        left = self._progress.left(time.monotonic())
        duration = f"about {duration_in_words(left)} if one runs at a time" if left else "not timed here before"
        kinds: dict[str, list[str]] = {}
        for step in steps:
            kind, colon, name = step.partition(": ")
            kinds.setdefault(kind if colon else "then" if step in _NAMES.values() else "run", []).append(name or kind)
        self._say(f"{len(steps)} step{'s' * (len(steps) != 1)}, {duration}.")
        for kind in sorted(kinds, key=["data", "run", "sweep", "then"].index):
            self._say(f"  {kind:<6} {', '.join(sorted(kinds[kind]))}")

    def _finished(self, name: str, logs: list[str]) -> None:
        now = time.monotonic()
        seconds, left = self._progress.finish(name, now), self._progress.left(now)
        done, all_steps = len(self._progress.seconds), max(len(self._progress.steps), len(self._progress.seconds))
        waiting = f"about {duration_in_words(left)} left" if left and done < all_steps else ""
        self._say(f"[{done:>2}/{all_steps}] {name:<18} {duration_in_words(seconds):>7}   {waiting}".rstrip())

    def _failed(self, name: str, logs: list[str]) -> None:
        self._has_failed = True
        self._progress.running.pop(name, None)
        text = "".join(_text(log) for log in logs)
        explained = list(_EXPLAINED.finditer(text))
        lines = text[explained[-1].start() :] if explained else "\n".join(text.splitlines()[-_LINES_OF_A_FAILURE:])
        self._say(f"{name} failed:\n{lines.rstrip()}\nAll it printed is in {', '.join(logs)}.", sys.stderr)

    def _show_what_is_running(self) -> None:
        while not self._ended.wait(1):
            if self._progress.running and time.monotonic() - self._printed > PATIENCE:
                logs = dict(self._jobs.values())
                shown = [
                    f"{name} ({duration_in_words(time.monotonic() - begun)}{last_bar(logs.get(name, []))})"
                    for name, begun in [*self._progress.running.items()]
                ]
                left = self._progress.left(time.monotonic())
                self._say(
                    f"        running: {', '.join(shown)}{f'; about {duration_in_words(left)} left' if left else ''}"
                )

    def _say(self, text: str, stream: Any = None) -> None:
        print(text, file=stream or sys.stdout, flush=True)
        self._printed = time.monotonic()


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _text(log: str) -> str:
    path = Path(log)
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def last_bar(logs: Iterable[str]) -> str:
    """Return what the last progress bar in the logs says, such as ", training 43 %, 03:01 left"."""
    bars = [bar for log in logs for bar in _BAR.findall(_text(log)[-4000:])]
    if not bars:
        return ""
    what, percent, left = bars[-1]
    return f", {what.strip()} {percent} %, {left} left"
