"""The sidebar: settings of the next run, which begin with a recipe, or with a copy of the shown run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st
from pydantic import BaseModel

from app.kinds import PAGES
from app.link import linked
from app.session import MovableWidgets, Page
from app.text import plain
from app.widgets import label_of, model_widgets, term_widgets, used_descriptors, variant_choice, weight_widgets
from mvm.config import OF_DATA, Config
from mvm.data.kinds import KINDS
from mvm.errors import ConfigError
from mvm.look.glossary import TERMS as GLOSSARY
from mvm.methods import METHODS, method_on
from mvm.methods.method import PAIRED_KINDS
from mvm.methods.superres import Perceptual
from mvm.runs.run import Run

__all__ = ["NextRun", "Start", "data_of", "draw_settings", "draw_start"]

HEADING = "## Settings for the next run"
CAPTION = (
    "**Train** starts a run with them. Weights, and settings marked ⇄ such as rates and γ, also change the run in "
    "training that is shown."
)
COPY = "copy of this run"  # stands beside the recipes
RECIPE_TITLES = {
    "stabilised": "Recommended", "paper": "Paper", "published": "Authors' code", COPY: "Copy of this run",
}  # fmt: skip
PATCHES = (8, 16, 24, 32, 48, 64, 96)
LOSSES = {
    True: "L = w L_img + λ₂ L_pair + λ₃ (d_c + λ d_g), and what is added below; λ is the weight of the 2-diameter.",
    False: "L = w L_img, and what is added below.",
}  # by whether the method matches descriptors


@dataclass(frozen=True)
class Start:
    """What the settings of the next run begin with.

    Attributes:
        method: of the next run.
        recipe: one of the method's, or `COPY`.
        copied: the run whose settings and data are copied; None for a recipe.
    """

    method: str
    recipe: str
    copied: Run | None = None


@dataclass(frozen=True)
class NextRun:
    """Settings in the sidebar.

    Attributes:
        config: of the next run; None if the settings are invalid, or no data are chosen.
        problem: what is invalid, in one line; "" if nothing is.
        movable: settings that may be moved while training, as the widgets show them.
        like: run whose copy of own points is used; None unless its data are copied.
    """

    config: Config | None = None
    problem: str = ""
    movable: MovableWidgets | None = None
    like: Run | None = None


@dataclass(frozen=True)
class _Defaults:
    """Values that the widgets start from, and prefixes of the widgets' keys.

    Attributes:
        base: a config with the default of every setting.
        values: settings of the next run for which there may be no widget.
        prefix: of widgets that each recipe has for itself.
        training: of the widgets of steps, batch and patch size.
        weights: of the widgets of weights and seeds, which the recipes share.
    """

    base: Config
    values: dict[str, Any]
    prefix: str
    training: str
    weights: str


def draw_start(tab: Page, run: Run | None) -> Start:
    """Draw the heading, and the choices of the method and of what its settings begin with; `run` is the shown run."""
    st.markdown(HEADING)
    st.caption(CAPTION)
    method = _draw_method(tab)
    shown = run if run is not None and run.config.method == method else None
    recipe = linked(
        st.segmented_control, "Recipe", [*METHODS[method].recipes, *([COPY] if shown else [])], default="stabilised",
        required=True, key=tab.key("recipe" if method == "mvm" else f"{method}.recipe"),
        format_func=RECIPE_TITLES.get, help="What all settings start from: this lab's recommendation, the method's "
        "paper, its authors' code, or the shown run, its data included.",
    )  # fmt: skip
    return Start(method, recipe, shown if recipe == COPY else None)


def data_of(run: Run) -> dict[str, Any]:
    """Fields of the config that name a run's data."""
    return {name: getattr(run.config, name) for name in OF_DATA}


def draw_settings(tab: Page, data: dict[str, Any] | None, start: Start, *, defaults: str = "") -> NextRun:
    """Draw the widgets of all settings but the data, and return what they show.

    Args:
        tab: page of the kind of data.
        data: fields of the config that name the data; None while none are chosen.
        start: what the settings begin with.
        defaults: prefix of the widgets of steps and batch, for data whose defaults differ from others of their kind.
    """
    kind = PAGES[tab.kind]
    method, paired = start.method, tab.kind in PAIRED_KINDS
    begun = _defaults(tab, start, data["data"] if data else kind.example, defaults)
    base, values = begun.base, dict(begun.values)
    drawn: dict[str, dict[str, Any]] = {}  # settings that may be moved by the prefix of their widgets' keys
    if METHODS[method].matches_descriptors:
        st.markdown("### Descriptors to match")
        chosen = f"{begun.prefix}variants"
        values["variants"] = variant_choice(base.variants, key=chosen)
        used = used_descriptors(values["variants"])
        values["weights"] = weight_widgets(used, base.weights, prefix=begun.weights, variants=chosen)
        drawn[begun.weights] = {f"weights.{name}": value for name, value in values["weights"].items()}
    if paired:
        values[tab.kind], terms = _draw_losses(tab.kind, method, begun)
        values["weights"] = dict(base.weights) | values.get("weights", {}) | terms
        own = drawn.setdefault(begun.prefix, {})  # the default recipe's widgets of descriptors have this prefix, too
        own.update({f"weights.{name}": value for name, value in terms.items()})
    st.markdown("### Training")
    values |= {
        "steps": linked(
            st.number_input, "Steps",
            min(10, base.steps), max(1_000_000, base.steps), base.steps, 500, key=f"{begun.training}steps",
           help="training steps",
        ),
        "batch": linked(
            st.select_slider, "Batch", sorted({*kind.batches, base.batch}), base.batch, key=f"{begun.training}batch",
            help=f"{plain(kind.examples or KINDS[tab.kind].noun)} per batch",
        ),
    }  # fmt: skip
    if paired:
        values["patch"] = linked(
            st.select_slider, "Patch", sorted({*PATCHES, base.patch}), base.patch, key=f"{begun.training}patch",
            help="pixels each way of the low-resolution patches; twice as many make a step about four times as long",
        )  # fmt: skip
    seeds = linked(
        st.slider, "Seeds", 1, max(8, len(base.seeds)), len(base.seeds), key=f"{begun.weights}seeds",
        help=GLOSSARY["seed"],
    )  # fmt: skip
    values["seeds"] = base.seeds if seeds == len(base.seeds) else tuple(range(seeds))
    groups = _groups(method, base)
    unused = _unused_network_settings(base)
    for name, (title, settings) in groups.items():
        if (paired and name == tab.kind) or not type(settings).model_fields:
            continue  # drawn above, or nothing to set
        with st.expander(title):
            skip = unused if name == "network" else ()
            prefix = f"{begun.prefix}{name}."
            moves = tuple(
                setting.removeprefix(f"{name}.") for setting in base.movable if setting.startswith(f"{name}.")
            )
            values[name] = model_widgets(settings, prefix=prefix, skip=skip, movable=moves)
            drawn[prefix] = {f"{name}.{setting}": values[name][setting] for setting in moves}
    movable = MovableWidgets(method, {(key, name): value for key, own in drawn.items() for name, value in own.items()})
    if data is None:
        return NextRun(movable=movable)
    try:
        config = Config.make(**values | data)
    except ConfigError as error:
        return NextRun(problem=_with_label(str(error), groups), movable=movable)
    if config.unmatched:
        st.warning(plain(config.unmatched.capitalize()), icon=":material/warning:")
    same_data = start.copied is not None and data == data_of(start.copied)
    return NextRun(config, movable=movable, like=start.copied if same_data else None)


