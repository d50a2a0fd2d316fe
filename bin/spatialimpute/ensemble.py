"""The one estimator: members of an ensemble and other methods, blended, then averaged along the graph of cells.

Components differ in the mean that they give to a gene. Each is multiplied by a factor per gene that brings it to the
mean over the members, so that none leads because it predicts more counts. Then every draw of every member becomes
weight * draw + the other methods' weighted estimates; and, of these, (1 - α - β) of its own and α and β of what the
member gives to the cells near it (:mod:`spatialimpute.graph`). EVALUATE applies this to held-out genes, IMPUTE to all
targets; neither fits anything again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

#: The component whose draws are pooled over its members; its weight is what the others leave.
MEMBERS = "gimvi"
#: Keeps a factor finite where a component predicts nothing.
MIN_MEAN = 1e-12


@dataclass(frozen=True)
class Recipe:
    """What is chosen of the estimator.

    Attributes
    ----------
    weights : method -> weight of each other component, at most 1 in sum
    alpha, beta : shares of the mean over a cell's neighbors, and of the mean of that over the cells around it
    """

    weights: dict[str, float] = field(default_factory=dict)
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def own(self) -> float:
        """The share of a cell's own estimate."""
        return 1.0 - self.alpha - self.beta

    def in_words(self) -> str:
        """As the log and the report put it."""
        shares = [f"{name} {weight:g}" for name, weight in self.weights.items() if weight > 0]
        return (
            f"shares of other methods: {', '.join(shares) or 'none'}; of neighbors {self.alpha:g}, around {self.beta:g}"
        )


@dataclass(frozen=True)
class Blend:
    """How components become one estimate.

    Attributes
    ----------
    member_scales : (M, G), factor of each member and gene
    recipe : weights of the components and of the graph; components of weight zero are left out
    scales : method -> (G,), its factors
    """

    member_scales: np.ndarray
    recipe: Recipe = field(default_factory=Recipe)
    scales: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each other component."""
        return self.recipe.weights

    @property
    def member_weight(self) -> float:
        """What the other components leave to the members."""
        return 1.0 - sum(self.weights.values())

    def take(self, genes: np.ndarray | slice) -> "Blend":
        """The blend of some genes (indices, a mask or a slice)."""
        scales = {method: scale[genes] for method, scale in self.scales.items()}
        return replace(self, member_scales=self.member_scales[:, genes], scales=scales)


def fit_blend(member_means: np.ndarray, other_means: Mapping[str, np.ndarray], recipe: Recipe) -> Blend:
    """The blend in which every component has, per gene, the members' mean.

    Parameters
    ----------
    member_means : (M, G), mean frequency per member and gene over the cells of :func:`folds.scale_cells`
    other_means : method -> (G,), the same of the other components; methods of weight 0 need none
    """
    overall = member_means.mean(axis=0)
    used = {method: float(weight) for method, weight in recipe.weights.items() if weight > 0}
    return Blend(
        member_scales=(overall / np.maximum(member_means, MIN_MEAN)).astype(np.float32),
        recipe=replace(recipe, weights=used),
        scales={method: (overall / np.maximum(other_means[method], MIN_MEAN)).astype(np.float32) for method in used},
    )


def offset(others: Mapping[str, np.ndarray], blend: Blend):
    """The weighted, scaled sum of the other components' estimates (B, G), which every draw gets; 0 without any."""
    return sum(
        (np.float32(weight) * others[method] * blend.scales[method] for method, weight in blend.weights.items()),
        start=np.float32(0),
    )


def blend_draws(draws, others: Mapping[str, np.ndarray], blend: Blend, nearby: np.ndarray | None = None):
    """Draws of the estimate, in place of the members' draws.

    Parameters
    ----------
    draws : tensor (M, J, B, G), J draws of each member's frequencies; overwritten
    others : method -> array (B, G) of frequencies
    nearby : (M, B, G), what the graph adds: α and β times the means of :func:`member_estimates`; None where both are 0

    Returns
    -------
    the tensor, on its device: all M * J draws of a cell and gene are draws of its estimate
    """
    import torch

    own = np.float32(blend.recipe.own)
    scale = torch.as_tensor(blend.member_scales * (own * np.float32(blend.member_weight)), device=draws.device)
    draws.mul_(scale[:, None, None, :])
    if blend.weights:
        draws.add_(torch.as_tensor(own * offset(others, blend), device=draws.device))
    if nearby is not None:
        draws.add_(torch.as_tensor(nearby, device=draws.device).unsqueeze(1))
    return draws


def member_estimates(means: np.ndarray, others: Mapping[str, np.ndarray], blend: Blend) -> np.ndarray:
    """What each member's blend with the others is on average over its draws, before the graph: (M, B, G).

    Parameters
    ----------
    means : (M, B, G), mean of each member's draws
    others : method -> array (B, G) of frequencies
    """
    scale = blend.member_scales[:, None, :] * np.float32(blend.member_weight)
    return means * scale + offset(others, blend)


def blend_moments(
    means: np.ndarray,
    sds: np.ndarray,
    others: Mapping[str, np.ndarray],
    blend: Blend,
    nearby: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the estimate from those of the members; what :func:`blend_draws` would give.

    Parameters
    ----------
    means, sds : (M, B, G), posterior mean and standard deviation of each member's frequencies
    others : method -> array (B, G) of frequencies
    nearby : as in :func:`blend_draws`

    Returns
    -------
    mean, sd : (B, G)
    """
    own = np.float32(blend.recipe.own)
    centers = own * member_estimates(means, others, blend)
    if nearby is not None:
        centers = centers + nearby
    mean = centers.mean(axis=0)
    spread = sds * (blend.member_scales[:, None, :] * (own * np.float32(blend.member_weight)))
    # Differences from the mean, since a difference of squares would lose what members agree on.
    variance = (spread**2 + (centers - mean) ** 2).mean(axis=0)
    return mean, np.sqrt(variance)
