"""What the factors do: vary one, keep some, drop one, and classify from those that are left.

A factor is removed by setting it to 0, the prior's mean, as the paper does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.neural_network import MLPClassifier
from torch import Tensor
from tqdm import tqdm

from vaemi.information import FactorInformation, kl_to_prior
from vaemi.models import VAE, as_float


@torch.inference_mode()
def decode(model: VAE, z: Tensor, batch_size: int = 1000) -> Tensor:
    """Means of p(x|z) for all rows of z (N, H), shape (N, ...), on the CPU."""
    device = next(model.parameters()).device
    return torch.cat([model.decode(batch.to(device)).cpu() for batch in z.split(batch_size)])


def traverse(
    model: VAE, mean: Tensor, factors: Sequence[int], marginal_std: Tensor, span: float = 3.0, steps: int = 9
) -> Tensor:
    """Pictures along chosen factors while all others stay where they are.

    Parameters
    ----------
    mean : Tensor, shape (H,)
        Posterior mean of the picture to start from.
    factors : sequence of int
        F factors to vary.
    marginal_std : Tensor, shape (H,)
        sigma*_h, the unit of the walk.
    span : float
        Each factor runs over [-span, span] of its own sigma*.
    steps : int
        Pictures on the way.

    Returns
    -------
    Tensor, shape (F, steps, ...)

    Raises
    ------
    ValueError
        If a factor is not one of the model's.
    """
    strangers = [factor for factor in factors if not 0 <= factor < model.latent_dim]
    if strangers:
        raise ValueError(f"factors holds {strangers}: the model's factors are 0 to {model.latent_dim - 1}.")
    z = mean.repeat(len(factors), steps, 1)
    for row, factor in enumerate(factors):
        z[row, :, factor] = torch.linspace(-span, span, steps) * float(marginal_std[factor])
    return decode(model, z.flatten(0, 1)).unflatten(0, (len(factors), steps))


def keep(z: Tensor, factors: Sequence[int] | Tensor) -> Tensor:
    """A copy of z (N, H) in which every factor but those named is 0."""
    kept = torch.zeros_like(z)
    chosen = torch.as_tensor(factors, dtype=torch.long)
    kept[:, chosen] = z[:, chosen]
    return kept


def reconstruction_error(model: VAE, images: Tensor, z: Tensor) -> float:
    """Mean squared error a pixel between pictures (N, ...) and what z (N, H) decodes to, pixels in [0, 1]."""
    return float((as_float(images) - decode(model, z)).square().mean())


def keep_top_errors(
    model: VAE, images: Tensor, mean: Tensor, orders: Mapping[str, Tensor], counts: Sequence[int]
) -> dict[str, list[float]]:
    """Reconstruction error when only the first k factors of an order are kept.

    Parameters
    ----------
    images, mean : Tensor, shapes (N, ...) and (N, H)
    orders : mapping of name to Tensor, shape (H,)
        Factors from the first kept to the first dropped.
    counts : sequence of int
        Values of k.

    Returns
    -------
    dict of name to list of float
        One mean squared error a pixel for every k.
    """
    progress = tqdm(total=len(orders) * len(counts), desc="keeping the top factors", mininterval=2)
    errors: dict[str, list[float]] = {}
    for name, order in orders.items():
        errors[name] = []
        for count in counts:
            errors[name].append(reconstruction_error(model, images, keep(mean, order[:count])))
            progress.update()
    progress.close()
    return errors


def removal_damage(model: VAE, images: Tensor, mean: Tensor) -> Tensor:
    """Rise of the reconstruction error (a pixel) when one factor alone is removed, for every factor, shape (H,)."""
    intact = reconstruction_error(model, images, mean)
    damage = torch.empty(mean.shape[1], dtype=torch.float64)
    for factor in tqdm(range(mean.shape[1]), desc="removing one factor", mininterval=2):
        without = mean.clone()
        without[:, factor] = 0
        damage[factor] = reconstruction_error(model, images, without) - intact
    return damage


def factor_orders(
    information: FactorInformation, mean: Tensor, log_variance: Tensor, draws: int = 10, seed: int = 0
) -> dict[str, Tensor]:
    """Orders in which factors may be kept, the most important first, each of shape (H,).

    ``information`` is the paper's; ``kl`` ranks by E_x KL(q(z_h|x) || p(z_h)); ``variance`` by the marginal standard
    deviation sigma*_h; ``random 0``, ``random 1``, ... are permutations.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        "information": information.ranking,
        "kl": kl_to_prior(mean, log_variance).mean(0).argsort(descending=True),
        "variance": information.marginal_std.argsort(descending=True),
        **{f"random {i}": torch.randperm(mean.shape[1], generator=generator) for i in range(draws)},
    }


def sample_posterior(mean: Tensor, log_variance: Tensor, seed: int = 0) -> Tensor:
    """One draw of z ~ q(z|x) for every row, shape (N, H)."""
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed), dtype=mean.dtype)
    return mean + (0.5 * log_variance).exp() * noise


def train_classifier(
    z: Tensor, labels: Tensor, epochs: int = 20, hidden_dim: int = 256, seed: int = 0
) -> MLPClassifier:
    """The paper's classifier: one hidden ReLU layer on the factors, Adam 1e-3, batches of 100.

    Parameters
    ----------
    z, labels : Tensor, shapes (N, H) and (N,)
    """
    classifier = MLPClassifier(
        (hidden_dim,), batch_size=min(100, len(z)), learning_rate_init=1e-3, alpha=0.0, random_state=seed
    )
    classes = labels.unique().numpy()
    for _ in tqdm(range(epochs), desc="classifier", mininterval=2):
        classifier.partial_fit(z.numpy(), labels.numpy(), classes=classes)
    return classifier


def kept_at_ratio(ratio: float, latent_dim: int) -> int:
    """How many factors the authors keep at a ratio: int((1 - ratio) * latent_dim) of them are removed."""
    return latent_dim - int((1 - ratio) * latent_dim)


def accuracies(
    classifier: MLPClassifier, z: Tensor, labels: Tensor, order: Tensor, counts: Sequence[int]
) -> list[float]:
    """Accuracy (0 to 1) of one classifier, trained on all factors, when only the first k of an order are kept."""
    return [float(np.mean(classifier.predict(keep(z, order[:count]).numpy()) == labels.numpy())) for count in counts]


def swap_at_the_cut(order: Tensor, count: int) -> Tensor:
    """The order with its factor of rank `count` and the next one exchanged; as it is if there are no two such."""
    swapped = order.clone()
    if 0 < count < len(order):
        swapped[[count - 1, count]] = order[[count, count - 1]]
    return swapped


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two vectors of the same length."""
    return float(spearmanr(a.numpy(), b.numpy()).statistic)
