"""MultiVae 1.0.3's gradients of MMVAE against ours, from the same networks and the same noise.

    python tests/benchmarks/multivae_dreg.py

Its `dreg_looser` has to give every encoder and decoder the gradient of `multielbo.importance.dreg`,
its `iwae_looser` that of `iwae_outside` by autograd; the unbiased `stratified_dreg` has to differ.
Exits with 1 where one of these does not hold.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from multielbo import importance
from multielbo.mixtures import Posteriors

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))

from torchvision_import import torchvision_datasets

try:
    torchvision_datasets()  # else MultiVae's own import of torchvision fails on a CPU build
    from multivae.data.datasets.base import DatasetOutput
    from multivae.models import MMVAE, MMVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
except ModuleNotFoundError as error:
    sys.exit(f"multivae_dreg: {error.name} is not installed: pip install 'multielbo[bench]'")

DIMS = {"image": 3, "sound": 2, "text": 4}
LATENT, BATCH, DRAWS = 2, 4, 6
TOLERANCE = 1e-5  # float32, gradients of order one


class Encode(BaseEncoder):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.both = nn.Linear(dims, 2 * LATENT)

    def forward(self, x: Tensor) -> ModelOutput:
        loc, log_variance = self.both(x).chunk(2, -1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class Decode(BaseDecoder):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.mean = nn.Linear(LATENT, dims)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.mean(z))


def multivae(loss: str) -> MMVAE:
    config = MMVAEConfig(
        n_modalities=len(DIMS),
        latent_dim=LATENT,
        input_dims={name: (dims,) for name, dims in DIMS.items()},
        decoders_dist=dict.fromkeys(DIMS, "normal"),
        prior_and_posterior_dist="normal",
        K=DRAWS,
        learn_prior=False,
        loss=loss,
    )
    torch.manual_seed(0)
    encoders = {name: Encode(dims) for name, dims in DIMS.items()}
    return MMVAE(config, encoders, {name: Decode(dims) for name, dims in DIMS.items()})


def their_gradients(model: MMVAE, batch: dict[str, Tensor]) -> list[Tensor]:
    torch.manual_seed(1)
    model(DatasetOutput(data=batch)).loss.backward()
    return [-p.grad for p in model.parameters() if p.requires_grad]


def our_gradients(model: MMVAE, batch: dict[str, Tensor], estimator: str) -> list[Tensor]:
    torch.manual_seed(1)  # MultiVae draws modality by modality
    noise = torch.stack([torch.randn(DRAWS, BATCH, LATENT) for _ in DIMS], 1)
    parts = [model.encoders[name](x) for name, x in batch.items()]
    loc = torch.stack([part.embedding for part in parts])
    scale = torch.stack([(0.5 * part.log_covariance).exp() for part in parts])
    even = torch.full((len(DIMS), BATCH), 1 / len(DIMS))
    members = torch.eye(len(DIMS), dtype=torch.bool)[..., None].expand(-1, -1, BATCH)
    q = Posteriors(loc, scale, even, members)

    def score(z: Tensor, wanted: Tensor | None = None) -> Tensor:
        means = {name: model.decoders[name](z).reconstruction for name in batch}
        return torch.stack([Normal(means[n], 1.0).log_prob(x).sum(-1) for n, x in batch.items()])

    with patch.object(importance, "draw", lambda *_: q.loc + q.scale * noise):
        if estimator == "autograd":
            log_weight = importance.log_weights(q, score, importance.draw(q, DRAWS))
            value = importance.iwae_outside(log_weight, q.weights)
        else:
            value = getattr(importance, estimator)(q, score, DRAWS)
    model.zero_grad()
    value.sum().backward()
    return [p.grad for p in model.parameters() if p.requires_grad]


def main() -> None:
    torch.manual_seed(2)
    batch = {name: torch.randn(BATCH, dims) for name, dims in DIMS.items()}
    wrong = []
    for loss, estimator, equal in (
        ("dreg_looser", "dreg", True),
        ("iwae_looser", "autograd", True),
        ("dreg_looser", "stratified_dreg", False),
    ):
        model = multivae(loss)
        theirs = their_gradients(model, batch)
        ours = our_gradients(model, batch, estimator)
        largest = max(float((a - b).abs().max()) for a, b in zip(theirs, ours, strict=True))
        size = max(float(gradient.abs().max()) for gradient in theirs)
        print(f"{loss} against {estimator}: {largest:.1e} of gradients up to {size:.1f}")
        if (largest < TOLERANCE * size) is not equal:
            wrong.append(f"{loss} against {estimator}")
    if wrong:
        sys.exit(f"multivae_dreg: not as expected: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