def _draw_losses(kind: str, method: str, start: _Defaults) -> tuple[dict[str, Any], dict[str, float]]:
    """Draw settings of the losses on pairs, and weights of their terms; return both by name."""
    st.markdown("### Loss of the generator")
    st.caption(LOSSES[METHODS[method].matches_descriptors])
    base, learner, prefix = getattr(start.base, kind), method_on(kind, method), f"{start.prefix}{kind}."
    fields, settings = type(base).model_fields, base.model_dump()
    if len(learner.gans) > 1:
        settings["gan"] = linked(
            st.selectbox, label_of("gan", fields["gan"]), learner.gans, learner.gans.index(base.gan),
            key=f"{prefix}gan", help=fields["gan"].description,
        )  # fmt: skip
    skip = {"gan"} if issubclass(learner, Perceptual) else {"gan", "features"}
    skip |= {"image_steps"} if len(learner.gans) == 1 else set()
    settings |= model_widgets(base, prefix=prefix, skip=tuple(skip))
    terms = learner.terms(base.model_copy(update=settings))
    return settings, term_widgets(terms, start.base.weights, prefix=start.prefix)


def _draw_method(tab: Page) -> str:
    """Draw the choice of methods that have networks for the page's kind of data."""
    methods = [name for name, method in METHODS.items() if method.learns(tab.kind)]
    peers = (
        "a peer with the same generator and other losses"
        if tab.kind in PAIRED_KINDS
        else "a peer method with the same generator and metric network; the critic of a peer is one linear layer on "
        "top of the metric network"
    )
    return linked(
        st.selectbox, "Method", methods, format_func=lambda name: METHODS[name].title, key=tab.key("method"),
        help=f"MvM, or {peers}",
    )  # fmt: skip


def _defaults(tab: Page, start: Start, data: str, defaults: str) -> _Defaults:
    """The settings to start from, for data by their name."""
    if start.copied is not None:
        prefix, config = tab.key(f"{start.copied.name}."), start.copied.config
        return _Defaults(config, config.model_dump(exclude={*OF_DATA}), prefix, prefix, prefix)
    method, recipe = start.method, start.recipe
    values = {"method": method, "recipe": recipe}
    training = prefix = tab.key(defaults)
    prefix += "" if method == "mvm" else f"{method}."
    prefix += "" if recipe == "stabilised" else f"{recipe}."
    if tab.kind in PAIRED_KINDS:  # whose recipes differ in steps, batch and patch
        training = prefix
    return _Defaults(Config.make(data=data, **values), values, prefix, training, tab.key(""))


def _groups(method: str, base: Config) -> dict[str, tuple[str, BaseModel]]:
    """Groups of settings by their name in the config: title and default settings."""
    kind = KINDS[base.kind]
    groups = {method: ("Metric learning" if method == "mvm" else METHODS[method].title, getattr(base, method))}
    if kind.settings_type is not None:
        groups[base.kind] = (kind.title, getattr(base, base.kind))
    return groups | {"network": ("Networks", base.network), "optimiser": ("Optimisers", base.optimiser)}


def _unused_network_settings(config: Config) -> tuple[str, ...]:
    """Settings of the networks that a config's kind of data does not read."""
    used = config.flat(used=True).keys() - ({"network.noise_dim"} if config.kind in PAIRED_KINDS else set())
    return tuple(name for name in type(config.network).model_fields if f"network.{name}" not in used)


def _with_label(problem: str, groups: dict[str, tuple[str, BaseModel]]) -> str:
    """A config's error with the label of the widget in place of the setting's dotted name."""
    setting, _, reason = problem.partition(": ")
    group, *names = setting.split(".")
    title, model = groups.get(group, ("", None))
    field = type(model).model_fields.get(names[0]) if names and model else None
    return f"{title}, {label_of(names[0], field)}: {reason}" if field else problem
