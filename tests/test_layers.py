"""The arrows of the house: who may import whom, read from the source with ast."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSES = ("app", "mvm", "toy_manifolds", "benchmarks")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for house in HOUSES for path in sorted((ROOT / house).rglob("*.py"))}


def imports(source: str, module: str, *, package: bool, lazy: bool = True) -> set[str]:
    """Every module that `source` names in an import; without `lazy`, only those run when it is loaded."""
    found = set()

    def visit(node: ast.AST) -> None:
        if not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if not lazy and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -(node.level - package) or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & set(FILES)
            found.update(inner)
            if len(inner) < len(node.names):
                found.add(base)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def imports_of(module: str, *, lazy: bool = True) -> set[str]:
    path = FILES[module]
    return imports(path.read_text(encoding="utf-8"), module, package=path.name == "__init__.py", lazy=lazy)


GRAPH = {module: imports_of(module) for module in FILES}


def inside(names: set[str], *packages: str) -> set[str]:
    return {name for name in names if any(name == p or name.startswith(f"{p}.") for p in packages)}


def modules_of(*packages: str) -> list[str]:
    return sorted(inside(set(FILES), *packages))


def test_the_reader_sees_every_kind_of_import():
    source = """
import json
import os.path as p
from mvm import runs, nothing
from mvm.methods import METHODS
from .base import Draws
def late():
    from umap import UMAP
if TYPE_CHECKING:
    from toy_manifolds.base import Manifold
"""
    loaded = {"json", "os.path", "mvm", "mvm.runs", "mvm.methods", "mvm.methods.base"}
    assert imports(source, "mvm.methods.new", package=False, lazy=False) == loaded
    assert imports(source, "mvm.methods.new", package=False) == loaded | {"umap", "toy_manifolds.base"}
    assert imports("from .base import Draws", "mvm.methods", package=True) == {"mvm.methods.base"}
    assert imports("from ..config import Config", "mvm.methods.new", package=False) == {"mvm.config"}


def test_the_reader_sees_the_house():
    assert {"mvm.distances", "mvm.methods.mvm", "mvm.data.points", "toy_manifolds.base", "app.live_plot"} <= set(FILES)
    assert "mvm.distances" in GRAPH["mvm.descriptors"]
    assert "streamlit" in GRAPH["app.component"]
    assert "pytorch_metric_learning" in GRAPH["mvm.metric_losses"]


@pytest.mark.parametrize("module", [m for m in FILES if not m.startswith("app")])
def test_nothing_outside_the_app_imports_streamlit_or_the_app(module):
    assert not inside(GRAPH[module], "streamlit", "app")


@pytest.mark.parametrize("module", modules_of("toy_manifolds"))
def test_toy_manifolds_stand_alone(module):
    assert not inside(GRAPH[module], "mvm", "app", "benchmarks")


@pytest.mark.parametrize("module", modules_of("mvm"))
def test_the_method_needs_no_benchmark(module):
    assert not inside(GRAPH[module], "benchmarks")


CONCEPTS = {
    "mvm.distances": set(),
    "mvm.descriptors": {"mvm.distances"},
    "mvm.metric_losses": set(),
    "mvm.spectrum": {"mvm.distances"},
    "mvm.scores": {"mvm.distances"},
    "mvm.settings": set(),
    "mvm.ahead": set(),
    "mvm.methods.base": {"mvm.ahead", "mvm.settings"},
    "mvm.config": {"mvm.descriptors", "mvm.methods", "mvm.settings"},
}


@pytest.mark.parametrize("module", CONCEPTS)
def test_a_concept_knows_only_those_below_it(module):
    assert inside(GRAPH[module], "mvm") <= CONCEPTS[module]


@pytest.mark.parametrize("module", modules_of("mvm.networks"))
def test_networks_know_nothing_of_the_method(module):
    assert inside(GRAPH[module], "mvm") <= {*modules_of("mvm.networks"), "mvm.parallel", "mvm.settings"}


@pytest.mark.parametrize("module", [m for m in modules_of("mvm.methods") if m not in ("mvm.methods", *CONCEPTS)])
def test_a_method_is_built_of_concepts_and_knows_no_other(module):
    allowed = {"mvm.settings", "mvm.distances", "mvm.descriptors", "mvm.metric_losses"}
    allowed |= {"mvm.methods.base", "mvm.methods.critic", "mvm.networks.mlp", "mvm.parallel"}
    assert inside(GRAPH[module], "mvm") <= allowed


def test_training_knows_a_method_only_by_its_verbs():
    assert inside(GRAPH["mvm.training"], "mvm.methods") <= {"mvm.methods", "mvm.methods.base"}
    above = inside(GRAPH["mvm.training"], "mvm.runs", "mvm.recorder", "mvm.evaluation", "mvm.scores", "mvm.projection")
    assert not above


@pytest.mark.parametrize("module", [m for m in modules_of("mvm") if not m.startswith("mvm.methods")])
def test_no_module_but_the_registry_names_a_concrete_method(module):
    concrete = [m for m in modules_of("mvm.methods") if m not in ("mvm.methods", "mvm.methods.base")]
    assert not inside(GRAPH[module], *concrete)


@pytest.mark.parametrize("module", modules_of("mvm", "toy_manifolds", "app"))
def test_no_pickle_anywhere(module):
    """An unknown person's checkpoint must be safe to open."""
    assert not inside(GRAPH[module], "pickle", "cPickle", "dill", "joblib", "shelve", "marshal")
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("torch.load", "torch.save")
            for keyword in node.keywords:
                assert (keyword.arg, ast.unparse(keyword.value)) != ("allow_pickle", "True")


def test_loading_runs_in_no_circle():
    graph = {module: imports_of(module, lazy=False) & set(FILES) - {module} for module in FILES}
    assert graph["mvm.descriptors"] == {"mvm.distances"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")
