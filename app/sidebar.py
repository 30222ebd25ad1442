"""The experiment to train next: what the sidebars of the Lab and of Faces share, below the choice of data."""

from __future__ import annotations

from typing import Any

import streamlit as st
from pydantic import BaseModel

from app.caches import runs
from app.header import ask
from app.kinds import PAGES
from app.session import Page
from app.widgets import descriptor_weights, label_of, model_widgets, used_descriptors, variant_choice
from mvm.config import OF_DATA, RECIPES, Config
from mvm.errors import ConfigError
from mvm.look.palette import title_of
from mvm.methods import METHODS
from mvm.runs.run import Run

__all__ = ["NEXT_RUN", "experiment"]

SHOWN = "shown run"  # beside the recipes
NEXT_RUN = "The run that **Train** makes. While the shown run trains, the weights act on it at once."


def experiment(tab: Page, data: dict[str, Any] | None, run: Run | None, *, defaults: str = "") -> Config | str | None:
    """Settings as a config; in words, why they cannot be one; or None while there is no data.

    Args:
        tab: this browser tab.
        data: the config's fields of the data; None where there are none yet.
        run: the shown one, whose settings may be the ones to start from.
        defaults: prefix of the training's widgets, where the data's defaults are other than those of its kind.
    """
    kind = PAGES[tab.kind]
    methods = _methods_for(tab.kind)
    tab.read_link(tab.key("method"), methods, lambda name: METHODS[name].title)
    method = st.selectbox(
        "Method",
        methods,
        format_func=lambda name: METHODS[name].title,
        key=tab.key("method"),
        bind="query-params",
        help="MvM, or a peer with the same generator and metric network: its critic is one linear layer on top.",
    )
    recipe = st.segmented_control(
        "Recipe",
        [*RECIPES[method], *([SHOWN] if run is not None and run.config.method == method else [])],
        default="stabilised",
        required=True,
        key=tab.key("recipe" if method == "mvm" else f"{method}.recipe"),
        help="Where the settings below start from: this lab's, the method's paper's, (MvM) its published code's, or "
        "those of the run that is shown.",
        bind="query-params",
    )
    values: dict[str, Any] = {}
    weighting = tab.key("")  # before the keys of the weights, which all recipes keep
    if recipe == SHOWN:
        base = run.config
        values |= base.model_dump(exclude={*OF_DATA})
        prefix = training = weighting = tab.key(f"{run.name}.")
    else:
        base = Config.make(data=data["data"] if data else kind.example, method=method, recipe=recipe)
        prefix = training = tab.key(defaults)  # steps and batch keep their widgets when the recipe changes
        prefix += "" if method == "mvm" else f"{method}."
        prefix += "" if recipe == "stabilised" else f"{recipe}."
    if METHODS[method].matches_descriptors:
        st.markdown("##### Descriptors to match")
        values["variants"] = variant_choice(base.variants, key=f"{prefix}variants", title_of=title_of)
        try:
            used = used_descriptors(values["variants"])
            values["weights"] = descriptor_weights(used, base.weights, prefix=weighting)
            _reweight_running(tab, weighting, values["weights"])
        except ConfigError as error:
            return str(error)
    else:
        tab.weights = None
    st.markdown("##### Training")
    values |= {
        "steps": st.number_input(
            "Steps", min(10, base.steps), max(1_000_000, base.steps), base.steps, 500, key=f"{training}steps",
            bind="query-params", help="training steps",
        ),
        "batch": st.select_slider(
            "Batch", sorted({*kind.batches, base.batch}), base.batch, key=f"{training}batch", bind="query-params",
            help=f"{kind.noun} per batch",
        ),
    }  # fmt: skip
    seeds = st.slider(
        "Seeds", 1, max(8, len(base.seeds)), len(base.seeds), key=f"{weighting}seeds", bind="query-params",
        help="each variant is trained once per seed, all together",
    )  # fmt: skip
    values["seeds"] = base.seeds if seeds == len(base.seeds) else tuple(range(seeds))
    groups = {
        method: ("Metric learning" if method == "mvm" else METHODS[method].title, getattr(base, method), ()),
        "network": ("Networks", base.network, _unused(base)),
        "optimiser": ("Optimisers", base.optimiser, ()),
    }
    for name, (title, model, skip) in groups.items():
        with st.expander(title):
            values[name] = model_widgets(model, prefix=f"{prefix}{name}.", skip=skip)
    if data is None:
        return None
    try:
        config = Config.make(**{"method": method, "recipe": recipe} | values | data)
        if config.unmatched:
            st.warning(config.unmatched.capitalize(), icon=":material/warning:")
        return config
    except ConfigError as error:
        return _named_as_shown(str(error), {name: (title, model) for name, (title, model, _) in groups.items()})


def _methods_for(kind: str) -> list[str]:
    """Names of the methods that have networks for a kind of data."""
    return [name for name, method in METHODS.items() if method.makes_images or kind != "images"]


def _unused(config: Config) -> tuple[str, ...]:
    """Settings of the networks that a config's kind of data does not use."""
    used = config.flat(used=True)
    return tuple(name for name in type(config.network).model_fields if f"network.{name}" not in used)


def _named_as_shown(problem: str, groups: dict[str, tuple[str, BaseModel]]) -> str:
    """A config's problem, its setting named as the widget is that a person has before them."""
    setting, _, what = problem.partition(": ")
    group, *names = setting.split(".")
    title, model = groups.get(group, ("", None))
    field = type(model).model_fields.get(names[0]) if names and model else None
    return f"{title}, {label_of(names[0], field)}: {what}" if field else problem


def _reweight_running(tab: Page, widgets: str, weights: dict[str, float]) -> None:
    """The shown run, if it is being trained, feels it when a descriptor's toggle or slider has moved: that one alone,
    as the others say what the next run will have.

    Seen at every rerun rather than in the widgets' callbacks: a callback that is interrupted is not called again.

    Args:
        tab: this browser tab.
        widgets: what their keys begin with; others than before have not been moved.
        weights: what they say.
    """
    if tab.weights and tab.weights[0] == widgets and tab.weights[1] != weights:
        run = runs(tab.kind).get(tab.run)
        if run is not None and run.status().alive:
            before = tab.weights[1]
            ask(tab, run, weights={name: value for name, value in weights.items() if value != before.get(name)})
    tab.weights = widgets, weights
