"""The arrows of the house: who may import whom, read from the source with ast."""

import ast
import json
import os
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest
from architecture import FILES, HOUSES, PICTURE, ROOT, House, imports, imports_of, room_of
from PIL import Image

from mvm.runs import layout
from mvm.studies import index

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
from .method import Loss
def late():
    from umap import UMAP
if TYPE_CHECKING:
    from toy_manifolds.base import Manifold
"""
    loaded = {"json", "os.path", "mvm", "mvm.runs", "mvm.methods", "mvm.methods.method"}
    assert imports(source, "mvm.methods.new", package=False, lazy=False) == loaded
    assert imports(source, "mvm.methods.new", package=False) == loaded | {"umap", "toy_manifolds.base"}
    assert imports("from .method import Loss", "mvm.methods", package=True) == {"mvm.methods.method"}
    assert imports("from ..config import Config", "mvm.methods.new", package=False) == {"mvm.config"}


def test_the_reader_sees_the_house():
    assert {
        "mvm.geometry.distances",
        "mvm.methods.mvm",
        "mvm.data.points",
        "toy_manifolds.base",
        "app.components.live_plot",
    } <= set(FILES)
    assert "mvm.geometry.distances" in GRAPH["mvm.geometry.descriptors"]
    assert "streamlit" in GRAPH["app.components.component"]
    assert "pytorch_metric_learning" in GRAPH["mvm.methods.metric_losses"]


@pytest.mark.parametrize("module", [m for m in FILES if not m.startswith("app")])
def test_nothing_outside_the_app_imports_streamlit_or_the_app(module):
    assert not inside(GRAPH[module], "streamlit", "app")


@pytest.mark.parametrize("module", modules_of("toy_manifolds"))
def test_toy_manifolds_stand_alone(module):
    assert not inside(GRAPH[module], "mvm", "app", "benchmarks")


@pytest.mark.parametrize("module", modules_of("mvm"))
def test_the_method_needs_no_benchmark(module):
    assert not inside(GRAPH[module], "benchmarks")


FLOORS = (  # the packages from the ground up: each imports from those before it only
    {"mvm.library_caches", "mvm.variants", "toy_manifolds"},
    {"mvm.geometry", "mvm.imaging", "mvm.settings", "mvm.distributed"}
    | {"mvm.errors", "mvm.words", "mvm.plain", "mvm.processes"},
    {"mvm.files", "mvm.devices", "mvm.networks"},
    {"mvm.scoring"},
    {"mvm.methods", "mvm.lenses"},
    {"mvm.data"},
    {"mvm.config", "mvm.look"},
    {"mvm.training"},
    {"mvm.runs"},
    {"mvm.jobs"},
    {"mvm.studies"},
    {"mvm.sweeps"},
    {"mvm.figures"},
    {"mvm.commands", "mvm", "app", "benchmarks"},
    {"mvm.__main__", "mvm.export"},
)
FLOOR = {room: number for number, floor in enumerate(FLOORS, 1) for room in floor}


def test_every_room_has_a_floor():
    assert {room_of(module) for module in FILES} == set(FLOOR)


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_from_lower_floors_and_its_own_package(module):
    room = room_of(module)
    for other in inside(GRAPH[module], *HOUSES) & set(FILES):
        below = FLOOR[room_of(other)] < FLOOR[room]
        assert below or room_of(other) == room, f"{module} imports {other}"


ENGINE = ("recorder", "evaluate", "trained", "upscale", "benchmark")
STORAGE = [m for m in modules_of("mvm.runs") if m.rpartition(".")[2] not in ENGINE]


@pytest.mark.parametrize("module", STORAGE)
def test_what_reads_and_writes_runs_needs_no_engine(module):
    assert not inside(GRAPH[module], "mvm.training", "mvm.networks")


def test_opening_a_run_loads_no_engine():
    """Nor anything that trains, scores, projects or draws it, directly or through others."""
    code = "import sys, mvm.runs.library, mvm.runs.archive, mvm.runs.fork, mvm.runs.history; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    above = {room for floor in FLOORS[FLOORS.index({"mvm.training"}) :] for room in floor} - {"mvm.runs", "mvm"}
    heavy = ("mvm.scoring", "mvm.look", "mvm.geometry.umap_film", "umap", "ot", "sklearn", "matplotlib", "mlflow")
    assert not inside(set(printed.stdout.split()), *above, *heavy)


def test_a_list_of_runs_that_were_read_before_loads_nothing_heavy(make):
    """2,000 runs are listed in half a second; torch alone takes two to load."""
    make("a")
    assert [row.name for row in index.summaries()] == ["a"]  # keeps what it has read
    code = "import sys; from mvm.__main__ import main; assert main(['runs']) == 0; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    _, row, modules = printed.stdout.splitlines()
    assert row.startswith("a ")
    assert not inside(set(modules.split()), "torch", "numpy", "scipy", "pandas", "plotly", "matplotlib", "sklearn")


SUFFIXES = (".json", ".jsonl", ".npy", ".safetensors", ".txt", ".log")
NAMES = {name for name in vars(layout).values() if isinstance(name, str) and name.endswith(SUFFIXES)}


@pytest.mark.parametrize("module", sorted({*FILES} - {"mvm.runs.layout"}))
def test_the_files_of_a_run_are_named_in_its_layout_alone(module):
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    spelled = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not spelled & NAMES


@pytest.mark.parametrize("module", sorted({*FILES} - {"mvm.runs.layout", "mvm.runs.liveness"}))
def test_liveness_alone_knows_the_lock_of_a_trainer(module):
    source = FILES[module].read_text(encoding="utf-8")
    assert not re.search(r"layout\.LOCK\b|from mvm\.runs\.layout import .*\bLOCK\b", source)


@pytest.mark.parametrize("module", [m for m in modules_of("mvm") if not m.startswith("mvm.methods")])
def test_no_module_but_the_registry_names_a_concrete_method(module):
    shared = {f"mvm.methods{name}" for name in ("", ".method", ".draws", ".metric_losses", ".pairs")}
    assert not inside(GRAPH[module], "mvm.methods") - shared


@pytest.mark.parametrize("module", modules_of("mvm", "toy_manifolds", "app"))
def test_no_pickle_anywhere(module):
    """An unknown person's checkpoint must be safe to open."""
    assert not inside(GRAPH[module], "pickle", "cPickle", "dill", "joblib", "shelve", "marshal")
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            settings = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert ast.unparse(node.func) != "torch.save"
            assert ast.unparse(node.func) != "torch.load" or settings.get("weights_only") == "True", "tensors alone"
            assert settings.get("allow_pickle") != "True"


