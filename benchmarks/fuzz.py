"""Generated inputs for everything that reads what users give: no traceback, no hang, no silent nonsense.

    .venv/bin/python benchmarks/fuzz.py                                 (100,000 cases, some minutes)
    .venv/bin/python benchmarks/fuzz.py --cases 1000000 --seed 1
    .venv/bin/python benchmarks/fuzz.py --target files --case 123       (one case again, with its traceback)

A case is answered, refused by an error of the documented kind in one or two sentences, or it is a failure: another
exception, a warning, more than 20 seconds, or an answer that cannot be right. Information lies between 0 and log M, is
that of `method="dense"`, and does not change when the samples are shuffled.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import math
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file

import vaemi
from companion import claims, runs, weights
from companion.data import celeba, deap, mnist
from companion.data._celeba_layout import find, read_tables
from companion.errors import CompanionError
from vaemi import _checkpoints
from vaemi.cli import main as command
from vaemi.errors import VaemiError
from vaemi.information.answers import SCALES

_SECONDS = 20
_LONGEST_MESSAGE = 700
# Share of the cases.
_SHARES = {"information": 0.15, "answers": 0.25, "sketch": 0.05, "files": 0.25, "companion": 0.25, "options": 0.05}


class NonsenseError(AssertionError):
    """An answer that cannot be right."""


def information(pick: random.Random, folder: Path) -> None:
    """`factor_information` of tensors and of anything else."""
    if pick.random() < 0.2:
        given = [_anything(pick) for _ in range(2)]
        settings: dict[str, Any] = {"precision": "default"}
    else:
        given, settings = list(_posterior(pick)), {}
        if pick.random() < 0.3:
            settings["method"] = pick.choice([*["dense", "gaussian", "mixture"] * 4, "Mixture", None, 3, ["mixture"]])
        if pick.random() < 0.2:
            settings["precision"] = pick.choice([*["default", "high"] * 4, "", None, 1e-9])
        if pick.random() < 0.3:
            settings["weight"] = _weight(pick, len(given[0]))
        if pick.random() < 0.2:
            labels = [pick.randrange(3) for _ in range(len(given[0]))]
            settings["clusters"] = pick.choice([labels, np.array(labels), [str(k) for k in labels], _anything(pick)])
    found = vaemi.factor_information(*given, **settings)
    _check(found, settings.get("method", "mixture"), weighted=settings.get("weight") is not None)
    if not settings.keys() - {"precision"} and found.n_samples <= 20:
        mean, log_variance = (torch.as_tensor(part) for part in given)
        order = torch.randperm(len(mean))
        shuffled = vaemi.factor_information(mean[order], log_variance[order], **settings)
        _agree(found.nats, shuffled.nats, 1e-9, "shuffled samples")
        # A sigma below 6e-11 of its mean is raised to that, except by the dense method.
        resolved = ((0.5 * log_variance.double()).exp() > 6e-11 * mean.double().abs()).all()
        if resolved and pick.random() < 0.3:
            _agree(found.nats, vaemi.factor_information(*given, method="dense").nats, 2e-6, "the dense method")


def answers(pick: random.Random, folder: Path) -> None:
    """`audit` of encoders that return anything."""
    inputs = torch.randn(pick.choice([2, 5, 40]), 3)
    key = pick.random()

    def encode(batch: torch.Tensor) -> Any:
        torch.manual_seed(0)
        return _answer(random.Random(key), len(batch))

    scale = pick.choice([*SCALES, *[None] * 6, pick.choice(["sigma", 3])])
    decode = pick.choice([None, False, False, lambda code: code, lambda code: code, lambda code: None])
    found = vaemi.audit(encode, inputs, scale=scale, batch_size=len(inputs), decode=decode, progress=False)
    _check(found.information, "mixture", weighted=False)
    json.dumps(found.to_dict(), allow_nan=False)
    str(found)


def sketch(pick: random.Random, folder: Path) -> None:
    """`InformationSketch`: any batches, merged in any order, are one call."""
    mean, log_variance = (torch.as_tensor(part) for part in _posterior(pick, sane=True))
    precision = pick.choice(["default", "high"])
    weight = torch.rand(len(mean)).double() if pick.random() < 0.5 else None
    expected = vaemi.factor_information(mean, log_variance, precision=precision, weight=weight)
    parts = [vaemi.InformationSketch(mean.shape[1], precision) for _ in range(pick.choice([1, 2, 3]))]
    size = pick.randrange(1, len(mean) + 1)
    for start in range(0, len(mean), size):
        rows = slice(start, start + size)
        pick.choice(parts).update(mean[rows], log_variance[rows], None if weight is None else weight[rows])
    whole = vaemi.InformationSketch(mean.shape[1], precision)
    for part in parts:
        if part.n_samples and pick.random() < 0.5:
            part.save(folder / "sketch.safetensors")
            part = vaemi.InformationSketch.load(folder / "sketch.safetensors")
        whole.merge(part)
    _agree(whole.compute().nats, expected.nats, 1e-9, "one call")


def files(pick: random.Random, folder: Path) -> None:
    """The library's readers of files, of good and of damaged ones."""
    kind = pick.choice(["npy", "safetensors", "sketch", "state", "inputs", "checkpoint"])
    mean, log_variance = (torch.as_tensor(part) for part in _posterior(pick))
    if kind == "npy":
        np.save(folder / "mean-0.npy", mean.numpy())
        np.save(folder / "log_variance-0.npy", log_variance.numpy())
        _damage(pick, folder / pick.choice(["mean-0.npy", "log_variance-0.npy"]))
        found = vaemi.audit_files([folder / "mean-0.npy"], progress=False)
        _check(found.information, "mixture", weighted=False)
    elif kind in ("safetensors", "state"):
        names = pick.choice([("mean", pick.choice(SCALES)), ("mean", "log_variance"), ("mu", "logvar")])
        parts = {name: part.contiguous().clone() for name, part in zip(names, (mean, log_variance), strict=True)}
        save_file(parts, folder / "p.safetensors")
        if kind == "state":
            vaemi.audit_files([folder / "p.safetensors"], state=folder / "s.safetensors", progress=False)
        path = folder / pick.choice(["p.safetensors", "s.safetensors" if kind == "state" else "p.safetensors"])
        _damage(pick, path)
        found = vaemi.audit_files([path], progress=False)
        _check(found.information, "mixture", weighted=False)
    elif kind == "sketch":
        made = vaemi.InformationSketch(3)
        made.update(torch.randn(8, 3), torch.zeros(8, 3))
        if pick.random() < 0.5:
            made.load_state_dict({**made.state_dict(), "keys": made.state_dict()["keys"]})
        made.save(folder / "sketch.safetensors")
        _damage(pick, folder / "sketch.safetensors")
        vaemi.InformationSketch.load(folder / "sketch.safetensors").compute()
    elif kind == "inputs":
        path = folder / pick.choice(["x.npy", "x.npz", "x.pt", "x.safetensors"])
        inputs = torch.randn(20, 3)
        writers: dict[str, Callable[[], Any]] = {
            ".npy": lambda: np.save(path, inputs.numpy()),
            ".npz": lambda: np.savez(path, **{pick.choice(["x", "data", "other"]): inputs.numpy()}),
            ".pt": lambda: torch.save(pick.choice([inputs, {"x": inputs}, [inputs], {"x": [1]}, "x"]), path),
            ".safetensors": lambda: save_file({"x": inputs}, path),
        }
        writers[path.suffix]()
        _damage(pick, path)
        _command(["audit", f"{_encoder(folder)}:encode", str(path)])
    else:
        path = folder / "c.ckpt"
        _checkpoints.save({"state": {"w": mean}, "step": 3}, path)
        _damage(pick, path)
        _checkpoints.load(path)


