"""Reference points for the model: methods that predict genes without training, behind one interface."""

from spatialimpute.methods.base import Baseline, predict_folds
from spatialimpute.methods.celltype import CellType
from spatialimpute.methods.knn import KNN
from spatialimpute.methods.total import Total

#: What `--method` of the baseline step and the pipeline's `baselines` parameter may name.
METHODS: dict[str, type[Baseline]] = {method.name: method for method in (KNN, CellType, Total)}

__all__ = ["METHODS", "Baseline", "CellType", "KNN", "Total", "predict_folds"]