# their `open` reads no text by default
BINARY = ("Image", "av", "os", "webbrowser", "lmdb", "archive", "_archive", "gzip")


def without_encoding(source: str) -> list[int]:
    """Lines that read or write text as the locale has it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or {keyword.arg for keyword in node.keywords} & {"encoding", None}:
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = ast.unparse(getattr(node.func, "value", node.func))
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        modes = [v.value for v in values if isinstance(v, ast.Constant) and re.fullmatch("[rwxabt+]+", str(v.value))]
        opens = name == "open" and owner.split("(")[0] not in BINARY
        text_pipe = any(k.arg in ("text", "universal_newlines") for k in node.keywords) and owner == "subprocess"
        if (
            name in ("read_text", "write_text", "TextIOWrapper")
            or text_pipe
            or (opens and not any("b" in m for m in modes))
        ):
            found.append(node.lineno)
    return found


def test_the_reader_sees_text_in_the_locales_encoding():
    assert without_encoding("p.read_text()\np.write_text('a')\nopen('x')\np.open('w')\np.open(mode='a')") == [
        *range(1, 6)
    ]
    assert without_encoding("import subprocess\nsubprocess.run([], text=True)") == [2]
    clean = "p.read_text(encoding='utf-8')\nopen('x', 'rb')\nos.open(p, 1)\np.open(encoding='utf-8', mode='a')"
    assert without_encoding(clean) == []


@pytest.mark.parametrize("module", sorted(FILES))
def test_text_is_utf_8_in_every_locale(module):
    assert not without_encoding(FILES[module].read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "docs").glob("*.py")))
def test_scripts_of_the_documents_write_utf_8(script):
    assert not without_encoding((ROOT / "docs" / script).read_text(encoding="utf-8"))


def test_loading_runs_in_no_circle():
    graph = {module: imports_of(module, lazy=False) & set(FILES) - {module} for module in FILES}
    assert graph["mvm.geometry.descriptors"] == {"mvm.geometry.distances", "mvm.variants"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")


def test_the_picture_of_the_house_is_of_today():
    with Image.open(PICTURE) as picture:
        drawn = json.loads(picture.text["Description"])
    assert drawn == json.loads(House.read().summary()), "draw it anew: python docs/architecture.py"


def test_a_house_has_its_floors_and_only_the_arrows_that_follow_from_no_others():
    house = House(
        {room: (room,) for room in "abcd"},
        {"a": frozenset("bcd"), "b": frozenset("cd"), "c": frozenset("d"), "d": frozenset()},
    )
    assert house.floors == [["d"], ["c"], ["b"], ["a"]]
    assert house.arrows == [("c", "d"), ("b", "c"), ("a", "b")]
    circle = House({"a": ("a",), "b": ("b",)}, {"a": frozenset("b"), "b": frozenset("a")})
    with pytest.raises(ValueError, match="a, b"):
        list(circle.floors)
