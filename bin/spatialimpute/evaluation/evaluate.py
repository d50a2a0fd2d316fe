"""One sample's held-out genes: what is chosen, the final prediction, and every method's scores, one fold at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spatialimpute.ensemble import Recipe
from spatialimpute.evaluation.recipe import HeldOutEstimate, choose_recipes
from spatialimpute.evaluation.scores import in_order, score_fold
from spatialimpute.evaluation.truth import Truth
from spatialimpute.files.predictions import Predictions, PredictionsFile
from spatialimpute.graph import CellGraph

#: What the final prediction is called among the methods.
FINAL = "spatialimpute"


@dataclass(frozen=True)
class Evaluation:
    """What cross-validation says of a sample.

    Attributes
    ----------
    prediction : every held-out gene as the final estimator predicts it, with choices made on other folds
    scores : of it and of every method, see :mod:`spatialimpute.evaluation.scores`
    given_detected : its mean partial score given the number of detected genes as well
    recipe, recipe_by_fold : weights of the other methods and of the graph in the final result, and in each fold's
    """

    prediction: Predictions
    scores: pd.DataFrame
    given_detected: float
    recipe: Recipe
    recipe_by_fold: dict[str, Recipe]


def evaluate(
    files: Sequence[PredictionsFile],
    kappa: float,
    kappa_by_fold: Mapping[str, float],
    truth: Truth,
    blend: Sequence[str] = (),
    graph: Callable[[str], CellGraph] | None = None,
) -> Evaluation:
    """Choose the weights of the other methods and of the graph, and score.

    Parameters
    ----------
    files : of all methods, gimVI's members among them
    kappa, kappa_by_fold : kappa of the final models, and fold -> kappa of its ensemble
    blend : methods that may take a share, if they are there
    graph : the graph of a fold's cells; None where there is to be none
    """
    members = [file for file in files if file.method == "gimvi"]
    others = [file for file in files if file.method in blend]
    estimate = HeldOutEstimate(members, others, graph, truth.scored)
    recipe, recipe_by_fold = choose_recipes(estimate, kappa, kappa_by_fold, truth)

    shape = (len(truth.cells), len(truth.genes))
    mean, sd = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    tables, given_detected = [], np.zeros(shape[1])
    for name in truth.folds:
        columns, of_fold = np.flatnonzero(truth.fold == name), truth.of(name)
        mean[:, columns], sd[:, columns] = estimate.of(name, kappa_by_fold[name], recipe_by_fold[name])
        given_detected[columns] = of_fold.partial(mean[:, columns], given_detected=True)
        final = Predictions(
            mean[:, columns], None, truth.cells, of_fold.genes, truth.fold[columns], FINAL, files[0].sample
        )
        of_files = (score_fold(file.read(name), of_fold) for file in files)
        tables.append(pd.concat([score_fold(final, of_fold), *of_files], ignore_index=True))
    return Evaluation(
        prediction=Predictions(mean, sd, truth.cells, truth.genes, truth.fold, FINAL, files[0].sample),
        scores=in_order(tables),
        given_detected=float(given_detected.mean()),
        recipe=recipe,
        recipe_by_fold=recipe_by_fold,
    )
