"""Reference points for the model: methods that predict genes without training, behind one interface."""

from spatialimpute.baselines.base import Baseline, predict_folds
from spatialimpute.baselines.celltype import CellType
from spatialimpute.baselines.knn import KNN
from spatialimpute.baselines.total import Total

#: What `--method` of the baseline step and the pipeline's `baselines` parameter may name.
METHODS: dict[str, type[Baseline]] = {method.name: method for method in (KNN, CellType, Total)}

__all__ = ["METHODS", "Baseline", "CellType", "KNN", "Total", "predict_folds"]
