"""Modules of the package import one another at their top and in one direction.

That a module's own package is imported before it counts for nothing here: `sources/__init__.py` lists what is in it.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "spatialimpute"

#: (module, what it imports inside of a function): why. Only to start sooner: a circle is undone, not dodged.
DELAYED = {
    ("spatialimpute.report.build", "spatialimpute.report.maps"): "matplotlib, of no use to a sample without figures",
    ("spatialimpute.report.build", "spatialimpute.report.latent"): "umap, which compiles for seconds when imported",
    (
        "spatialimpute.methods.gimvi.distributions",
        "spatialimpute.methods.gimvi.fused",
    ): "numba, for training alone",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "bin").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "bin" / PACKAGE).rglob("*.py"))}


def imported(node: ast.AST, importer: str) -> set[str]:
    """Modules of the package that an import statement names; of other statements none."""
    if isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        package = importer if MODULES[importer].name == "__init__.py" else importer.rpartition(".")[0]
        base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], node.module or ""])
        base = base.strip(".") if node.level else node.module
        parts = {f"{base}.{alias.name}" for alias in node.names}
        names = {part if part in MODULES else base for part in parts}
    else:
        return set()
    return {name for name in names if name in MODULES}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(node: ast.AST, inside: bool = False):
    """All statements of a module that run, each with whether it is inside of a function."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield child, inside
            yield from statements(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(name: str) -> list[tuple[str, bool]]:
    """What a module imports of the package, with whether it does so inside of a function."""
    tree = ast.parse(MODULES[name].read_text())
    return [(other, inside) for node, inside in statements(tree) for other in sorted(imported(node, name))]


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one cycle, in order; none where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        found = next((cycle for other in sorted(graph[name]) if (cycle := visit(other, [*path, name]))), [])
        done.add(name)
        return found

    return next((cycle for name in graph if (cycle := visit(name, []))), [])


def test_the_graph_is_seen():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    found = ast.parse("def f():\n    from spatialimpute.sources import guard\n    import spatialimpute.errors")
    seen = [(imported(node, PACKAGE), inside) for node, inside in statements(found) if imported(node, PACKAGE)]
    assert seen == [({"spatialimpute.sources.guard"}, True), ({"spatialimpute.errors"}, True)]
    relative = ast.parse("from . import guard\nfrom ..errors import InputError").body
    assert [imported(node, "spatialimpute.sources.text") for node in relative] == [
        {"spatialimpute.sources.guard"},
        {"spatialimpute.errors"},
    ]
    assert ("spatialimpute.sources.base", False) in imports("spatialimpute.sources.table")


def test_no_module_imports_itself_by_way_of_others():
    assert find_cycle({name: {other for other, _ in imports(name)} for name in MODULES}) == []


@pytest.mark.parametrize("name", MODULES)
def test_imports_stand_at_the_top(name):
    inside = {(name, other) for other, is_inside in imports(name) if is_inside}
    assert inside == {pair for pair in DELAYED if pair[0] == name}
