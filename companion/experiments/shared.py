"""Steps that several chapters share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from IPython.display import Markdown, display
from torch import Tensor

from companion import claims
from vaemi.information import InformationSketch, standard_error

if TYPE_CHECKING:
    from companion.claims import Claim
    from companion.runs import Run
    from vaemi.information import FactorInformation
    from vaemi.models import ConvVAE


def spectrum_values(information: FactorInformation) -> dict[str, Any]:
    """Return what a run's `values` hold of a spectrum."""
    influential = information.influential(claims.THRESHOLD)
    share = float(information.nats[influential].sum()) / information.total if information.total else 0.0
    left_out = information.leave_one_out
    return {
        "information_nats": information.nats.tolist(),
        "information_stderr_nats": information.stderr.tolist(),
        "information_leave_one_out_nats": None if left_out is None else left_out.tolist(),
        "information_samples": information.n_samples,
        "sigma_star": information.marginal_std.tolist(),
        "total_information_nats": information.total,
        "influential_factors": len(influential),
        "influential_share_of_total": share,
    }


def total_standard_error(mean: Tensor, log_variance: Tensor) -> float:
    """Return the standard error of the information of all factors together, in nats.

    Inputs with a large divergence in one factor have one in others, so the errors of the factors do not add up in
    quadrature.
    """
    sketch = InformationSketch(mean.shape[1])
    sketch.update(mean, log_variance)
    return float(standard_error(sketch.divergences(mean, log_variance).sum(1, keepdim=True)))


def nth_of_each(labels: Tensor, n: int = 0) -> list[int]:
    """Return the index of the n-th sample of each class, in the order of the classes."""
    return [int(torch.where(labels == label)[0][n]) for label in labels.unique()]


def keep_for_explorer(run: Run, model: ConvVAE, mean: Tensor, described: Sequence[str] = ()) -> None:
    """Keep the decoder and some posterior means beside the result, for the sliders of the page.

    Parameters
    ----------
    run : Run
    model : ConvVAE
    mean : Tensor, shape (N, H)
        Posterior means to start from.
    described : sequence of str, length N, optional
        Descriptions of the pictures.
    """
    about = model.hyperparameters | ({"described": list(described)} if described else {})
    decoder = {f"decoder.{name}": weights for name, weights in model.decoder.state_dict().items()}
    run.keep_tensors({"mean": mean, **decoder}, about=about)


def show_verdicts(verdicts: Sequence[Claim]) -> None:
    """Display the verdicts as a table, and the rules of each claim with the verdict under each."""
    table = claims.table(verdicts)
    rules = []
    for claim in verdicts:
        *earlier, last = claim["rules"]
        rules.append(f"- **{claim['id']}**, rule of {last['date']}: {last['rule']}.")
        rules += [f"    - Under the rule of {one['date']}, it {one['verdict']}: {one['rule']}." for one in earlier]
    display(Markdown(table.to_markdown(index=False)), Markdown("\n".join(rules)))
