"""Two linear modalities: which of their latents are shared is seen in their covariance."""

from __future__ import annotations

__all__ = ["TwoModalities", "rotation_between", "split"]

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class TwoModalities(NamedTuple):
    """x_m = W_m z + V_m u_m + noise, with z shared and u_m private, all standard normal.

    Attributes:
        shared: W_1 and W_2, `(D_m, C)`.
        private: V_1 and V_2, `(D_m, P_m)`.
        noise: Standard deviations s_1 and s_2.
    """

    shared: tuple[Tensor, Tensor]
    private: tuple[Tensor, Tensor]
    noise: tuple[float, float]

    def covariance(self) -> tuple[Tensor, Tensor, Tensor]:
        """C_11, C_22 and C_12, Equation eq-shared-covariance."""
        own = [
            w @ w.T + v @ v.T + s**2 * torch.eye(len(w), dtype=w.dtype)
            for w, v, s in zip(self.shared, self.private, self.noise, strict=True)
        ]
        return own[0], own[1], self.shared[0] @ self.shared[1].T


def split(
    covariance: tuple[Tensor, Tensor, Tensor],
    noise: tuple[float, float],
    shared: int,
    private: tuple[int, int],
) -> TwoModalities:
    """The loadings, up to rotations, from covariances and the noise, Equation eq-shared-split.

    Args:
        covariance: C_11, C_22 and C_12.
        noise: Standard deviations s_1 and s_2.
        shared: Number of shared latents, C.
        private: Numbers of private latents, P_1 and P_2.

    Raises:
        ValueError: The first modality is too narrow for its latents or varies in fewer
            directions beyond the noise, or the covariance between the modalities has another
            rank than `shared`.
    """
    own_1, own_2, between = covariance
    if len(own_1) < shared + private[0]:
        raise ValueError(
            f"shared space: {shared} shared and {private[0]} private latents in "
            f"{len(own_1)} dimensions; the first modality has to be the wider"
        )
    rank = int(torch.linalg.matrix_rank(between))
    if rank != shared:
        raise ValueError(
            f"shared space: the modalities' covariance has rank {rank}, not {shared}; "
            "the number of shared latents is that rank"
        )
    signal_1 = own_1 - noise[0] ** 2 * torch.eye(len(own_1), dtype=own_1.dtype)
    signal_2 = own_2 - noise[1] ** 2 * torch.eye(len(own_2), dtype=own_2.dtype)
    w_2 = _root(between.T @ _inverse(signal_1, shared + private[0]) @ between, shared)
    w_1 = between @ w_2 @ torch.linalg.inv(w_2.T @ w_2)
    v_1, v_2 = _root(signal_1 - w_1 @ w_1.T, private[0]), _root(signal_2 - w_2 @ w_2.T, private[1])
    return TwoModalities((w_1, w_2), (v_1, v_2), noise)


def rotation_between(v: Tensor, w: Tensor) -> Tensor:
    """The R with V R closest to W, orthogonal, for loadings of equal shape `(N, D)`."""
    left, _, right = torch.linalg.svd(v.T @ w)
    return left @ right


def _root(gram: Tensor, rank: int) -> Tensor:
    """A matrix of `rank` columns whose product with its transpose is this."""
    values, vectors = torch.linalg.eigh(gram)
    used = min(rank, len(gram))
    root = vectors[:, len(gram) - used :] * values[len(gram) - used :].clamp_min(0).sqrt()
    return pad(root, (0, rank - used))  # more latents than dimensions: the rest are silent


def _inverse(gram: Tensor, rank: int) -> Tensor:
    """The pseudo-inverse of a matrix of known rank."""
    values, vectors = torch.linalg.eigh(gram)
    if values[len(gram) - rank] <= len(gram) * torch.finfo(gram.dtype).eps * values.abs().max():
        raise ValueError(
            f"shared space: the first modality varies in fewer than {rank} directions beyond its "
            "noise; give it fewer private latents or less noise"
        )
    top = vectors[:, len(gram) - rank :]
    return top / values[len(gram) - rank :] @ top.T