def companion(pick: random.Random, folder: Path) -> None:
    """The companion's readers of data sets, weights, profiles and results."""
    kind = pick.choice(["idx", "deap", "tables", "picture", "weights", "profile", "results"])
    if kind == "idx":
        content = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (2, 2, 2)) + bytes(8)
        expected = mnist.IdxFile((2, 2, 2), hashlib.md5(content, usedforsecurity=False).hexdigest())
        name = "t10k-images-idx3-ubyte"
        path = folder / pick.choice([name, f"{name}.gz"])
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        _damage(pick, path)
        with mock.patch.dict(mnist.FILES, {name: expected}):
            mnist.read_idx(name, path)
    elif kind == "deap":
        data = np.zeros((1, 2, 8), pick.choice(["f4", "f8", "i4", ">f8", "O"]))
        recording = {pick.choice(["data", b"data"]): data, "labels": pick.choice([np.ones((1, 4)), 3, None, [1]])}
        (folder / "s01.dat").write_bytes(pickle.dumps(recording, protocol=pick.choice([2, 4, 5])))
        _damage(pick, folder / "s01.dat")
        deap.read_subject(folder / "s01.dat")
    elif kind == "tables":
        lines = ["2", "Smiling Young", "000001.jpg  1 -1", "000002.jpg -1  1"]
        path = folder / pick.choice(["list_attr_celeba.txt", "list_attr_celeba.csv"])
        text = "\n".join(lines) if path.suffix == ".txt" else "image_id,Smiling\n000001.jpg,1\n000002.jpg,-1\n"
        path.write_text(text, encoding="utf-8")
        name, text = pick.choice([("identity_CelebA.txt", "000001.jpg 1\n"), ("list_eval_partition.txt", "1.jpg 0\n")])
        (folder / name).write_text(text, encoding="utf-8")
        _damage(pick, pick.choice([path, folder / name]))
        read_tables(find(folder))
    elif kind == "picture":
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(stream, pick.choice(["jpeg", "png"]))
        (folder / "1.jpg").write_bytes(stream.getvalue())
        _damage(pick, folder / "1.jpg")
        with contextlib.suppress(ValueError, OSError, SyntaxError):  # as the caller does, who lists bad pictures
            celeba.picture((folder / "1.jpg").read_bytes(), 8, 16)
    elif kind == "weights":
        path = folder / "w.safetensors"
        about = {"format": weights._FORMAT, "about": pick.choice(['{"seed": 1}', "[]", "x", "3"])}
        save_file({"model.w": torch.zeros(2), "history.epoch": torch.zeros(1)}, path, about)
        _damage(pick, path)
        weights.load(path)
    elif kind == "profile":
        (folder / "notebooks" / "profiles").mkdir(parents=True)
        path = folder / "notebooks" / "profiles" / "mine.yaml"
        path.write_text("seconds: 3\nparameters: {epochs: 1}\nnotebooks:\n  mnist: {beta: 2}\n", encoding="utf-8")
        _damage(pick, path)
        runs.read_profile(folder, pick.choice(["mine", "other", "../mine", ""]))
    else:
        (folder / "quick").mkdir()
        path = folder / "quick" / "mnist.json"
        path.write_text(json.dumps({"experiment": "mnist", "values": {}, "claims": [], "data": {}}), encoding="utf-8")
        _damage(pick, path)
        claims.load("quick", folder)


