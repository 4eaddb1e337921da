"""How often the remarks of an audit on the scale of the second output are wrong or missing, on a grid of trainings.

    .venv/bin/python benchmarks/remarks.py --json benchmarks/remarks.json

Small VAEs are trained on the digits of scikit-learn: 2 to 64 latents, a weight of the KL term from 0.1 to 8, 1 to 100
epochs, with and without dropout. Each is audited on held-out digits as it is, and as an encoder that returns another
scale than it is read as; each time also with the KL term of the training digits.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import estimators as bench
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import vaemi
from vaemi.information import kl_to_prior

LATENTS, BETAS, DROPOUTS, EPOCHS = (2, 4, 8, 16, 32, 64), (0.1, 0.5, 1, 2, 4, 8), (0.0, 0.1), (1, 3, 10, 30, 100)
#: What an encoder returns in place of a log-variance.
RETURNED = {
    "log_variance": lambda log_variance: log_variance,
    "log_std": lambda log_variance: 0.5 * log_variance,
    "variance": torch.exp,
    "std": lambda log_variance: (0.5 * log_variance).exp(),
}
#: Change of the total from which a wrong reading matters, in nats.
MATTERS = 0.1
N_TRAINING, BATCH = 1000, 50


@dataclass(frozen=True)
class Trained:
    """Posteriors of the held-out digits at some point of a training, and the KL term of the training digits."""

    setting: dict[str, Any]
    mean: Tensor
    log_variance: Tensor
    kl: float


def digits() -> tuple[Tensor, Tensor]:
    """Return training and held-out digits in [0, 1], shuffled."""
    images = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    return images[:N_TRAINING], images[N_TRAINING:]


def trainings(epochs: Sequence[int] = EPOCHS) -> Iterator[Trained]:
    """Train with every setting, and yield what there is after these numbers of epochs."""
    images, held_out = digits()
    for latents, beta, dropout in itertools.product(LATENTS, BETAS, DROPOUTS):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 2 * latents))
        decoder = nn.Sequential(nn.Linear(latents, 128), nn.ReLU(), nn.Linear(128, 64))
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
        for epoch in range(1, max(epochs) + 1):
            for rows in torch.randperm(len(images)).split(BATCH):
                mean, log_variance = encoder(images[rows]).chunk(2, 1)
                z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
                error = nn.functional.binary_cross_entropy_with_logits(decoder(z), images[rows], reduction="none")
                kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1)
                loss = (error.sum(1) + beta * kl).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if epoch in epochs:
                encoder.eval()
                with torch.no_grad():
                    answers = [encoder(part).chunk(2, 1) for part in (held_out, images)]
                encoder.train()
                setting = {"latents": latents, "beta": beta, "dropout": dropout, "epochs": epoch}
                yield Trained(setting, *answers[0], float(kl_to_prior(*answers[1]).sum(1).mean()))


def judged(trained: Trained) -> dict[str, Any]:
    """Audit an encoder under each scale that it may return, read as a log-variance."""
    found: dict[str, Any] = dict(trained.setting)
    for name, of in RETURNED.items():
        answer = (trained.mean, of(trained.log_variance))
        plain, with_kl = (
            vaemi.audit(lambda batch: batch, [answer], whole_batch=True, kl=kl, progress=False)
            for kl in (None, trained.kl)
        )
        found[name] = {
            "total": round(plain.information.total, 4),
            "remarked": any("scale=" in remark for remark in plain.remarks),
            "undecided": any("kl=" in doubt for doubt in plain.undecided),
            "other_remarks": sum("scale=" not in remark for remark in plain.remarks),
            "remarked_with_kl": any("KL term" in remark for remark in with_kl.remarks),
        }
    return found


def counts(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count false alarms over all trainings, and misses over those in which the wrong reading matters."""
    right = [row["log_variance"] for row in rows]
    result: dict[str, Any] = {
        "trainings": len(rows),
        "false_alarms": sum(one["remarked"] for one in right),
        "false_alarms_with_kl": sum(one["remarked_with_kl"] for one in right),
        "undecided": sum(one["undecided"] for one in right),
        "other_remarks": sum(one["other_remarks"] > 0 for one in right),
    }
    for name in RETURNED:
        if name == "log_variance":
            continue
        wrong = [row[name] for row in rows if abs(row[name]["total"] - row["log_variance"]["total"]) > MATTERS]
        result[name] = {
            "matter": len(wrong),
            "remarked": sum(one["remarked"] for one in wrong),
            "undecided": sum(one["undecided"] and not one["remarked"] for one in wrong),
            "silent": sum(not one["undecided"] and not one["remarked"] for one in wrong),
            "silent_with_kl": sum(not one["remarked_with_kl"] for one in wrong),
        }
    return result


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Rates of wrong and of missing remarks on the scale.")
    parser.add_argument("--quick", action="store_true", help="a few short trainings: checks this file")
    parser.add_argument("--json", type=Path, help="write the counts and the machine to this file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    start, rows = time.process_time(), []
    for trained in itertools.islice(trainings((1, 2)), 4) if options.quick else trainings():
        rows.append(judged(trained))
        print(f"\r  {len(rows)} trained and audited", end="", file=sys.stderr)
    by_epochs = sorted({row["epochs"] for row in rows})
    result: dict[str, Any] = {"quick": options.quick, "date": datetime.now(UTC).date().isoformat()}
    result |= {"machine": bench.machine(1), "cpu_seconds": time.process_time() - start, "matters": MATTERS}
    result["all"] = counts(rows)
    result["by_epochs"] = {str(n): counts([row for row in rows if row["epochs"] == n]) for n in by_epochs}
    print("\n" + json.dumps(result["all"], indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
