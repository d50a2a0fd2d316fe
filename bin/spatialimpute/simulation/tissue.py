"""A cortex-like tissue whose truth is known: a spatial panel, a dissociated reference, and what was not measured.

Cells lie in six layers. A cell of type t at depth d (0 pia, 1 white matter) and activity a transcribes gene g at

    log rate_cg = base_g + type_tg + (2 d - 1) gradient_class(t),g + a activity_g

Types have marker programs (shared by a class, and their own), gradients run through every type, and activity is a
smooth field over the tissue plus noise. Each technology then sees the cells in its own way:

    spatial    x ~ NB(mean = size_c rate_cg efficiency_g), panel genes only, with the cell's place
    reference  x ~ zero-inflated NB, all genes, another efficiency per gene, other type proportions, no places

The two sides are drawn apart: no cell is in both. `io/simulation.py` writes them to files, chunk by chunk.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

#: Lower edge of each layer, as a share of the cortical depth.
LAYERS = {"L1": 0.08, "L2/3": 0.35, "L4": 0.50, "L5": 0.70, "L6": 0.90, "WM": 1.00}

CLASSES = ("excitatory", "inhibitory", "non-neuronal")

#: Type: class, share of the tissue's cells, density in each layer (only relative), amount of RNA.
TYPES = {
    "L2/3 IT": (0, 0.165, (0, 1, 0.05, 0, 0, 0), 1.4),
    "L4 IT": (0, 0.13, (0, 0.05, 1, 0.05, 0, 0), 1.2),
    "L5 IT": (0, 0.10, (0, 0, 0.05, 1, 0.05, 0), 1.6),
    "L5 ET": (0, 0.012, (0, 0, 0, 1, 0, 0), 2.0),
    "L6 CT": (0, 0.12, (0, 0, 0, 0.05, 1, 0.02), 1.2),
    "L6b": (0, 0.008, (0, 0, 0, 0, 0.2, 0.3), 1.1),
    "Pvalb": (1, 0.05, (0, 0.7, 1, 1, 0.6, 0), 1.3),
    "Sst": (1, 0.04, (0, 0.4, 0.7, 1, 0.8, 0.05), 1.1),
    "Vip": (1, 0.03, (0.1, 1, 0.5, 0.3, 0.2, 0), 1.0),
    "Lamp5": (1, 0.02, (1, 0.6, 0.2, 0.2, 0.2, 0), 1.0),
    "Astrocyte": (2, 0.12, (1, 0.6, 0.5, 0.5, 0.6, 0.9), 0.7),
    "Oligodendrocyte": (2, 0.115, (0.02, 0.05, 0.15, 0.3, 0.5, 2), 0.6),
    "Microglia": (2, 0.045, (1, 1, 1, 1, 1, 1), 0.5),
    "Endothelial": (2, 0.045, (1, 1, 1, 1, 1, 1), 0.5),
}

#: What dissociation makes of each class's share, and the sd of the log of what it makes of each type's.
DISSOCIATION, DISSOCIATION_SD = (2.0, 1.5, 0.5), 0.3

#: Counts per gene and cell, on average, and sd of the log of a cell's capture.
SPATIAL_DEPTH, SPATIAL_SD = 1.5, 0.45
REFERENCE_DEPTH, REFERENCE_SD = 2.0, 0.4

#: Inverse dispersions of the negative binomial.
SPATIAL_THETA, REFERENCE_THETA = 8.0, 3.0

#: A reference gene's probability of a false zero is uniform up to this.
MAX_ZERO_INFLATION = 0.3

#: Blank probes on the panel and their mean counts.
N_BLANKS, BLANK_MEAN = 5, 0.01

#: Area of a cell (µm²) and the section's width as a multiple of its height.
CELL_AREA, ASPECT = 150.0, 1.5


@dataclass
class Cells:
    """Hidden states of n cells: type (index into TYPES), depth in [0, 1], activity, place (n, 2) in µm."""

    type: np.ndarray
    depth: np.ndarray
    activity: np.ndarray
    coords: np.ndarray

    def head(self, n: int) -> "Cells":
        """The first n cells."""
        return Cells(self.type[:n], self.depth[:n], self.activity[:n], self.coords[:n])

    @property
    def layer(self) -> np.ndarray:
        return np.array(list(LAYERS))[np.searchsorted(list(LAYERS.values()), self.depth, side="left")]

    @property
    def celltype(self) -> np.ndarray:
        return np.array(list(TYPES))[self.type]


@dataclass
class Tissue:
    """The genes' programs and the technologies' view of them, all drawn from one seed.

    Attributes
    ----------
    genes : names, shape (n_genes,); panel : positions of the panel genes, ascending
    base : (n_genes,), type_effect : (n_types, n_genes), gradient : (n_classes, n_genes),
    activity : (n_genes,); natural logs
    marker_of : the class or type (the last drawn) whose program a gene belongs to, "" for none
    spatial_efficiency, reference_efficiency, zero_inflation : (n_genes,)
    share, reference_share : proportions of the types in the tissue and in the reference
    spatial_scale, reference_scale : bring rates to the technologies' average depth
    """

    n_genes: int
    n_panel: int
    seed: int
    genes: np.ndarray = field(init=False)
    panel: np.ndarray = field(init=False)

    def __post_init__(self):
        rng = np.random.default_rng([self.seed, 0])
        self.genes = np.array([f"Gene{i + 1:04d}" for i in range(self.n_genes)])
        self._draw_types(rng)
        self._draw_programs(rng)
        self.spatial_efficiency = rng.lognormal(0, 0.5, self.n_genes)
        self.reference_efficiency = rng.lognormal(0, 0.3, self.n_genes)
        self.zero_inflation = rng.uniform(0, MAX_ZERO_INFLATION, self.n_genes)
        self.panel = self._choose_panel(rng)
        self.wave = rng.uniform(0, 2 * np.pi, 3)
        everything = np.arange(self.n_genes)
        self.spatial_scale = SPATIAL_DEPTH / self._mean_rate(self.panel, self.share, self.spatial_efficiency)
        self.reference_scale = REFERENCE_DEPTH / self._mean_rate(
            everything, self.reference_share, self.reference_efficiency
        )

    def _draw_types(self, rng: np.random.Generator) -> None:
        self.type_class = np.array([kind for kind, *_ in TYPES.values()])
        self.rna = np.array([rna for *_, rna in TYPES.values()])
        share = np.array([share for _, share, *_ in TYPES.values()])
        self.share = share / share.sum()
        share = share * np.array(DISSOCIATION)[self.type_class] * rng.lognormal(0, DISSOCIATION_SD, len(TYPES))
        self.reference_share = share / share.sum()
        thickness = np.diff(list(LAYERS.values()), prepend=0)
        weight = np.array([density for _, _, density, _ in TYPES.values()]) * thickness
        self.layer_given_type = weight / weight.sum(axis=1, keepdims=True)

    def _draw_programs(self, rng: np.random.Generator) -> None:
        n = self.n_genes
        self.base = rng.normal(0, 1.1, n)
        self.type_effect = np.zeros((len(TYPES), n))
        self.marker_of = np.full(n, "", dtype=object)
        for kind, name in enumerate(CLASSES):
            program = rng.choice(n, n // 25, replace=False)
            self.type_effect[np.ix_(self.type_class == kind, program)] += rng.uniform(1, 2.5, len(program))
            self.marker_of[program] = name
        for kind, name in enumerate(TYPES):
            program = rng.choice(n, max(2, n // 40), replace=False)
            self.type_effect[kind, program] += rng.uniform(1.5, 3.5, len(program))
            self.marker_of[program] = name
        self.base[self.marker_of != ""] -= 1.0
        self.gradient = rng.normal(0, 1.0, (len(CLASSES), n)) * (rng.random((len(CLASSES), n)) < 0.12)
        self.activity = rng.normal(0.5, 0.4, n) * (rng.random(n) < 0.08)

    def _mean_rate(self, genes: np.ndarray, share: np.ndarray, efficiency: np.ndarray) -> float:
        """Mean over the genes and over cells of the given composition, before scaling."""
        probe = self.cells(2000, np.random.default_rng([self.seed, 1]), share, n_section=2000)
        return float((self._rates(probe, genes) * efficiency[genes]).mean())

    def _choose_panel(self, rng: np.random.Generator) -> np.ndarray:
        """Two thirds markers, taken from the types in turn by strength; the rest from all genes by chance."""
        strongest = [list(np.argsort(-effect, kind="stable")) for effect in self.type_effect]
        chosen: list[int] = []
        while len(chosen) < 2 * self.n_panel // 3:
            queue = strongest[len(chosen) % len(strongest)]
            chosen.append(next(gene for gene in queue if gene not in chosen))
        others = rng.permutation(np.setdiff1d(np.arange(self.n_genes), chosen))
        return np.sort(np.concatenate([chosen, others[: self.n_panel - len(chosen)]]).astype(int))

    def cells(self, n: int, rng: np.random.Generator, share: np.ndarray, n_section: float) -> Cells:
        """Draw cells of a section that holds `n_section` cells, types in the given proportions."""
        kind = rng.choice(len(TYPES), n, p=share)
        layer = (rng.random((n, 1)) > self.layer_given_type.cumsum(axis=1)[kind, :-1]).sum(axis=1)
        edges = np.array([0, *LAYERS.values()])
        depth = edges[layer] + rng.random(n) * np.diff(edges)[layer]
        height = np.sqrt(n_section * CELL_AREA / ASPECT)
        x = rng.random(n)
        # Layers follow the folding surface: the whole section bends, by a tenth of its height.
        y = depth + 0.1 * np.sin(2 * np.pi * x + self.wave[0])
        field_ = np.sin(4 * np.pi * x + self.wave[1]) * np.cos(3 * np.pi * depth + self.wave[2])
        activity = 0.9 * field_ + rng.normal(0, 0.8, n)
        return Cells(kind, depth, activity, np.column_stack([x * ASPECT * height, y * height]))

    def _rates(self, cells: Cells, genes: np.ndarray) -> np.ndarray:
        """Transcription before any technology, shape (n_cells, len(genes)), in arbitrary units."""
        effect = (self.base + self.type_effect)[:, genes][cells.type]
        effect += (2 * cells.depth[:, None] - 1) * self.gradient[:, genes][self.type_class[cells.type]]
        effect += cells.activity[:, None] * self.activity[genes]
        return np.exp(effect) * self.rna[cells.type, None]

    def spatial_counts(self, cells: Cells, rng: np.random.Generator) -> np.ndarray:
        """GeneSets counts and blank probes, shape (n_cells, n_panel + N_BLANKS)."""
        size = self.spatial_scale * rng.lognormal(-(SPATIAL_SD**2) / 2, SPATIAL_SD, len(cells.type))
        mean = self._rates(cells, self.panel) * self.spatial_efficiency[self.panel] * size[:, None]
        blanks = rng.poisson(BLANK_MEAN, (len(size), N_BLANKS))
        return np.hstack([_negative_binomial(mean, SPATIAL_THETA, rng), blanks])

    def reference_counts(self, cells: Cells, rng: np.random.Generator) -> np.ndarray:
        """Counts of all genes, shape (n_cells, n_genes)."""
        size = self.reference_scale * rng.lognormal(-(REFERENCE_SD**2) / 2, REFERENCE_SD, len(cells.type))
        mean = self._rates(cells, np.arange(self.n_genes)) * self.reference_efficiency * size[:, None]
        counts = _negative_binomial(mean, REFERENCE_THETA, rng)
        return counts * (rng.random(counts.shape) >= self.zero_inflation)

    def frequencies(self, cells: Cells) -> np.ndarray:
        """Truth for spatial cells: each gene's expected counts in the spatial technology, as if all genes were
        on the panel, relative to the expected total of the panel; float32 (n_cells, n_genes)."""
        rates = self._rates(cells, np.arange(self.n_genes)) * self.spatial_efficiency
        return (rates / rates[:, self.panel].sum(axis=1, keepdims=True)).astype(np.float32)

    def gene_table(self) -> pd.DataFrame:
        """One row per gene: on the panel?, the last program it belongs to, how the technologies see it."""
        return pd.DataFrame(
            {
                "in_panel": np.isin(np.arange(self.n_genes), self.panel),
                "marker_of": pd.Categorical(self.marker_of.astype(str)),
                "spatial_efficiency": self.spatial_efficiency,
                "reference_efficiency": self.reference_efficiency,
                "zero_inflation": self.zero_inflation,
            },
            index=pd.Index(self.genes),
        )


def _negative_binomial(mean: np.ndarray, theta: float, rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(mean * rng.gamma(theta, 1 / theta, mean.shape))
