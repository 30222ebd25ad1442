"""The guides in docs/, followed to the letter: each code block goes where its first line says.

    # FILE                    the block is appended to this file, or makes it
    # FILE, in REGISTRY       the block's lines are added to this dict of the file

Nothing is written: modules are changed in this process. Some registries are read when a module is imported, as
`mvm.config` makes its fields of them; so a guide is followed before anything else is imported:

    python -m pytest -p guides --guide adding-a-descriptor tests/guided/descriptor.py tests/test_contracts.py

Of the contract tests, those of the new entry are run.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^ *```python\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
ENTRIES: dict[str, dict[str, Any]] = {}  # new ones by guide and name
HEAD = re.compile(r"# (?P<file>\S+)\.py(?:, in (?P<registry>\w+))?\n")


def blocks(guide: str) -> list[str]:
    """The code of a guide."""
    text = (DOCS / f"{guide}.md").read_text(encoding="utf-8")
    return [textwrap.dedent(block) for block in BLOCK.findall(text)]


def follow(guide: str) -> dict[str, Any]:
    """Do what a guide says; returns the new entries of all registries by name."""
    made: dict[str, Any] = {}
    for block in blocks(guide):
        head = HEAD.match(block)
        assert head, f"{guide}: a block does not say where it goes: {block.splitlines()[0]}"
        names = vars(_module(head["file"].removesuffix("/__init__").replace("/", ".")))
        if head["registry"]:
            entries = eval(f"{{{block}}}", names)
            assert not names[head["registry"]].keys() & entries.keys(), f"{guide}: {[*entries]} are there already"
            names[head["registry"]].update(entries)
            made |= entries
        else:
            exec(compile(block, f"{guide}.md", "exec", dont_inherit=True), names)
    return made


def _module(name: str) -> types.ModuleType:
    """The module of this name, a new one if there is none."""
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        package, _, last = name.rpartition(".")
        module = sys.modules[name] = types.ModuleType(name)
        module.__package__ = package
        setattr(importlib.import_module(package), last, module)
    return importlib.import_module(name)


# -- as a plugin of pytest ---------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--guide", action="append", required=True, help="a page of docs/ to follow before any test is imported"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    for guide in early_config.known_args_namespace.guide:
        ENTRIES[guide] = follow(guide)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    names = [name for made in ENTRIES.values() for name in made]
    kept = [item for item in items if "guided" in item.path.parts or any(name in item.name for name in names)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
