"""Widgets made from settings models: bounds, help and defaults come from the fields; each is bound to the URL."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.link import linked
from mvm.config import Config, Weights
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.look.glossary import TERMS as GLOSSARY
from mvm.look.palette import title_of
from mvm.methods import METHODS
from mvm.methods.pairs import TERMS
from mvm.settings import bounds, setting_words
from mvm.words import capital
from toy_manifolds import MANIFOLDS

__all__ = [
    "field_widget",
    "label_of",
    "manifold_widgets",
    "model_widgets",
    "setting_title",
    "term_widgets",
    "unlinked",
    "used_descriptors",
    "variant_choice",
    "weight_widgets",
]

MAIN_DESCRIPTORS = ("centroid", "diameter")
VARIANTS = ("centroid", "diameter", "both", *(name for name in DESCRIPTORS if name not in MAIN_DESCRIPTORS))
TERM_WEIGHTS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
MOVABLE, MOVES = "⇄", "; also changes the run in training that is shown"
TINY = 1e-12  # distance of a value from a bound that it must not reach


def field_widget(
    name: str,
    field: FieldInfo,
    *,
    value: Any,
    key: str,
    label: str = "",
    note: str = "",
    draw: Callable[..., Any] = linked,
) -> Any:
    """Draw the widget of a field; its value satisfies the field, but perhaps not the whole model.

    Args:
        name: of the field.
        field: type, bounds and help.
        value: the default.
        key: of the widget, and its parameter in the URL.
        label: of the widget; `label_of` the field when empty.
        note: added to the field's help.
        draw: draws a widget of Streamlit; `unlinked` keeps its value out of the URL.
    """
    label = label or label_of(name, field)
    common = {"key": key, "help": f"{field.description}{note}"}
    kind = field.annotation
    if typing.get_origin(kind) is typing.Literal:
        options = typing.get_args(kind)
        return draw(st.selectbox, label, options, index=options.index(value), **common)
    if kind is bool:
        return draw(st.toggle, label, value=value, **common)
    low, high, above, below = bounds(field)
    if kind is int:
        return draw(st.number_input, label, min_value=low, max_value=high, value=value, step=_step(value), **common)
    if kind is float:
        least, most = low + TINY * above, high - TINY * below
        return draw(
            st.number_input,
            label,
            float(least),
            float(most),
            float(value),
            step=max(abs(value) / 10, 1e-4),
            format="%g",
            **common,
        )
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        text = draw(st.text_input, label, value="" if value is None else str(value), placeholder="none", **common)
        return text.strip() or None
    if typing.get_origin(kind) is tuple:
        text = draw(st.text_input, label, value=" ".join(map(str, value)), **common)
        return tuple(text.split())
    return draw(st.text_input, label, value=str(value), **common)


def unlinked(widget: Callable[..., Any], label: str, *arguments: Any, **options: Any) -> Any:
    """Draw a widget whose value is not part of the URL; return its value. Arguments as for `linked`."""
    return widget(label, *arguments, **options)


def label_of(name: str, field: FieldInfo) -> str:
    """Label of a field's widget: its title, or its name in words."""
    label = field.title or setting_words(name)
    return capital(label)


def setting_title(dotted: str, *, owned: bool = True) -> str:
    """What a page calls a setting of the config, given by its dotted name; other words begin with a capital.

    Args:
        dotted: such as mvm.gamma.
        owned: name the method or network that it belongs to, too.
    """
    group, _, name = dotted.rpartition(".")
    model = Config.model_fields[group].annotation if group in Config.model_fields else Config
    fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
    if name not in fields:
        return capital(dotted)
    title = label_of(name, fields[name])
    if group == "weights":
        return f"{title} weight"
    owner = METHODS[group].title if group in METHODS else {"network": "Network"}.get(group, "")
    return f"{owner}: {title[0].lower()}{title[1:]}" if owner and owned else title


