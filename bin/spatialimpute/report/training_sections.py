"""The sections on how the models learned, and on the choice of κ."""

import pandas as pd

from spatialimpute.report.content import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    SectionWriter,
    escape,
    number,
)
from spatialimpute.report.inputs import Sample


def write_training(writer: SectionWriter, sample: Sample) -> None:
    """Training curves of every member, and the κ curve where there was a choice."""
    if sample.history is not None:
        write_training_curves(writer, sample)
    if recipe := (sample.evaluation or {}).get("recipe"):
        write_recipe(writer, sample, recipe)
    curve = (sample.evaluation or {}).get("kappa_curve") or []
    if len(curve) > 1:
        write_kappa_curve(writer, sample, pd.DataFrame(curve).sort_values("kappa"))


def write_training_curves(writer: SectionWriter, sample: Sample) -> None:
    """Held-out ELBO and, where κ > 0, the discriminator's accuracy against epochs."""
    crossvalidated = sample.history["stage"] != "final"
    kappas = sorted(sample.history.loc[crossvalidated, "kappa"].unique())
    palette = dict(zip(kappas, [SKY, BLUE, PURPLE, GREEN, ORANGE, GRAY] * len(kappas), strict=False))
    elbo, accuracy, colors = {}, {}, {}
    members = sample.history.groupby(["stage", "fold", "kappa", "place", "member"], dropna=False, sort=True)
    for (stage, fold, kappa, place, _), rows in members:
        if stage == "final":
            name, color = f"final model, κ = {kappa:g}, place {place:g}", VERMILLION
        else:
            fold = f"{fold:g}" if isinstance(fold, float) else escape(fold)
            name, color = f"fold {fold}, κ = {kappa:g}, place {place:g}", palette[kappa]
        colors[name] = color
        elbo[name] = points(rows["epoch"], -rows["held_out_loss"])
        if kappa > 0:
            accuracy[name] = points(rows["epoch"], rows["disc_accuracy"])
    datasets = [("held-out ELBO", "ELBO per held-out cell", elbo)]
    key = [(f"cross-validation, κ = {kappa:g}", color) for kappa, color in palette.items()]
    if not crossvalidated.all():
        key.append(("final models", VERMILLION))
    text = (
        "A line per model: "
        + ", ".join(f'<span style="color: {color}">■</span> {name}' for name, color in key)
        + ". An ELBO, up to a constant, is of a model's own genes and held-out cells: compare shapes, not heights."
    )
    if accuracy:
        datasets.append(("discriminator accuracy", "accuracy", accuracy))
        text += (
            " Discriminator accuracy (button): 1 means that the datasets are told apart in the latent space, one half "
            "(of two datasets; they give equally many cells) that they are mixed."
        )
    writer.write(
        "training", "linegraph", [lines for _, _, lines in datasets], parent="training",
        name=f"Training: {sample.name}", shared=False, description=text,
        pconfig={
            "title": f"Training: {escape(sample.name)}", "xlab": "epoch", "ylab": datasets[0][1], "colors": colors,
            "data_labels": [{"name": name, "ylab": label} for name, label, _ in datasets],
            "showlegend": False,
        },
    )  # fmt: skip


def write_recipe(writer: SectionWriter, sample: Sample, recipe: dict) -> None:
    """What an estimate is made of, a bar per sample."""
    own = 1 - recipe["alpha"] - recipe["beta"]
    others = dict(recipe["weights"])
    parts = {"gimvi": own * (1 - sum(others.values())), **{name: own * weight for name, weight in others.items()}}
    named = {name: f"{sample.method_labels.get(name, name)}, of the cell itself" for name in parts}
    parts |= {"alpha": recipe["alpha"], "beta": recipe["beta"]}
    named |= {"alpha": "mean over cells like it", "beta": "the same of the cells around it"}
    colors = {"gimvi": BLUE, "knn": SKY, "linear": GREEN, "celltype": ORANGE, "alpha": PURPLE, "beta": GRAY}
    writer.write(
        "recipe", "bargraph", {escape(sample.name): {name: number(share) for name, share in parts.items()}},
        parent="training", name="What an estimate is made of",
        description="Shares of the final estimate, chosen by cross-validation on the measured genes. Those of cells "
        "like it, and around it, are means of the same blend.",
        categories={name: {"name": named[name], "color": colors.get(name, VERMILLION)} for name in parts},
        pconfig={"title": "Shares of the estimate", "ylab": "share", "cpswitch": False, "ymax": 1},
    )  # fmt: skip


def points(x: pd.Series, y: pd.Series) -> list[list[float]]:
    """Pairs for a line plot, without those that have no y. (MultiQC takes the keys of an object for categories.)"""
    return [[number(a), number(b)] for a, b in zip(x, y, strict=True) if number(b) is not None]


def write_kappa_curve(writer: SectionWriter, sample: Sample, curve: pd.DataFrame) -> None:
    """Mean score over genes against κ (equally spaced), the bound of the rule that chose, and the κ chosen."""
    mean, error = curve["mean"].astype(float), curve["se"].astype(float).fillna(0)
    kappas = [f"{kappa:g}" for kappa in curve["kappa"]]

    def line(values: pd.Series) -> list:
        return [[kappa, number(value)] for kappa, value in zip(kappas, values, strict=True)]

    bound = {"name": "best − standard error of the difference", "pairs": line(mean.max() - error)}
    extra = [bound | {"color": GRAY, "dash": "dash", "width": 1}]
    chosen = number(sample.evaluation.get("kappa"))
    at_chosen = mean[curve["kappa"] == chosen]
    if len(at_chosen):
        extra.append(
            {
                "name": f"κ* = {chosen:g}",
                "pairs": [[f"{chosen:g}", number(at_chosen.iloc[0])]],
                "color": VERMILLION,
                "marker": {"symbol": "diamond", "color": VERMILLION, "width": 8},
            }
        )
    writer.write(
        "kappa", "linegraph", {"mean over genes": line(mean)}, parent="training",
        name=f"κ curve: {sample.name}", shared=False,
        description="Partial score of the held-out genes for each weight κ of the adversary, of the ensemble's first "
        "member. κ* is the smallest κ that is not below the best by more than the standard error of their difference.",
        pconfig={
            "title": f"κ curve: {escape(sample.name)}", "xlab": "κ", "ylab": "mean partial score over genes",
            "style": "lines+markers", "colors": {"mean over genes": BLUE}, "extra_series": extra,
            "categories": True, "showlegend": True, "height": 350,
        },
    )  # fmt: skip
