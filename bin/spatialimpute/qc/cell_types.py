"""Which column of a file holds its cells' types."""

import pandas as pd

from spatialimpute.sources.labels import is_plain, label_columns
from spatialimpute.sources.vocabulary import CELLTYPE_COLUMNS, MISSING_LABELS, find_name

#: More different texts than this are no types.
MAX_LABELS = 1000
N_EXAMPLES, N_COLUMNS = 3, 8


def as_labels(values: pd.Series) -> pd.Series:
    """Text labels; whole numbers stored as floats (1.0) lose their point."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype(str)


def cell_types(obs: pd.DataFrame, key: str | None, role: str) -> tuple[str | None, pd.Series | None, list[str]]:
    """The column of cell types and its labels, missing where a cell has none.

    Without `key` it is looked for: a plain name (`cell_type`), a name in use (`subclass`), then any column of few
    different texts whose name speaks of types, classes, clusters or annotations. Numbers are labels only under a name
    in use, and only where no text is found.

    Parameters
    ----------
    key : the name that the user gave; role : "spatial" or "reference"

    Returns
    -------
    column, labels : None where there is none; warnings : what was chosen where that is not plain, and which
    `celltype_key` takes another one
    """
    warnings = []
    if key and key not in obs:
        warnings.append(f"no column {key!r} for the cell types; a column of a usual name is taken if there is")
    elif key:
        labels = _labels(obs[key])
        if labels.isna().all():
            return None, None, [f"column {key!r} holds no cell type; cells count as unlabeled"]
        return key, labels, warnings + _unlabeled(key, labels)
    found = _candidates(obs)
    if not found:
        named = find_name(obs.columns, CELLTYPE_COLUMNS)
        if named is not None:
            warnings.append(f"column {named!r} holds no cell type; cells count as unlabeled")
        elif role == "reference" and (others := _texts(obs)):
            warnings.append(
                "no column seems to hold cell types, so the cells are clustered for comparisons; if one of these does, "
                f"name it in celltype_key: {_listed(others)}"
            )
        return None, None, warnings
    chosen = next(iter(found))
    others = {name: labels for name, labels in found.items() if name != chosen}
    if others and not is_plain(chosen):
        warnings.append(
            f"cell types are taken from column {chosen!r} ({_described(found[chosen])}); others may be meant, each of "
            f"which celltype_key takes by its name: {_listed(others)}"
        )
    elif not others and find_name([chosen], CELLTYPE_COLUMNS) is None:
        warnings.append(
            f"cell types are taken from column {chosen!r} ({_described(found[chosen])}); if it holds something else, "
            "name the right column in celltype_key"
        )
    return chosen, found[chosen], warnings + _unlabeled(chosen, found[chosen])


def _candidates(obs: pd.DataFrame) -> dict[str, pd.Series]:
    """Labels of each column that may hold types, the likeliest first."""
    texts, numbers = {}, {}
    for name in label_columns(obs.columns):
        known = find_name([name], CELLTYPE_COLUMNS) is not None or is_plain(name)
        if known:
            labels = _labels(obs[name])
            if labels.notna().any():
                (numbers if _is_numeric(labels) else texts)[name] = labels
        elif (labels := _few_texts(obs[name])) is not None:
            texts[name] = labels
    return texts or dict(list(numbers.items())[:1])


def _texts(obs: pd.DataFrame) -> dict[str, pd.Series]:
    """All columns of few different texts."""
    found = {name: _few_texts(obs[name]) for name in obs.columns}
    return {str(name): labels for name, labels in found.items() if labels is not None}


def _few_texts(column: pd.Series) -> pd.Series | None:
    """The labels of a column of few, but several, different texts that are no numbers; else None."""
    kind = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    if not (pd.api.types.is_object_dtype(kind) or pd.api.types.is_string_dtype(kind)):
        return None
    try:
        if not 1 < column.nunique() <= min(MAX_LABELS, len(column) // 2):
            return None
    except TypeError:  # lists and the like
        return None
    labels = _labels(column)
    return None if labels.nunique() < 2 or _is_numeric(labels) else labels


def _is_numeric(labels: pd.Series) -> bool:
    return bool(pd.Series(labels.dropna().unique()).str.fullmatch(r"[+-]?\d+(\.\d+)?").all())


def _labels(column: pd.Series) -> pd.Series:
    labels = as_labels(column).astype("category")
    texts = [None if (text := name.strip()).casefold() in MISSING_LABELS else text for name in labels.cat.categories]
    return labels.astype(object).map(dict(zip(labels.cat.categories, texts, strict=True))).astype(object)


def _unlabeled(key: str, labels: pd.Series) -> list[str]:
    n = int(labels.isna().sum())
    return [f"{n} cells have no cell type in column {key!r}"] if n else []


def _described(labels: pd.Series) -> str:
    counts = labels.value_counts()
    return f"{len(counts)} labels, such as {', '.join(map(str, counts.index[:N_EXAMPLES]))}"


def _listed(columns: dict[str, pd.Series]) -> str:
    shown = "; ".join(f"{name!r} ({_described(labels)})" for name, labels in list(columns.items())[:N_COLUMNS])
    return shown + (f"; and {len(columns) - N_COLUMNS} more" if len(columns) > N_COLUMNS else "")
