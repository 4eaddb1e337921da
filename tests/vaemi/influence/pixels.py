"""A model whose answers are known: a decoder that shows each factor as one pixel."""

import torch
from torch import nn

from vaemi.models import VAE, GaussianLikelihood


class Pixels(VAE):
    """Four factors, four pixels: pixel h is weight_h z_h."""

    def __init__(self, weights=(1.0, 0.5, 0.1, 0.0)):
        super().__init__()
        self.latent_dim = 4
        self.decoder = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Unflatten(1, (1, 2, 2)))
        self.decoder[0].weight = nn.Parameter(torch.diag(torch.tensor(weights)))
        self.likelihood = GaussianLikelihood()
