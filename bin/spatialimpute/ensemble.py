"""The one estimator: members of an ensemble, and other methods, blended by stored scales and weights.

Components differ in the mean that they give to a gene. Each is multiplied by a factor per gene that brings it to the
mean over the members, so that none leads because it predicts more counts. Then every draw of every member becomes
weight * draw + the other methods' weighted estimates. EVALUATE applies this to held-out genes, IMPUTE to all targets;
neither fits anything again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

#: The component whose draws are pooled over its members; its weight is what the others leave.
MEMBERS = "gimvi"
#: Keeps a factor finite where a component predicts nothing.
MIN_MEAN = 1e-12


@dataclass(frozen=True)
class Blend:
    """How components become one estimate.

    Attributes
    ----------
    member_scales : (M, G), factor of each member and gene
    weights : method -> weight of each other component, at most 1 in sum; zero weights are left out
    scales : method -> (G,), its factors
    """

    member_scales: np.ndarray
    weights: dict[str, float] = field(default_factory=dict)
    scales: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def member_weight(self) -> float:
        """What the other components leave to the members."""
        return 1.0 - sum(self.weights.values())

    def take(self, genes: np.ndarray) -> "Blend":
        """The blend of some genes (indices or a mask)."""
        scales = {method: scale[genes] for method, scale in self.scales.items()}
        return Blend(self.member_scales[:, genes], self.weights, scales)


def fit_blend(member_means: np.ndarray, other_means: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> Blend:
    """The blend in which every component has, per gene, the members' mean.

    Parameters
    ----------
    member_means : (M, G), mean frequency per member and gene over the cells of :func:`folds.scale_cells`
    other_means : method -> (G,), the same of the other components
    weights : method -> weight; methods of weight 0 need no means
    """
    overall = member_means.mean(axis=0)
    used = {method: float(weight) for method, weight in weights.items() if weight > 0}
    return Blend(
        member_scales=(overall / np.maximum(member_means, MIN_MEAN)).astype(np.float32),
        weights=used,
        scales={method: (overall / np.maximum(other_means[method], MIN_MEAN)).astype(np.float32) for method in used},
    )


def offset(others: Mapping[str, np.ndarray], blend: Blend):
    """The weighted, scaled sum of the other components' estimates (B, G), which every draw gets; 0 without any."""
    return sum(
        (np.float32(weight) * others[method] * blend.scales[method] for method, weight in blend.weights.items()),
        start=np.float32(0),
    )


def blend_draws(draws, others: Mapping[str, np.ndarray], blend: Blend):
    """Draws of the estimate, in place of the members' draws.

    Parameters
    ----------
    draws : tensor (M, J, B, G), J draws of each member's frequencies; overwritten
    others : method -> array (B, G) of frequencies

    Returns
    -------
    the tensor, on its device: all M * J draws of a cell and gene are draws of its estimate
    """
    import torch

    scale = torch.as_tensor(blend.member_scales * np.float32(blend.member_weight), device=draws.device)
    draws.mul_(scale[:, None, None, :])
    if blend.weights:
        draws.add_(torch.as_tensor(offset(others, blend), device=draws.device))
    return draws


def blend_moments(
    means: np.ndarray, sds: np.ndarray, others: Mapping[str, np.ndarray], blend: Blend
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the estimate from those of the members; what :func:`blend_draws` would give.

    Parameters
    ----------
    means, sds : (M, B, G), posterior mean and standard deviation of each member's frequencies
    others : method -> array (B, G) of frequencies

    Returns
    -------
    mean, sd : (B, G)
    """
    scale = blend.member_scales[:, None, :]
    scaled = means * scale
    mean = scaled.mean(axis=0)
    second = ((sds * scale) ** 2 + scaled**2).mean(axis=0)
    sd = np.sqrt(np.maximum(second - mean**2, 0))
    weight = np.float32(blend.member_weight)
    return weight * mean + offset(others, blend), weight * sd
