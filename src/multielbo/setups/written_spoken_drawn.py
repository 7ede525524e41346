"""Written, spoken and drawn digits: convolutions for the two pictures, perceptrons for the strokes.

No paper trains on these data, so the choices are ours. All three likelihoods are normal with one
scale, since every value lies in [0, 1], and each weighs the largest modality's number of dimensions
over its own, as in MoPoE's appendix B: an error of a tenth in every dimension then costs the same
in each modality, although strokes have 16 numbers and a spectrogram has 1,024. With the Laplace
likelihood of the papers on PolyMNIST some seeds did not learn to write in our short runs; its best
single picture is the median of all, which is nearly black for MNIST.
"""

from __future__ import annotations

__all__ = ["setup"]

from functools import partial

from multielbo.data.written_spoken_drawn import written_spoken_drawn
from multielbo.likelihoods import Normal
from multielbo.networks import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from multielbo.setups.setup import Modality, Setup, dimension_weights

PICTURES = {"written": (1, 28, 28), "spoken": (1, 32, 32)}
STROKES = {"drawn": (8, 2)}
HIDDEN = (256, 256)
LIKELIHOOD = Normal(0.3)


def setup() -> Setup:
    """MNIST's images, log-mel spectrograms of spoken digits, and strokes of a pen."""
    weights = dimension_weights(PICTURES | STROKES)
    pictures = {
        name: Modality(
            encoder=partial(conv_encoder, shape),
            decoder=partial(conv_decoder, shape),
            likelihood=LIKELIHOOD,
            weight=weights[name],
        )
        for name, shape in PICTURES.items()
    }
    strokes = {
        name: Modality(
            encoder=partial(mlp_encoder, shape, hidden=HIDDEN),
            decoder=partial(mlp_decoder, shape, hidden=HIDDEN),
            likelihood=LIKELIHOOD,
            weight=weights[name],
        )
        for name, shape in STROKES.items()
    }
    return Setup(written_spoken_drawn, pictures | strokes, "data_scripts/written_spoken_drawn.py")
