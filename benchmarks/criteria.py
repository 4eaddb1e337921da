"""What the criteria and the effects of a decoder cost, against their simplest parts.

    python benchmarks/criteria.py                      # 10,000 inputs, 128 factors, one thread
    python benchmarks/criteria.py --output criteria.json

All criteria of `vaemi.compare_criteria` are measured beside the exact information alone and the KL term, which is one
line of code. The effects of a decoder, `vaemi.influence.decoder_effects`, are measured beside a loop that decodes as
many codes and does nothing with them; the decoder is that of an MLP for digits. Peers take turns for several rounds.
Times are CPU seconds of one thread, the median over the rounds; ratios are medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from estimators import simulate

import vaemi
from vaemi.influence import decoder_effects
from vaemi.information import kl_to_prior
from vaemi.models import MLPVAE

_PIXELS = 784
_HIDDEN = (256, 256)
_CODES_AT_A_TIME = 256


def decode_only(decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, times: int) -> None:
    with torch.no_grad():
        for _ in range(times):
            for codes in z.split(_CODES_AT_A_TIME):
                decode(codes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of the criteria and of the effects of a decoder.")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    mean, log_variance = simulate(options.inputs)
    n_factors = mean.shape[1]
    decoder = MLPVAE(_PIXELS, n_factors, _HIDDEN).decode
    vaemi.compare_criteria(mean[:50], log_variance[:50])  # compiles

    measured: dict[str, tuple[Callable[[], object], str]] = {
        "KL to the prior alone": (lambda: kl_to_prior(mean, log_variance).mean(0), ""),
        "exact information alone": (lambda: vaemi.factor_information(mean, log_variance), ""),
        "all criteria": (lambda: vaemi.compare_criteria(mean, log_variance), "exact information alone"),
        "decoding alone": (lambda: decode_only(decoder, mean, n_factors + 2), ""),
        "effects of the decoder": (
            lambda: decoder_effects(decoder, mean, log_variance, batch_size=_CODES_AT_A_TIME, progress=False),
            "decoding alone",
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(options.rounds):
        for name, (task, _peer) in measured.items():
            start = time.process_time()
            task()
            seconds[name].append(time.process_time() - start)
    rows = []
    for name, (_task, peer) in measured.items():
        row: dict[str, object] = {"measured": name, "cpu_seconds": median(seconds[name]), "peer": peer}
        if peer:
            row["ratio"] = median(own / other for own, other in zip(seconds[name], seconds[peer], strict=True))
        rows.append(row)
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format, na_rep=""))
    if options.output:
        found = {
            "inputs": options.inputs, "factors": n_factors, "rounds": options.rounds, "rows": rows,
            "processor": platform.processor() or platform.machine(), "torch": torch.__version__,
        }  # fmt: skip
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
