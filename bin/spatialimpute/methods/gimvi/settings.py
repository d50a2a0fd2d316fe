"""How gimVI is set up and trained: the two presets and what may override them."""

from dataclasses import asdict, dataclass, fields, replace

from spatialimpute.errors import InputError
from spatialimpute.technologies import LIKELIHOOD_BY_TECHNOLOGY


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of a training.

    Attributes
    ----------
    train_on : `both` sides, or the `reference` alone: one training then serves all samples of a panel
    encoder : `panel` (one encoder for all datasets, on panel genes) or `separate` (the paper's)
    spatial_likelihood : `auto` is by technology, see :mod:`spatialimpute.technologies`
    n_latent, n_hidden : d, and width of the encoder's layers
    decoder_hidden : width of the decoder's hidden layer per ensemble member, 0 linear; repeats if seeds outnumber it
    seeds : members of an ensemble
    conditioned : give the decoder an additive effect per gene and dataset; batches get one in any case
    latent_library : whether the reference's library size is inferred (LogNormal) or observed
    epochs : passes over the largest dataset
    min_steps, max_steps : fewest and most optimizer steps, whatever the epochs take; max_steps 0 sets no limit
    adam_eps, weight_decay, learning_rate, cosine : the optimizer; `cosine` decays the learning rate to 0
    kl_weight : weight of the KL terms that the linear warm-up reaches at the end
    input_masking : largest rate of random masking of input genes (panel encoder)
    reweight : draw reference cells by how often they are neighbors of spatial cells
    other_gene_weight : weight of genes that are not in use in the reference's likelihood; 1 is that of those in use
    max_spatial_weight : most that the spatial ELBO weighs beside a reference's, which is modeled genes / genes in use
    zero_inflated_mean : impute (1 - dropout) rho, the mean of a ZINB, where that is a gene's likelihood; else rho alone
    blend : methods that may take a share of the estimate, with weights chosen by cross-validation
    graph : whether estimates are averaged along a graph of the spatial cells
    second_input : a second block of panel inputs of spatial cells alone, with a decoder head of its own (panel encoder)
    early_stopping : stop a member whose held-out ELBO no longer improves
    """

    train_on: str = "both"
    encoder: str = "panel"
    n_latent: int = 30
    n_hidden: int = 128
    decoder_hidden: tuple[int, ...] = (0, 0, 128)
    seeds: int = 3
    reference_likelihood: str = "zinb"
    spatial_likelihood: str = "nb"
    conditioned: bool = False
    latent_library: bool = False
    epochs: int = 13
    min_steps: int = 500
    max_steps: int = 600
    batch_size: int = 128
    learning_rate: float = 7e-3
    adam_eps: float = 1e-8
    weight_decay: float = 1e-6
    cosine: bool = True
    kl_weight: float = 0.5
    dropout: float = 0.2
    input_masking: float = 0.7
    reweight: bool = True
    other_gene_weight: float = 0.1
    max_spatial_weight: float = 10.0
    second_input: bool = True
    zero_inflated_mean: bool = True
    blend: tuple[str, ...] = ("knn", "linear", "celltype")
    graph: bool = True
    early_stopping: bool = True


PRESETS = {
    "default": Settings(),
    # The published model with the optimizer of scvi-tools, whose KL warm-up (400 epochs) outlasts its 200 epochs.
    "paper": Settings(
        encoder="separate",
        n_latent=10,
        n_hidden=64,
        decoder_hidden=(0,),
        seeds=1,
        spatial_likelihood="auto",
        latent_library=True,
        epochs=200,
        min_steps=1,
        max_steps=0,
        learning_rate=1e-3,
        adam_eps=1e-2,
        cosine=False,
        reweight=False,
        other_gene_weight=1.0,
        max_spatial_weight=1.0,
        second_input=False,
        zero_inflated_mean=False,
        blend=(),
        graph=False,
        early_stopping=False,
    ),
}


def resolve_settings(preset: str, technology: str | None = None, **overrides) -> Settings:
    """A preset with every override but those that are None or `auto`.

    Raises
    ------
    InputError
        An unknown preset or setting.
    """
    if preset not in PRESETS:
        raise InputError(f"preset {preset!r} is unknown; expected one of {', '.join(PRESETS)}")
    known = {field.name for field in fields(Settings)}
    if unknown := set(overrides) - known:
        raise InputError(f"unknown training settings: {', '.join(sorted(unknown))}")
    given = {key: value for key, value in overrides.items() if value is not None and value != "auto"}
    settings = replace(PRESETS[preset], **given)
    if settings.spatial_likelihood == "auto":
        settings = replace(settings, spatial_likelihood=LIKELIHOOD_BY_TECHNOLOGY.get(technology, "nb"))
    if settings.train_on == "reference":
        if settings.encoder != "panel":
            raise InputError("train_on reference: only the panel encoder can read spatial cells that it has not seen")
        settings = replace(settings, second_input=False, reweight=False)
    return settings


def as_dict(settings: Settings) -> dict:
    """Settings as JSON-ready values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()}
