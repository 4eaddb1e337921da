"""Vary one factor, keep some, remove one, and compare what the decoder makes of it.

A factor is removed by setting it to 0, the prior's mean, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vaemi._progress import progress_bar
from vaemi.information import FactorInformation, kl_to_prior
from vaemi.models import VAE, as_float


@torch.inference_mode()
def decode(model: VAE, z: Tensor, batch_size: int = 1000) -> Tensor:
    """Return the means of p(x|z) for all rows of z (N, H), shape (N, ...), on the CPU.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.influence import decode
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> decode(model, torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """
    device = next(model.parameters()).device
    return torch.cat([model.decode(batch.to(device)).cpu() for batch in z.split(batch_size)])


def traverse(
    model: VAE, mean: Tensor, factors: Sequence[int], marginal_std: Tensor, span: float = 3.0, steps: int = 9
) -> Tensor:
    """Return pictures along some factors, while all others stay where they are.

    Parameters
    ----------
    model : VAE
    mean : Tensor, shape (H,)
        Posterior mean of the picture to start from.
    factors : sequence of int
        F factors to vary, one at a time.
    marginal_std : Tensor, shape (H,)
        sigma*_h, the unit of the traversal.
    span : float
        Each factor runs over [-span, span] of its own sigma*.
    steps : int
        Number of pictures per factor.

    Returns
    -------
    Tensor, shape (F, steps, ...)

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.influence import traverse
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> traverse(model, torch.zeros(2), [1], torch.ones(2), steps=5).shape
    torch.Size([1, 5, 3])
    """
    z = mean.repeat(len(factors), steps, 1)
    for row, factor in enumerate(factors):
        z[row, :, factor] = torch.linspace(-span, span, steps) * float(marginal_std[factor])
    return decode(model, z.flatten(0, 1)).unflatten(0, (len(factors), steps))


def keep(z: Tensor, factors: Sequence[int] | Tensor) -> Tensor:
    """Return a copy of z (N, H) in which every factor but the given ones is 0.

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import keep
    >>> keep(torch.tensor([[1.0, 2.0, 3.0]]), [2]).tolist()
    [[0.0, 0.0, 3.0]]
    """
    kept = torch.zeros_like(z)
    chosen = torch.as_tensor(factors, dtype=torch.long)
    kept[:, chosen] = z[:, chosen]
    return kept


def reconstruction_error(model: VAE, images: Tensor, z: Tensor) -> float:
    """Return the mean squared error per pixel between pictures (N, ...) and the decoded z (N, H).

    Pixels are in [0, 1]; bytes are divided by 255.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.influence import reconstruction_error
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x = torch.randn(10, 3)
    >>> reconstruction_error(model, x, model.encode(x)[0]) > 0
    True
    """
    return float(_sample_errors(model, images, z).mean())


def _sample_errors(model: VAE, images: Tensor, z: Tensor) -> Tensor:
    """Return the mean squared error per pixel of each picture, float64, shape (N,)."""
    return (as_float(images) - decode(model, z)).square().flatten(1).mean(1, dtype=torch.float64)


def keep_top_errors(
    model: VAE, images: Tensor, mean: Tensor, orders: Mapping[str, Tensor], counts: Sequence[int]
) -> dict[str, list[float]]:
    """Return the reconstruction error when only the first k factors of an order are kept.

    These are the means over the pictures of `keep_top_sample_errors`, where the parameters are described.

    Returns
    -------
    dict of name to list of float
        Mean squared error per pixel for every k.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.influence import keep_top_errors
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x = torch.randn(10, 3)
    >>> mean, order = model.encode(x)[0], {"first": torch.tensor([0, 1])}
    >>> errors = keep_top_errors(model, x, mean, order, counts=[0, 1, 2])
    >>> len(errors["first"])
    3
    """
    errors = keep_top_sample_errors(model, images, mean, orders, counts)
    return {name: curves.mean(1).tolist() for name, curves in errors.items()}


def keep_top_sample_errors(
    model: VAE, images: Tensor, mean: Tensor, orders: Mapping[str, Tensor], counts: Sequence[int]
) -> dict[str, Tensor]:
    """Return the reconstruction error of each picture when only the first k factors of an order are kept.

    Parameters
    ----------
    model : VAE
    images, mean : Tensor, shapes (N, ...) and (N, H)
    orders : mapping of name to Tensor, shape (H,)
        Factors from the first kept to the first dropped.
    counts : sequence of int
        Values of k.

    Returns
    -------
    dict of name to Tensor, shape (number of counts, N)
        Mean squared error per pixel, float64, for every k and picture.

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.influence import keep_top_sample_errors
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x = torch.randn(10, 3)
    >>> mean, order = model.encode(x)[0], {"first": torch.tensor([0, 1])}
    >>> errors = keep_top_sample_errors(model, x, mean, order, counts=[0, 2])
    >>> errors["first"].shape
    torch.Size([2, 10])
    """
    images = as_float(images)
    return {
        name: torch.stack([_sample_errors(model, images, keep(mean, order[:count])) for count in counts])
        for name, order in progress_bar(orders.items(), desc="keeping the top factors")
    }


def removal_damage(model: VAE, images: Tensor, mean: Tensor) -> Tensor:
    """Return the rise of the reconstruction error per pixel when one factor is removed, for every factor, shape (H,).

    Parameters
    ----------
    model : VAE
    images, mean : Tensor, shapes (N, ...) and (N, H)

    Examples
    --------
    >>> import torch
    >>> from vaemi.models import LinearVAE
    >>> from vaemi.influence import removal_damage
    >>> model = LinearVAE(data_dim=3, latent_dim=2)
    >>> x = torch.randn(10, 3)
    >>> removal_damage(model, x, model.encode(x)[0]).shape
    torch.Size([2])
    """
    images = as_float(images)
    intact = reconstruction_error(model, images, mean)
    damage = torch.empty(mean.shape[1], dtype=torch.float64)
    for factor in progress_bar(range(mean.shape[1]), desc="removing one factor"):
        without = mean.clone()
        without[:, factor] = 0
        damage[factor] = reconstruction_error(model, images, without) - intact
    return damage


def sample_posterior(mean: Tensor, log_variance: Tensor, seed: int = 0) -> Tensor:
    """Return one draw of z ~ q(z|x) for every row, shape (N, H).

    Examples
    --------
    >>> import torch
    >>> from vaemi.influence import sample_posterior
    >>> sample_posterior(torch.zeros(4, 2), torch.zeros(4, 2), seed=0).shape
    torch.Size([4, 2])
    """
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed), dtype=mean.dtype)
    return mean + (0.5 * log_variance).exp() * noise


def factor_orders(
    information: FactorInformation, mean: Tensor, log_variance: Tensor, draws: int = 10, seed: int = 0
) -> dict[str, Tensor]:
    """Return orders of the factors to compare, the most important factor first.

    Parameters
    ----------
    information : FactorInformation
    mean, log_variance : Tensor, shape (M, H)
        The posteriors that `information` was measured on.
    draws : int
        Number of random orders.
    seed : int
        Seed of the random orders.

    Returns
    -------
    dict of name to Tensor, shape (H,)
        ``information`` is that of `information.ranking`; ``kl`` ranks by E_x KL(q(z_h|x) || p(z_h)); ``variance`` by
        the marginal standard deviation sigma*_h; ``active_units`` by Var_x(mu_h(x)), the statistic by which Burda et
        al. (2016) count active units; ``mean_precision`` by -E_x log sigma_h^2(x), the mean logarithm of the
        posterior's precision; ``random 0``, ``random 1``, ... are permutations.

    References
    ----------
    Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016.

    Examples
    --------
    >>> import torch
    >>> from vaemi import factor_information
    >>> from vaemi.influence import factor_orders
    >>> mean = torch.linspace(-2, 2, 500)[:, None] * torch.tensor([1.0, 0.0])
    >>> log_variance = torch.tensor([0.1, 1.0]).log().expand(500, 2)
    >>> found = factor_information(mean, log_variance)
    >>> orders = factor_orders(found, mean, log_variance)
    >>> orders["information"].tolist()
    [0, 1]
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        "information": information.ranking,
        "kl": kl_to_prior(mean, log_variance).mean(0).argsort(descending=True),
        "variance": information.marginal_std.argsort(descending=True),
        "active_units": mean.var(0).argsort(descending=True),
        "mean_precision": log_variance.mean(0).argsort(),
        **{f"random {i}": torch.randperm(mean.shape[1], generator=generator) for i in range(draws)},
    }