def options(pick: random.Random, folder: Path) -> None:
    """The command line: every option with values that fit and that do not."""
    np.savez(folder / "p.npz", x=np.random.randn(30, 3))
    save_file({"mean": torch.randn(30, 3), "log_variance": torch.zeros(30, 3)}, folder / "p.safetensors")
    values = ["", "0", "-1", "3", "nan", "inf", "1e400", "x", "\u2028", "a=1", "=", "a" * 300, str(folder), "std", "--"]
    paths = [
        str(folder / name) for name in ("p.safetensors", "p.npz", "no.npy", "no/a.html", "r.html", "*.safetensors")
    ]
    posteriors, encoder = paths[0], f"{_encoder(folder)}:encode"
    of_audit = ["--threshold", "--scale", "--batch-size", "--device", "--state", "--decode", "--html", "--json"]
    of_audit += ["--csv", "--kl", "--max-bytes", "--channel-axis"]
    arguments = {
        "audit": lambda: [
            pick.choice([posteriors, encoder, pick.choice(values), pick.choice(paths)]),
            *pick.sample([*paths, *values], pick.randrange(3)),
            *(
                word
                for name in pick.sample(of_audit, pick.randrange(4))
                for word in (name, _value(pick, values, paths))
            ),
            *pick.sample(["--no-decode", "--strict", "--help", "--bogus"], pick.randrange(2)),
        ],
        # Names of no notebook, so that nothing is trained.
        "run": lambda: [
            pick.choice(["x", "", "../mnist", "-p"]),
            *_options(pick, ["--profile", "-p", "--force"], values),
        ],
        "sweep": lambda: [
            "nothing",
            *_options(pick, ["-g", "-p", "--profile", "--name", "--jobs", "--threads", "--over", "--dry-run"], values),
        ],
        "data": lambda: [pick.choice(["status", "x", ""]), *_options(pick, ["--source"], values)],
        "claims": lambda: _options(pick, ["--profile"], values),
    }
    name = pick.choice([*arguments, "audit", "audit", "audit"])
    _command([name, *arguments[name]()] if pick.random() < 0.97 else [pick.choice(values)])


