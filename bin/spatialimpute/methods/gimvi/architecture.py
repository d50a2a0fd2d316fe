"""The shape of a stack of models: all that is needed, beside the weights, to build it again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset as the model sees it.

    Attributes
    ----------
    genes : indices of its genes among all; the panel comes first
    likelihood : `zinb`, `nb` or `poisson`
    latent_library : a LogNormal library size is inferred; otherwise the observed total is used
    spatial : counts of held-out panel genes are invisible
    n_batches : batches enter as nested datasets
    """

    name: str
    genes: tuple[int, ...]
    likelihood: str
    latent_library: bool
    spatial: bool
    n_batches: int = 1


@dataclass(frozen=True)
class Architecture:
    """All that is needed, beside the weights, to rebuild a stack of models.

    `decoder_hidden` 0 is a linear decoder. `conditioned`: the decoder has an additive effect per gene and batch.
    """

    n_genes: int
    n_panel: int
    datasets: tuple[DatasetSpec, ...]
    encoder: str = "panel"
    n_latent: int = 30
    n_hidden: int = 128
    decoder_hidden: int = 0
    dropout: float = 0.2
    input_masking: float = 0.7
    conditioned: bool = False
    adversary: bool = False

    @property
    def batch_offsets(self) -> list[int]:
        """Where each dataset's batches begin among all batches; one entry more than datasets."""
        offsets = [0]
        for dataset in self.datasets:
            offsets.append(offsets[-1] + dataset.n_batches)
        return offsets
