"""Fitting on the toy: a joint model, posteriors of one modality, and what two modalities share.

Three losses and one loop. They serve the chapter on the inference gap, at the size of a laptop.
"""

from __future__ import annotations

__all__ = ["GivenOne", "Joint", "correlation", "fit", "fit_given_one", "fit_joint", "fit_shared"]

import math
from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from multielbo import gaussians
from multielbo.likelihoods import Normal
from multielbo.networks import Encoder, mlp_decoder, mlp_encoder, seeded

# Its log-density is minus the sum of squared errors, and a constant: the loss of the released code.
LIKELIHOOD = Normal(math.sqrt(0.5))


class Joint(nn.Module):
    """A joint encoder and one decoder for all modalities, stacked as channels.

    Args:
        shape: Modalities, height and width of a tuple of pictures.
        latent_dim: D.
        width: Of two hidden layers.
    """

    def __init__(self, shape: tuple[int, int, int], latent_dim: int = 2, width: int = 128) -> None:
        super().__init__()
        self.encoder = mlp_encoder(shape, latent_dim, (width, width))
        self.decoder = mlp_decoder(shape, latent_dim, (width, width))

    def elbo(self, x: Tensor, generator: Generator) -> Tensor:
        """ELBO of the joint posterior with one sample, `(B,)`, in nats, Equation eq-joint-elbo."""
        loc, scale = self.encoder(x)
        z = gaussians.sample(loc, scale, generator)
        return LIKELIHOOD.log_prob(self.decoder(z), x) - gaussians.kl_to_prior(loc, scale)

    def log_likelihood(self, z: Tensor, x: Tensor, modality: int) -> Tensor:
        """log p(x_m | z) of every picture at every latent.

        Args:
            z: `(N, D)`.
            x: Pictures of one modality, `(B, H, W)`.
            modality: Its place m in the stack.

        Returns:
            `(B, N)`, in nats.
        """
        means = self.decoder(z)[:, modality]
        return torch.stack([LIKELIHOOD.log_prob(means, one.expand_as(means)) for one in x])


class GivenOne(nn.Module):
    """q(z | x_m): a Gaussian whose mean and width an encoder gives, bent by a flow or not.

    The flow is the same for every x, as in the paper's model: x moves the base alone.

    Args:
        encoder: From what is seen to the mean and standard deviation of the base.
        flow: A zuko flow without context, or None for the Gaussian itself.
    """

    def __init__(self, encoder: Encoder, flow: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder, self.flow = encoder, flow

    def log_density(self, z: Tensor, x: Tensor) -> Tensor:
        """log q(z | x): base density at f(z), plus the log-determinant of f there.

        Args:
            z: `(..., D)`.
            x: What is seen, one for each z or one for all.
        """
        loc, scale = self.encoder(x)
        if self.flow is None:
            return gaussians.log_density(z, loc, scale)
        base, log_det = self.flow().transform.call_and_ladj(z)
        return gaussians.log_density(base, loc, scale) + log_det

    def sample(self, x: Tensor, generator: Generator) -> Tensor:
        """Draw one z for each x: from the base, then through the inverse of the flow."""
        base = gaussians.sample(*self.encoder(x), generator)
        return base if self.flow is None else self.flow().transform.inv(base)


def correlation(u: Tensor, v: Tensor) -> Tensor:
    """Correlation of two scalars over a batch, Equation eq-correlation.

    Args:
        u, v: `(B, 1)`.
    """
    u, v = u - u.mean(0), v - v.mean(0)
    return (u * v).mean() / (u.square().mean() * v.square().mean()).sqrt()


def fit(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[Tensor], Tensor],
    rows: int,
    *,
    steps: int,
    batch: int,
    generator: Generator,
    lr: float = 4e-3,
) -> None:
    """Adam with a learning rate that rises and falls once, on random batches of row numbers."""
    optimiser = Adam(parameters, lr=lr)
    schedule = OneCycleLR(optimiser, lr, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(torch.randint(rows, (batch,), generator=generator)).backward()
        optimiser.step()
        schedule.step()


def fit_joint(x: Tensor, seed: int, steps: int, width: int = 128) -> Joint:
    """Stage 1: maximise the joint ELBO on pairs `(N, M, H, W)`; the model comes back frozen."""
    with seeded(seed):
        model = Joint(tuple(x.shape[1:]), width=width)
    noise = torch.Generator().manual_seed(seed)
    fit(
        model.parameters(),
        lambda rows: -model.elbo(x[rows], noise).mean(),
        len(x),
        steps=steps,
        batch=64,
        generator=noise,
    )
    return model.requires_grad_(False)


def fit_given_one(
    q: GivenOne, seen: Tensor, loc: Tensor, scale: Tensor, seed: int, steps: int
) -> GivenOne:
    """Stage 2: likelihood of draws from the frozen joint posteriors, given one modality.

    Args:
        q: What is fitted.
        seen: What it sees of each example, `(N, ...)`.
        loc, scale: The joint posteriors of the examples, `(N, D)`.
        seed: Of batches and draws.
        steps: Number of batches.
    """
    noise = torch.Generator().manual_seed(seed)

    def loss(rows: Tensor) -> Tensor:
        z = gaussians.sample(loc[rows], scale[rows], noise)
        return -q.log_density(z, seen[rows]).mean()

    fit(q.parameters(), loss, len(seen), steps=steps, batch=256, generator=noise)
    return q.requires_grad_(False)


def fit_shared(x: Tensor, seed: int, steps: int, width: int = 64) -> list[nn.Module]:
    """Projectors g_m to one number, one for each of two modalities, as correlated as they can be.

    Args:
        x: Pairs, `(N, 2, H, W)`.
        seed: Of weights and batches.
        steps: Number of batches.
        width: Of the hidden layer.
    """
    inputs = math.prod(x.shape[2:])
    with seeded(seed):
        projectors = [
            nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, 1))
            for _ in range(2)
        ]
    fit(
        [p for g in projectors for p in g.parameters()],
        lambda rows: -correlation(*(g(x[rows, m]) for m, g in enumerate(projectors))),
        len(x),
        steps=steps,
        batch=500,
        generator=torch.Generator().manual_seed(seed),
    )
    return [g.requires_grad_(False) for g in projectors]