TARGETS: dict[str, Callable[[random.Random, Path], None]] = {
    "information": information,
    "answers": answers,
    "sketch": sketch,
    "files": files,
    "companion": companion,
    "options": options,
}


def case(target: str, number: int, seed: int) -> str:
    """Run one case, and return "answered" or "refused"; whatever else it raises is a failure."""
    pick = random.Random(f"{seed}/{target}/{number}")
    torch.manual_seed(pick.randrange(2**31))
    np.random.seed(pick.randrange(2**31))
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), warnings.catch_warnings():
            warnings.simplefilter("error")
            TARGETS[target](pick, Path(folder))
    except NonsenseError:
        raise
    except (VaemiError, CompanionError, OSError) as error:
        return _refused(error)
    except (ValueError, TypeError) as error:
        if not _place(error).startswith("vaemi/information"):
            raise
        return _refused(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "answered"


def _refused(error: BaseException) -> str:
    message = str(error)
    if not message or len(message) > _LONGEST_MESSAGE or "\n" in message:
        raise NonsenseError(f"a message that is no sentence: {message[:900]!r}") from error
    return "refused"


def _command(arguments: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command(arguments)
    text = err.getvalue()
    if status not in (0, 1, 2, 3) or "Traceback" in text or (status and not text.strip() + out.getvalue().strip()):
        raise NonsenseError(f"{arguments}: status {status}, {text[-300:]!r}")
    if status:
        raise VaemiError("refused")


def _check(found: Any, method: str, weighted: bool) -> None:
    parts = [found.nats, found.stderr, found.marginal_std]
    if found.leave_one_out is not None:
        parts.append(found.leave_one_out)
    if not all(torch.isfinite(part).all() for part in parts) or (torch.stack(parts) < -1e-9).any():
        raise NonsenseError(f"a value that is not finite or is negative: {[part.tolist() for part in parts]}")
    if method != "gaussian" and not weighted and (found.nats > math.log(found.n_samples) + 1e-6).any():
        raise NonsenseError(f"{found.nats.max()} nats from {found.n_samples} samples")


def _agree(one: torch.Tensor, other: torch.Tensor, tolerance: float, what: str) -> None:
    if not torch.allclose(one, other, atol=tolerance, rtol=0):
        raise NonsenseError(f"not that of {what}: off by {(one - other).abs().max():.3g}")


def _value(pick: random.Random, values: list[str], paths: list[str]) -> str:
    return pick.choice([pick.choice(values), pick.choice(paths), "0.2", "16", "cpu", "log_variance"])


def _options(pick: random.Random, names: list[str], values: list[str]) -> list[str]:
    chosen = pick.sample(names, pick.randrange(len(names) + 1))
    return [word for name in chosen for word in ((name, pick.choice(values)) if "-" in name else (name,))]


def _encoder(folder: Path) -> Path:
    """Write an encoder whose module no earlier case has imported."""
    path = folder / f"encoder_{folder.name}.py"
    path.write_text("def encode(x):\n    return x, 0 * x\n", encoding="utf-8")
    return path


def _posterior(pick: random.Random, sane: bool = False) -> tuple[Any, Any]:
    """Return means and log-variances, most of them ordinary, some extreme or not numbers."""
    samples, factors = pick.choice([2, 3, 5, 20, 20, 100]), pick.choice([1, 1, 2, 5])
    if not sane and pick.random() < 0.05:
        samples, factors = pick.choice([(0, 2), (1, 2), (3, 0), (0, 0)])
    generator = torch.Generator().manual_seed(pick.randrange(2**31))
    mean = torch.randn(samples, factors, generator=generator).double() * 10.0 ** pick.choice(
        [0, 0, 0, -30, 5, 60, -300]
    )
    log_variance = torch.randn(samples, factors, generator=generator).double() * pick.choice([0, 1, 5, 40])
    log_variance = (log_variance + pick.choice([0, 0, -5, -40, 100])).clamp(-200, 200)
    if samples and factors:
        row, column = pick.randrange(samples), pick.randrange(factors)
        mean[row, column] = pick.choice([0.0, 1e-300, 2.0**40, 1 - 2**-53, float(mean[row, column])])
        if not sane and pick.random() < 0.1:
            which = pick.choice([mean, log_variance])
            which[row, column] = pick.choice([math.nan, math.inf, -math.inf, 1e100, -200.0, 201.0, 1e308])
    if pick.random() < 0.2:
        mean[:] = mean[:1]
    kind = pick.choice(
        [torch.float64, torch.float64, torch.float32] + ([] if sane else [torch.float16, torch.bfloat16])
    )
    if kind is not torch.float64:
        mean, log_variance = mean.to(kind), log_variance.to(kind)
    if not sane and kind is not torch.bfloat16 and pick.random() < 0.1:
        return mean.numpy(), log_variance.numpy()
    return (mean, log_variance) if kind is not torch.bfloat16 else (mean.float(), log_variance.float())


def _weight(pick: random.Random, samples: int) -> Any:
    weight = torch.rand(samples).double()
    if samples and pick.random() < 0.4:
        weight[pick.randrange(samples)] = pick.choice([0.0, 1e-320, 1e300, 1e-200, -1.0, math.nan, math.inf])
    return pick.choice(
        [*[weight] * 6, weight * 0, weight * 1e-160, weight * 1e200, weight[1:], weight[:, None], _anything(pick)]
    )


def _anything(pick: random.Random) -> Any:
    tensor = torch.randn(pick.choice([(), (3,), (3, 2), (2, 3, 2), (0, 2), (3, 0)]))
    return pick.choice(
        [
            tensor,
            tensor.to(pick.choice([torch.int64, torch.uint8, torch.complex64, torch.bool, torch.float16])),
            tensor.numpy(),
            tensor.tolist(),
            tensor.to_sparse() if tensor.ndim else tensor,
            tensor.requires_grad_(),
            tensor.to("meta"),
            np.array(["a", None], dtype=object),
            np.array(["2020-01-01"], dtype="datetime64[D]"),
            [[1.0], [2.0, 3.0]],
            [[0.0, 1.0], [1.0, 2.0], [3.0, 5.0]],
            [],
            "text",
            b"bytes",
            None,
            3.5,
            10**400,
            {"mean": 1},
            object(),
            iter(()),
        ]
    )


def _answer(pick: random.Random, inputs: int) -> Any:
    """Return what an encoder may return for some inputs."""
    shape = pick.choice([(inputs, 4), (inputs, 2, 3), (inputs, 2, 2, 2), (inputs, 1)])
    if pick.random() < 0.1:
        shape = pick.choice([(inputs,), (inputs + 1, 4), ()])
    mean = torch.randn(shape)
    second = pick.choice([torch.zeros(shape), torch.rand(shape), torch.rand(shape) + 0.1, torch.randn(shape[:1])])
    parts = [mean, second]
    for place in range(2):
        if pick.random() < 0.1:
            parts[place] = pick.choice(
                [_anything(pick), parts[place].numpy(), parts[place].half(), parts[place].long()]
            )
    first_name = pick.choice(["mean", "mu", "loc", "embedding", "z_mean", "qz_m", "z"])
    second_name = pick.choice(
        ["log_variance", "logvar", "log_var", "variance", "std", "scale", "sigma", "log_std", "z"]
    )
    named = {first_name: parts[0], second_name: parts[1]}

    def distribution() -> Any:
        width = torch.rand(shape) + 0.1
        normal = torch.distributions.Normal(mean, width)
        return pick.choice(
            [
                normal,
                torch.distributions.Laplace(mean, width),
                torch.distributions.Independent(normal, min(1, mean.ndim)),
                torch.distributions.Bernoulli(logits=mean),
                torch.distributions.Dirichlet(width if width.ndim else width[None]),
            ]
        )

    return pick.choice(
        [
            lambda: tuple(parts),
            lambda: tuple(parts),
            lambda: parts,
            lambda: (*parts, mean),
            lambda: named,
            lambda: named,
            lambda: types.SimpleNamespace(**named),
            distribution,
            lambda: {pick.choice(["qz", "latent_dist", "z"]): distribution()},
            lambda: (tuple(parts),),
            lambda: _anything(pick),
            lambda: (),
            lambda: [[]],
        ]
    )()


def _damage(pick: random.Random, path: Path) -> None:
    """Leave a file as it is, or flip bytes, cut it, insert bytes, or replace it."""
    content = bytearray(path.read_bytes())
    place = pick.randrange(len(content) + 1)
    kind = pick.choice(["no", "flip", "flip", "head", "cut", "insert", "repeat", "noise", "empty", "folder"])
    if kind in ("flip", "head") and content:
        for _ in range(pick.choice([1, 1, 3, 20])):
            content[pick.randrange(min(len(content), 200 if kind == "head" else len(content)))] = pick.randrange(256)
    elif kind == "cut":
        del content[place:]
    elif kind == "insert":
        content[place:place] = pick.randbytes(pick.randrange(1, 20))
    elif kind == "repeat":
        content *= 2
    elif kind == "noise":
        content = bytearray(pick.randbytes(pick.randrange(1, 300)))
    elif kind == "empty":
        content.clear()
    elif kind == "folder" and pick.random() < 0.3:
        path.unlink()
        path.mkdir()
        return
    path.write_bytes(content)


def _place(error: BaseException) -> str:
    """Return where an error was raised, in the innermost frame of this project."""
    root = Path(__file__).resolve().parent.parent
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(root)]
    return f"{Path(frames[-1].filename).relative_to(root)}:{frames[-1].lineno}" if frames else "elsewhere"


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Turn an alarm into an error, and keep the cases' data away from the user's."""

    def late(*_: Any) -> None:
        raise NonsenseError(f"more than {_SECONDS} seconds of CPU time")

    signal.signal(signal.SIGPROF, late)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAEMI_DATA"] = folder
        for precision in ("default", "high"):  # compiles
            vaemi.factor_information(torch.randn(3, 1), torch.zeros(3, 1), precision=precision)
        yield


def run(cases: int, seed: int, targets: list[str]) -> dict[str, Counter[str]]:
    """Run the cases of some targets, print failures as they come, and return counts by target."""
    counts: dict[str, Counter[str]] = {}
    share = sum(_SHARES[target] for target in targets)
    for target in targets:
        counts[target] = Counter()
        known: set[str] = set()
        began = time.process_time()
        for number in range(round(cases * _SHARES[target] / share)):
            try:
                counts[target][case(target, number, seed)] += 1
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                counts[target]["failed"] += 1
                place = f"{type(error).__name__} at {_place(error)}"
                if place not in known:
                    known.add(place)
                    print(f"{target} {number}: {place}: {' '.join(str(error).split())[:300]}", flush=True)
        took = f"{time.process_time() - began:.0f} s of CPU time"
        print(f"{target}: {sum(counts[target].values()):,} cases, {dict(counts[target])}, {took}", flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=100_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=TARGETS, action="append", help="all of them if left out")
    parser.add_argument("--case", type=int, help="run this case of the target again, with its traceback")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with _alone():
        if arguments.case is not None:
            print(case(arguments.target[0], arguments.case, arguments.seed))
            return 0
        started = time.monotonic()
        counts = run(arguments.cases, arguments.seed, arguments.target or list(TARGETS))
    total = sum(counts.values(), Counter())
    print(f"{sum(total.values()):,} cases in {time.monotonic() - started:.0f} s: {dict(total)}")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
