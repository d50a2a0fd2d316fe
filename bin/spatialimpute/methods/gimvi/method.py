"""gimVI as a method: kappa chosen on the ensemble's first place, then the other places trained at what was chosen.

All folds are trained as one program, so gimVI gets the counts of all shared genes, with a mask that says which of them
a member may use; that a held-out gene's counts change no byte of its prediction is tested.
"""

from collections.abc import Callable, Sequence

import torch

from spatialimpute.evaluation.choice import KappaChoice
from spatialimpute.files.inputs import SampleInputs
from spatialimpute.files.predictions import Predictions
from spatialimpute.folds import scored_cells
from spatialimpute.methods.base import Method, require_folds
from spatialimpute.methods.gimvi.checkpoints import Checkpoints
from spatialimpute.methods.gimvi.data import Member, TrainingData
from spatialimpute.methods.gimvi.posterior import held_out_predictions
from spatialimpute.methods.gimvi.reference_only import fit_to_sample, members_where
from spatialimpute.methods.gimvi.settings import Settings
from spatialimpute.methods.gimvi.stacks import TrainedStack
from spatialimpute.methods.gimvi.training import ensemble, train

#: Posterior samples per model in cross-validation: enough for a mean and a standard deviation.
CROSSVALIDATION_SAMPLES = 20


class GimVI(Method):
    """gimVI (Lopez et al. 2019, arXiv:1905.02269), as an ensemble per fold.

    Parameters
    ----------
    settings : hyperparameters
    kappas : values of kappa to choose from
    choose : chooses kappa from the first place's predictions, one per kappa
    seed, device, workers, checkpoint : as in :func:`spatialimpute.methods.gimvi.training.train`
    pretrained : models of all folds that were trained on the references alone; nothing is then trained

    Attributes
    ----------
    stacks : the trained models, once predicted
    choice : kappa of each fold's ensemble and of the final models
    """

    name = "gimvi"

    def __init__(
        self,
        settings: Settings,
        kappas: Sequence[float],
        choose: Callable[[list[Predictions]], KappaChoice],
        seed: int = 0,
        device: torch.device | str = "cpu",
        workers: int = 1,
        checkpoint: Callable[[list[Member]], Checkpoints] | None = None,
        pretrained: Sequence[TrainedStack] | None = None,
    ):
        self.pretrained = pretrained
        self.settings, self.kappas, self.choose = settings, list(kappas), choose
        self.seed, self.device, self.workers, self.checkpoint = seed, device, workers, checkpoint
        self.stacks: list[TrainedStack] = []
        self.choice: KappaChoice | None = None

    def predict_folds(self, inputs: SampleInputs, sample: str) -> list[Predictions]:
        gene_sets, spatial = inputs.gene_sets, inputs.spatial()
        require_folds(sample, gene_sets)
        cells = scored_cells(gene_sets, len(spatial.cells))
        scored = spatial.take(cells)

        def predict_by(stacks: list[TrainedStack]) -> list[Predictions]:
            self.stacks += stacks
            return held_out_predictions(
                stacks, scored, cells, gene_sets, sample, CROSSVALIDATION_SAMPLES, self.seed, self.device
            )

        if self.pretrained is not None:
            of_folds = members_where(self.pretrained, lambda member: member.fold is not None)
            predictions = predict_by([fit_to_sample(stack, spatial, gene_sets) for stack in of_folds])
            self.choice = self.choose([prediction for prediction in predictions if prediction.place == 0])
            return predictions
        data = TrainingData(inputs.references(), spatial, gene_sets, self.settings)

        def predict(members: list[Member]) -> list[Predictions]:
            return predict_by(train(data, members, self.seed, self.device, self.workers, self.checkpoint))

        folds, places = list(gene_sets.folds), range(self.settings.seeds)

        def at(kappas: Sequence[float], places: range) -> list[Member]:
            of_kappa = [ensemble(self.settings, dict.fromkeys(folds, kappa), places) for kappa in kappas]
            return [member for members in of_kappa for member in members]

        if len(self.kappas) == 1:
            predictions = predict(at(self.kappas, places))
            self.choice = self.choose([prediction for prediction in predictions if prediction.place == 0])
            return predictions
        first = predict(at(self.kappas, places[:1]))
        self.choice = self.choose(first)
        # Of all folds at each kappa that any of them chose, since a fold's recipe is chosen on the others.
        others = at(sorted({self.choice.kappa, *self.choice.by_fold.values()}), places[1:])
        return first + (predict(others) if others else [])
