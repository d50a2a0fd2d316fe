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
    `n_sample_batches`: of models that are trained on references alone, the batches of the sample they are fitted to.
    `second_input`: spatial cells have a second block of panel inputs, and the decoder a head of its own for it.
    `zero_inflated_mean`: a gene's expected count is that of its zero-inflated distribution, (1 - dropout) rho.
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
    second_input: bool = False
    zero_inflated_mean: bool = False
    n_sample_batches: int = 0

    @property
    def spatial_dataset(self) -> int:
        """The dataset whose statistics of batch normalization serve spatial cells: their own, else the first."""
        return next((s for s, spec in enumerate(self.datasets) if spec.spatial), 0)

    @property
    def spatial_batch(self) -> int:
        """Where the spatial cells' batches begin among those whose standardization the encoder has."""
        has_spatial = any(spec.spatial for spec in self.datasets)
        return self.batch_offsets[self.spatial_dataset if has_spatial else -1]

    @property
    def batch_offsets(self) -> list[int]:
        """Where each dataset's batches begin among all batches; one entry more than datasets."""
        offsets = [0]
        for dataset in self.datasets:
            offsets.append(offsets[-1] + dataset.n_batches)
        return offsets
