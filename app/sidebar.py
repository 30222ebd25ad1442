"""The sidebar: settings of the next run, below the choice of its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st
from pydantic import BaseModel

from app.kinds import PAGES
from app.link import linked
from app.session import Page, WeightWidgets
from app.text import plain
from app.widgets import label_of, model_widgets, term_widgets, used_descriptors, variant_choice, weight_widgets
from mvm.config import OF_DATA, Config
from mvm.data.kinds import KINDS
from mvm.errors import ConfigError
from mvm.methods import METHODS, method_on
from mvm.methods.method import PAIRED_KINDS
from mvm.methods.superres import Perceptual
from mvm.runs.run import Run

__all__ = ["CAPTION", "NextRun", "draw_settings"]

CAPTION = "Settings of the run that **Train** starts. While the shown run trains, moving a weight changes it at once."
SHOWN = "shown run"  # stands beside the recipes
PATCHES = (8, 16, 24, 32, 48, 64, 96)
LOSSES = {
    True: "L = w L_img + λ₂ L_pair + λ₃ (d_c + λ d_g), and what is added below; λ is the weight of the 2-diameter.",
    False: "L = w L_img, and what is added below.",
}  # by whether the method matches descriptors


@dataclass(frozen=True)
class NextRun:
    """Settings in the sidebar.

    Attributes:
        config: of the next run; None if the settings are invalid, or no data are chosen.
        problem: what is invalid, in one line; "" if nothing is.
        weights: of descriptors and terms; None where the method has none.
    """

    config: Config | None = None
    problem: str = ""
    weights: WeightWidgets | None = None


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


def draw_settings(tab: Page, data: dict[str, Any] | None, run: Run | None, *, defaults: str = "") -> NextRun:
    """Draw the widgets of all settings but the data, and return what they show.

    Args:
        tab: page of the kind of data.
        data: fields of the config that name the data; None while none are chosen.
        run: the shown run, whose settings may be copied.
        defaults: prefix of the widgets of steps and batch, for data whose defaults differ from others of their kind.
    """
    kind = PAGES[tab.kind]
    method = _draw_method(tab)
    start = _draw_recipe(tab, method, data["data"] if data else kind.example, run, defaults)
    base, values, weights = start.base, dict(start.values), None
    paired = tab.kind in PAIRED_KINDS
    if METHODS[method].matches_descriptors:
        st.markdown("##### Descriptors to match")
        values["variants"] = variant_choice(base.variants, key=f"{start.prefix}variants")
        used = used_descriptors(values["variants"])
        values["weights"] = weight_widgets(used, base.weights, prefix=start.weights)
        weights = WeightWidgets(start.weights, values["weights"])
    if paired:
        values[tab.kind], terms = _draw_losses(tab.kind, method, start)
        moved = (weights.values if weights else {}) | terms
        values["weights"] = dict(base.weights) | moved
        weights = WeightWidgets(f"{start.weights} {start.prefix}", moved)
    st.markdown("##### Training")
    values |= {
        "steps": linked(
            st.number_input, "Steps",
            min(10, base.steps), max(1_000_000, base.steps), base.steps, 500, key=f"{start.training}steps",
           help="training steps",
        ),
        "batch": linked(
            st.select_slider, "Batch", sorted({*kind.batches, base.batch}), base.batch, key=f"{start.training}batch",
            help=f"{plain(kind.examples or KINDS[tab.kind].noun)} per batch",
        ),
    }  # fmt: skip
    if paired:
        values["patch"] = linked(
            st.select_slider, "Patch", sorted({*PATCHES, base.patch}), base.patch, key=f"{start.training}patch",
            help="pixels each way of the low-resolution patches; twice as many make a step about four times as long",
        )  # fmt: skip
    seeds = linked(
        st.slider, "Seeds", 1, max(8, len(base.seeds)), len(base.seeds), key=f"{start.weights}seeds",
        help="each variant is trained once per seed, all together",
    )  # fmt: skip
    values["seeds"] = base.seeds if seeds == len(base.seeds) else tuple(range(seeds))
    groups = _groups(method, base)
    unused = _unused_network_settings(base)
    for name, (title, settings) in groups.items():
        if (paired and name == tab.kind) or not type(settings).model_fields:
            continue  # drawn above, or nothing to set
        with st.expander(title):
            skip = unused if name == "network" else ()
            values[name] = model_widgets(settings, prefix=f"{start.prefix}{name}.", skip=skip)
    if data is None:
        return NextRun(weights=weights)
    try:
        config = Config.make(**values | data)
    except ConfigError as error:
        return NextRun(problem=_with_label(str(error), groups), weights=weights)
    if config.unmatched:
        st.warning(plain(config.unmatched.capitalize()), icon=":material/warning:")
    return NextRun(config, weights=weights)


def _draw_losses(kind: str, method: str, start: _Defaults) -> tuple[dict[str, Any], dict[str, float]]:
    """Draw settings of the losses on pairs, and weights of their terms; return both by name."""
    st.markdown("##### Loss of the generator")
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


def _draw_recipe(tab: Page, method: str, data: str, run: Run | None, defaults: str) -> _Defaults:
    """Draw the choice of recipes, and return the settings to start from."""
    recipes = [*METHODS[method].recipes, *([SHOWN] if run is not None and run.config.method == method else [])]
    recipe = linked(
        st.segmented_control, "Recipe", recipes, default="stabilised", required=True,
        key=tab.key("recipe" if method == "mvm" else f"{method}.recipe"),
        help="Default settings: this lab's (stabilised), the method's paper's, MvM's published code's, or the "
        "settings of the shown run.",
    )  # fmt: skip
    if recipe == SHOWN and run is not None:
        prefix = tab.key(f"{run.name}.")
        return _Defaults(run.config, run.config.model_dump(exclude={*OF_DATA}), prefix, prefix, prefix)
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
