"""Methods by name: a name is a module here (`methods/<name>.py` or `methods/<name>/`), or a script of `bin/methods`.

The names that a run may use, and what each needs, are in `assets/methods.json`.
"""

from importlib import import_module

from spatialimpute.methods.base import Method, MethodByFold


def find_method(name: str) -> type[MethodByFold]:
    """The method that a module of this package implements.

    Raises
    ------
    KeyError
        There is none of this name.
    """
    try:
        module = import_module(f"spatialimpute.methods.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"spatialimpute.methods.{name}":
            raise
        raise KeyError(name) from None
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, Method) and vars(found).get("name") == name:
            return found
    raise KeyError(name)
