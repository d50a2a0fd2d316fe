"""The pipeline's parameters against `nextflow_schema.json`: every mistake at once, with the nearest name."""

import json
import re
from pathlib import Path

from jsonschema import Draft202012Validator

from spatialimpute.nearest import did_you_mean

#: Bounds of the schema in words, in the order they are written.
_BOUNDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "more than"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "less than"),
)
_TYPES = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}


def load_schema(path: str | Path) -> dict[str, dict]:
    """Every parameter of an nf-core style schema: {name: {type, default, bounds …, required: bool}}."""
    schema = json.loads(Path(path).read_text())
    parameters = {}
    for group in schema["$defs"].values():
        for name, spec in group["properties"].items():
            parameters[name] = {**spec, "required": name in group.get("required", ())}
    return parameters


def check_methods(params: dict, path: str | Path) -> list[str]:
    """Names in `methods` that are none of `assets/methods.json`'s; one text for each."""
    known = list(json.loads(Path(path).read_text()))
    named = [name.strip() for name in str(params.get("methods") or "").split(",") if name.strip()]
    return [
        f"parameter 'methods': there is no method {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}"
        for name in dict.fromkeys(named)
        if name not in known
    ]


def check_params(given: dict, schema: dict[str, dict]) -> tuple[dict, list[str]]:
    """Compare what Nextflow hands over with the schema.

    Numbers given as text are read as numbers where that is unambiguous, lists are joined by commas. Nextflow
    shows a parameter written with hyphens also in camel case; either is an error here unless it repeats the
    true parameter's value, since the pipeline reads the true one alone.

    Parameters
    ----------
    given : all of Nextflow's `params`
    schema : from :func:`load_schema`

    Returns
    -------
    params : {name: value} with the schema's defaults for those not given (None without default)
    problems : one text per mistake
    """
    problems = []
    params = {name: spec.get("default") for name, spec in schema.items()}
    aliases: dict[str, list[str]] = {}
    for name, value in given.items():
        if name in schema:
            value, problem = _check_value(name, value, schema[name])
            params[name] = value
            if problem:
                problems.append(problem)
            continue
        true_name = _snake_case(name)
        if true_name in schema:
            if value != given.get(true_name):
                aliases.setdefault(true_name, []).append(name)
        else:
            hint = did_you_mean(true_name, schema) or f"; known are {', '.join(sorted(schema))}"
            problems.append(f"parameter '{name}': there is none of this name{hint}")
    for true_name, names in aliases.items():
        shown = next((name for name in names if "-" in name), names[0])
        problems.append(f"parameter '{shown}': write it as '{true_name}'")
    for name, spec in schema.items():
        if spec["required"] and name not in given:
            problems.append(f"parameter '{name}': missing; expected {_expected(spec)}: give --{name}")
    return params, problems + _contradictions(params)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.replace("-", "_")).lower()


def _check_value(name: str, value, spec: dict):
    if value is None:
        if "default" not in spec and not spec["required"]:
            return None, None
        return None, f"parameter '{name}': no value; expected {_expected(spec)}"
    try:
        converted = _convert(value, spec["type"])
    except ValueError:
        return None, _mistake(name, value, spec)
    rules = {key: rule for key, rule in spec.items() if key not in ("required", "default")}
    if next(Draft202012Validator(rules).iter_errors(converted), None) is not None:
        return None, _mistake(name, value, spec)
    return converted, None


def _mistake(name: str, value, spec: dict) -> str:
    shown = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else f"'{value}'"
    if spec["type"] == "string" and value is True:
        return f"parameter '{name}': given without a value; expected {_expected(spec)}"
    hint = did_you_mean(str(value), spec.get("enum", ()))
    return f"parameter '{name}': found {shown}, {_expectation(spec)}{hint}"


def _expectation(spec: dict) -> str:
    return spec.get("errorMessage", f"expected {_expected(spec)}")


def _expected(spec: dict) -> str:
    if "enum" in spec:
        return f"one of {', '.join(map(str, spec['enum']))}"
    if spec.get("format") in ("file-path", "directory-path"):
        return "the path of a file" if spec["format"] == "file-path" else "the path of a folder"
    bounds = [f"{words} {spec[key]:g}" for key, words in _BOUNDS if key in spec]
    return _TYPES[spec["type"]] + (" of " + " and ".join(bounds) if bounds else "")


def _convert(value, kind: str):
    """The value as the schema's type; ValueError where that is not clear."""
    if kind == "boolean":
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            raise ValueError
        return value
    if isinstance(value, (bool, dict)):
        raise ValueError
    if kind == "string":
        if isinstance(value, list):
            if not all(isinstance(item, (str, int, float)) and not isinstance(item, bool) for item in value):
                raise ValueError
            return ",".join(str(item).strip() for item in value)
        return str(value).strip()
    if isinstance(value, list):
        raise ValueError
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError
    if kind == "integer":
        if number != int(number):
            raise ValueError
        return int(number)
    return number


def _contradictions(params: dict) -> list[str]:
    """Values that are fine each by itself and not together; None, as a wrong value is, contradicts nothing."""
    problems = []
    warn, good = params["verdict_warn"], params["verdict_pass"]
    if None not in (warn, good) and warn > good:
        problems.append(
            f"parameters 'verdict_warn' and 'verdict_pass': found {warn:g} and {good:g}; a gene cannot pass below "
            "the score of a warning: swap them"
        )
    if params["train_on"] == "reference":
        problems += _of_reference_only(params)
    most, fewest = params["max_shared_genes"], params["min_shared_genes"]
    if None not in (most, fewest) and 0 < most < fewest:
        problems.append(
            f"parameters 'max_shared_genes' and 'min_shared_genes': found {most} and {fewest}; no sample fulfills "
            "both: raise the first or lower the second"
        )
    if params["gene_folds"] and params["cv_folds"] == 0:
        problems.append(
            "parameters 'gene_folds' and 'cv_folds': folds are given, but 0 skips cross-validation; drop one"
        )
    if params["cv_folds"] == 0 and "explorer" in (params["export"] or ""):
        problems.append(
            "parameters 'export' and 'cv_folds': explorer shows the genes that pass cross-validation, which 0 skips; "
            "drop one"
        )
    return problems


def _of_reference_only(params: dict) -> list[str]:
    """What models that are trained on the references alone cannot do."""
    problems = []
    if params["kappa"] is not None and params["kappa"] != "auto" and float(params["kappa"]) > 0:
        problems.append(
            f"parameters 'train_on' and 'kappa': found 'reference' and {params['kappa']}; an adversary compares both "
            "sides, and the models see one of them: leave kappa at 'auto'"
        )
    if params["encoder"] == "separate" or (params["preset"] == "paper" and params["encoder"] is None):
        problems.append(
            "parameters 'train_on' and 'encoder': found 'reference' and 'separate' (preset 'paper' has it); only the "
            "panel encoder can read spatial cells that it has not seen: set encoder to 'panel', or train_on to 'both'"
        )
    return problems