def model_widgets(
    model: BaseModel, *, prefix: str, skip: tuple[str, ...] = (), movable: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Draw widgets for the fields of a settings model.

    Args:
        model: its values are the defaults.
        prefix: of the keys; recipes with other defaults have widgets of their own.
        skip: fields without a widget here.
        movable: fields that also change the shown run while it trains; their labels have `MOVABLE`.

    Returns:
        Value by field.
    """
    values = {}
    for name, field in type(model).model_fields.items():
        if name in skip:
            continue
        marked = {"label": f"{label_of(name, field)} {MOVABLE}", "note": MOVES} if name in movable else {}
        values[name] = field_widget(name, field, value=getattr(model, name), key=f"{prefix}{name}", **marked)
    return values


def manifold_widgets(name: str) -> dict[str, float]:
    """Draw sliders for a toy manifold's own settings; return the settings that differ from their default."""
    changed = {}
    for setting, field in MANIFOLDS[name].model_fields.items():
        (low, high, above, below), default = bounds(field), field.default
        whole = field.annotation is int
        number = int if whole else float
        step = 1 if whole else _round_step((high - low) / 100)
        value = linked(
            st.slider,
            setting.replace("_", " ").capitalize(),
            number(low + step * above),
            number(high - step * below),
            number(default),
            step=step,
            key=f"{name}.{setting}",
            help=field.description,
        )
        if value != default:
            changed[setting] = value
    return changed


def variant_choice(default: tuple[str, ...], *, key: str) -> tuple[str, ...]:
    """Draw the choice of descriptor sets to train side by side; new sets may be typed."""
    options = list(dict.fromkeys([*VARIANTS, *default]))
    return tuple(
        linked(
            st.multiselect,
            "Variants, side by side",
            options,
            default=list(default),
            format_func=title_of,
            accept_new_options=True,
            key=key,
            help=f"{GLOSSARY['variant']} Type names joined by + for another set, such as centroid+covariance.",
        )
    )


def used_descriptors(variants: tuple[str, ...]) -> set[str]:
    """Every descriptor that some variant contains."""
    return {name for variant in variants for name in descriptors_of(variant)}


def weight_widgets(used: set[str], base: Weights, *, prefix: str, variants: str) -> dict[str, float]:
    """Draw a toggle and a weight slider per descriptor, all but centroid and 2-diameter in an expander.

    Args:
        used: descriptors that some chosen variant contains; switching on another one adds a variant of it alone.
        base: the defaults.
        prefix: of the keys.
        variants: key of the choice of variants.

    Returns:
        Weight by descriptor; 0 where the toggle is off.
    """
    weights = {name: _weight(name, used, getattr(base, name), prefix, variants) for name in MAIN_DESCRIPTORS}
    with st.expander("More descriptors"):
        others = [name for name in DESCRIPTORS if name not in MAIN_DESCRIPTORS]
        return weights | {name: _weight(name, used, getattr(base, name), prefix, variants) for name in others}


def _weight(name: str, used: set[str], default: float, prefix: str, variants: str) -> float:
    descriptor, field = DESCRIPTORS[name], Weights.model_fields[name]
    if name not in used:
        st.toggle(
            descriptor.title, False, key=f"{prefix}add.{name}", on_change=_add_variant, args=(variants, name),
            help=f"{GLOSSARY[descriptor.title]} Not in any chosen variant: switch on to add a column that matches it.",
        )  # fmt: skip
        return default
    on = linked(st.toggle, descriptor.title, default > 0, key=f"{prefix}on.{name}", help=GLOSSARY[descriptor.title])
    weight = linked(
        st.slider,
        f"{descriptor.title} weight",
        0.0,
        max(bounds(field).high / 2, default),
        default or 1.0,
        0.05,
        key=f"{prefix}w.{name}",
        label_visibility="collapsed",
        disabled=not on,
    )
    return weight * on


def term_widgets(used: Sequence[str], base: Weights, *, prefix: str) -> dict[str, float]:
    """Draw a slider of the weight of each term of a loss on pairs, in steps of about 3.

    Args:
        used: names in `TERMS`.
        base: the defaults.
        prefix: of the keys.

    Returns:
        Weight by term.
    """
    weights = {}
    for name in used:
        default = getattr(base, name)
        weights[name] = linked(
            st.select_slider, TERMS[name].title, sorted({*TERM_WEIGHTS, default}), default, key=f"{prefix}w.{name}",
            format_func="{:g}".format, help=TERMS[name].help,
        )  # fmt: skip
    return weights


def _add_variant(key: str, name: str) -> None:
    st.session_state[key] = [*st.session_state[key], name]


def _step(value: int) -> int:
    """Step of a number input whose default is `value`: half its power of ten, at least 1."""
    return max(1, 10 ** (len(str(value)) - 1) // 2)


def _round_step(step: float) -> float:
    """The largest round slider step not above the given one."""
    return next(s for s in (1, 0.5, 0.1, 0.05, 0.01, 0.005, 0.001, 0.0001) if s <= step or s == 0.0001)
