"""A new sweep, written with widgets: base settings, axes with their values, seeds; its text; a button that starts it.

The base is made of the defaults, or of the settings in the sidebar of the Lab (`sweep_from`). The text may be edited:
then the text decides, and the widgets rest.
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.session import Tab
from app.text import plain, quoted
from app.widgets import VARIANTS, setting_title, unlinked
from mvm.config import Config
from mvm.errors import ConfigError, RunError
from mvm.files import checkpoints
from mvm.jobs.queue import device_kind, slot_count
from mvm.look.glossary import TERMS
from mvm.look.scales import round_number
from mvm.methods import METHODS
from mvm.settings import nested
from mvm.studies.compare import data_title
from mvm.sweeps import background
from mvm.sweeps.draft import base_of, spec_text
from mvm.sweeps.results import value_title
from mvm.sweeps.spec import Spec, spec_of
from mvm.sweeps.sweep import Progress, all_sweeps, make, plan, sweep_named
from toy_manifolds import MANIFOLDS

__all__ = ["SweepsTab", "draw_new_sweep", "sweep_from", "sweeps_tab"]

STEPS = 2000  # of a base from the defaults: a sweep is tried with short trainings first
MOST_PLANNED = 1500  # settings whose runs are counted as they are typed
NO_AXES = {  # settings that no sweep would vary: they change nothing that is learned, or are lists
    "seeds", "schema_version", "device", "graph", "compile", "threads", "precision", "records", "snapshots",
    "checkpoints", "view_points", "data_from", "settings", "size", "ambient_dim", "patch", "flips", "header", "missing",
    "drop_columns", "points",
}  # fmt: skip
COMBINED = {"grid": "all combinations", "zip": "in step", "random": "at random"}  # parts of a specification
WAYS = {"list": "Values", "range": "Equal steps", "log": "Equal ratios"}
DRAWN = {"list": "One of these", "range": "Evenly", "log": "By ratio"}  # the same ways, for values drawn at random


@dataclass
class SweepsTab(Tab):
    """State of the page in one browser tab.

    Attributes:
        writing: whether a new sweep is being written.
        name: of the new sweep, to begin with.
        base: settings of every training, by dotted name, beside those that widgets show.
        copied: what the base was copied from; "" for the defaults.
        seeds: to begin with.
        axes: swept settings, in their order.
        turn: number of drafts; keys of widgets contain it.
        own_text: the edited text; None while the widgets decide.
        shown: the sweep to show next; None for the chosen one.
        finished: number of its finished runs when the page was drawn.
        progress: how far it was then, for the part of the page that is drawn again by itself; None once it is used.
    """

    writing: bool = False
    name: str = "sweep"
    base: dict[str, Any] = field(default_factory=dict)
    copied: str = ""
    seeds: int = 3
    axes: list[str] = field(default_factory=list)
    turn: int = 0
    own_text: str | None = None
    shown: str | None = None
    finished: int = 0
    progress: Progress | None = None

    def key(self, name: str) -> str:
        """Key of a widget of this draft."""
        return f"_sweep.{self.turn}.{name}"

    def begin(self, base: Mapping[str, Any] | None = None, *, copied: str = "", seeds: int = 3) -> None:
        """Begin another draft."""
        self.base = dict(base or {"data": "swiss_roll", "steps": STEPS})
        self.writing, self.copied, self.seeds, self.axes, self.own_text = True, copied, seeds, [], None
        self.name, self.turn = _free_name(), self.turn + 1

    def add(self, key: str) -> None:
        """Add the axis that a widget has chosen."""
        if (name := st.session_state.get(key)) and name not in self.axes:
            self.axes.append(name)
        st.session_state[key] = None

    def remove(self, name: str) -> None:
        """Remove an axis."""
        if name in self.axes:
            self.axes.remove(name)

    def edit(self, text: str | None) -> None:
        """Let a text decide from now on; the widgets again if None."""
        self.own_text = text

    def leave(self) -> None:
        """Put the draft away."""
        self.writing = False


def sweeps_tab() -> SweepsTab:
    """This browser tab's state of the page."""
    tab: SweepsTab = st.session_state.setdefault("_page.sweeps", SweepsTab())
    return tab


def sweep_from(config: Config) -> None:
    """Open the page Sweeps with a new sweep whose base are these settings.

    Raises:
        ConfigError: a specification cannot say them.
    """
    sweeps_tab().begin(base_of(config), copied="the settings of the next run", seeds=len(config.seeds))
    st.switch_page(st.session_state["_pages"]["Sweeps"], query_params={})


def draw_new_sweep(tab: SweepsTab) -> None:
    """Draw the widgets of a new sweep, its text, what it will train, and the button that starts it."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.header("New sweep", anchor=False)
            st.button("Close", icon=":material/close:", key="_sweep.close", type="tertiary", on_click=tab.leave)
        left, right = st.columns([1.25, 1], gap="large")
        with left:
            name = st.text_input(
                "Name", tab.name, key=tab.key("name"),
                help="of the sweep; its runs are named after it. The name of an earlier sweep adds to that one.",
            ).strip()  # fmt: skip
            text, problem = tab.own_text, ""
            if text is None:
                try:
                    text = _draw_settings(tab)
                except ConfigError as error:
                    text, problem = "", str(error)
            else:
                st.info("The text on the right decides.", icon=":material/edit:")
                st.button("Back to the widgets", icon=":material/undo:", on_click=tab.edit, args=(None,))
        with right:
            text = _draw_text(tab, name, text)
            spec = None if problem else _draw_count(name, text)
            if problem:
                st.error(plain(problem), icon=":material/error:")
            _draw_start(tab, spec)


# -- settings ----------------------------------------------------------------------------------------------------------


def _draw_settings(tab: SweepsTab) -> str:
    """Draw base, axes and seeds; return the specification's text.

    Raises:
        ConfigError: a value is no number, or an axis has none.
    """
    base, config = _draw_base(tab)
    axes: dict[str, dict[str, Any]] = {part: {} for part in COMBINED}
    st.markdown("**Sweep over**")
    problem = None
    for name in list(tab.axes):
        with st.container(border=True):
            try:
                part = _draw_head(tab, name)
                axes[part][name] = _draw_axis(tab, name, config, is_drawn=part == "random")
            except ConfigError as error:
                problem = error
    methods = [method for values in axes.values() for method in values.get("method", [])]
    offered = _offered(config, methods)
    key = tab.key("add")
    st.selectbox(
        "Add a setting", [each for each in offered if each not in tab.axes], index=None, key=key, on_change=tab.add,
        args=(key,), format_func=setting_title, placeholder="Add a setting to sweep over: type to search",
        label_visibility="collapsed",
    )  # fmt: skip
    if problem is not None:
        raise problem
    if not tab.axes:
        st.caption("All combinations of the values that you choose are trained.")
    if axes["random"]:
        axes["random"] = _draw_draws(tab) | axes["random"]
    return spec_text(range(_draw_seeds(tab)), {name: base[name] for name in base if name not in tab.axes}, axes)


def _draw_draws(tab: SweepsTab) -> dict[str, Any]:
    """Draw how many settings are drawn, and from which seed; return them as the specification has them."""
    a, b = st.columns(2)
    count = a.number_input("Draws", 1, 10_000, 10, key=tab.key("draws"), help="settings drawn at random; the first "
                           "ones stay the same when there are more")  # fmt: skip
    seed = b.number_input("Seed of the draws", 0, 2**31 - 1, 0, key=tab.key("draw seed"),
                          help="the same seed draws the same settings")  # fmt: skip
    return {"count": int(count), "seed": int(seed)}


def _draw_seeds(tab: SweepsTab) -> int:
    return int(st.number_input("Seeds", 1, 1000, tab.seeds, key=tab.key("seeds"), help=f"{TERMS['seed']} Scores of a "
                               "setting are medians over its seeds."))  # fmt: skip


def _draw_base(tab: SweepsTab) -> tuple[dict[str, Any], Config]:
    """Draw data, method and steps of all trainings; return the base's settings, and the config that they make.

    Raises:
        ConfigError: they make none.
    """
    given = dict(tab.base)
    a, b, c = st.columns(3)
    with a:
        data = list(dict.fromkeys([given.get("data", "circle"), *MANIFOLDS, "faces"]))
        given["data"] = st.selectbox(
            "Data", data, key=tab.key("data"), format_func=data_title, disabled="data" in tab.axes
        )
    with b:
        methods = list(METHODS)
        given["method"] = st.selectbox(
            "Method", methods, methods.index(given.get("method", "mvm")), key=tab.key("method"),
            format_func=lambda each: METHODS[each].title, disabled="method" in tab.axes,
        )  # fmt: skip
    with c:
        steps = given.get("steps") or Config.make(data=given["data"]).steps
        given["steps"] = int(
            st.number_input("Steps", 1, 10_000_000, int(steps), 500, key=tab.key("steps"), disabled="steps" in tab.axes)
        )
    if given["data"] != tab.base.get("data"):  # what belongs to other data is left behind
        given = {name: value for name, value in given.items() if not name.startswith("settings.")}
    if not METHODS[given["method"]].matches_descriptors or given["method"] != tab.base.get("method", "mvm"):
        given.pop("variants", None)
    if given["method"] != tab.base.get("method", "mvm"):
        given.pop("recipe", None)
    config = Config.make(**nested(given))
    base = base_of(config)
    others = {name: value for name, value in base.items() if name not in ("data", "method", "steps")}
    if tab.copied or others:
        told = "; ".join(f"{_small(setting_title(name))} {value_title(name, value)}" for name, value in others.items())
        said = f"As in {tab.copied}" if tab.copied else "Beside these"
        st.caption(plain(f"{said}: {told}." if told else f"{said}; all other settings have their defaults."))
        st.button("Begin with the defaults", type="tertiary", icon=":material/restart_alt:", on_click=tab.begin)
    else:
        st.caption("All other settings have their defaults. For a base of your own set it up in the Lab, and press "
                   "**Sweep** there.")  # fmt: skip
    return base, config


def _small(title: str) -> str:
    return title if title[:2].isupper() else title[0].lower() + title[1:]


def _offered(config: Config, methods: Sequence[str]) -> list[str]:
    """Settings to sweep over, by dotted name: those that the base uses, or one of the swept methods."""
    found = {"data": None, "method": None, "recipe": None, "variants": None}
    for method in dict.fromkeys((config.method, *methods)):
        with contextlib.suppress(ConfigError):
            flat = Config.make(data=config.data, method=method).flat(used=True)
            found |= dict.fromkeys(name for name, value in flat.items() if type(value) in (bool, int, float, str))
    return [name for name in found if name not in NO_AXES]


def _draw_head(tab: SweepsTab, name: str) -> str:
    """Draw an axis's title, and how its values meet those of the others; return the latter, a key of `COMBINED`."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(setting_title(name))}**", width="stretch")
        part = st.selectbox(
            "Combined", list(COMBINED), key=tab.key(f"part.{name}"), format_func=COMBINED.get, width=190,
            label_visibility="collapsed",
            help="**all combinations** with the values of the others; **in step**: the first value with the first of "
            "the others in step, and so on; **at random**: drawn anew for each of a number of settings",
        )  # fmt: skip
        st.button("", icon=":material/delete:", key=tab.key(f"remove.{name}"), type="tertiary", on_click=tab.remove,
                  args=(name,), help=f"do not sweep over {plain(_small(setting_title(name)))}")  # fmt: skip
    return part


def _draw_axis(tab: SweepsTab, name: str, config: Config, *, is_drawn: bool) -> Any:
    """Draw the values of an axis by the widget of its kind; return them as the specification has them.

    Raises:
        ConfigError: there are none, or one is no number.
    """
    field_, now = _field(name), config.flat().get(name)
    if options := _options(name, field_, config):
        chosen = unlinked(
            st.multiselect, "Values", options, default=options[:2], key=tab.key(f"of.{name}"),
            format_func=lambda value: value_title(name, value), accept_new_options=name in ("variants", "data"),
            label_visibility="collapsed",
        )  # fmt: skip
        if not chosen:
            raise ConfigError(f"{setting_title(name)}: choose one or more values")
        return list(chosen)
    return _draw_numbers(tab, name, now if type(now) in (int, float) else 1, is_drawn=is_drawn)


def _options(name: str, field_: FieldInfo, config: Config) -> list[Any]:
    """Values of a setting that has only some, the base's first; none for numbers."""
    now = config.flat().get(name)
    if name == "data":
        found: list[Any] = [*MANIFOLDS]
    elif name == "variants":
        found, now = [*config.variants, *VARIANTS], "both"
    elif name == "method":
        found = [method for method, each in METHODS.items() if each.learns(config.kind)]
    elif typing.get_origin(field_.annotation) is typing.Literal:
        found = list(typing.get_args(field_.annotation))
    elif field_.annotation is bool:
        found = [False, True]
    else:
        return []
    return list(dict.fromkeys([*([now] if now is not None else []), *found]))


def _draw_numbers(tab: SweepsTab, name: str, now: float, *, is_drawn: bool) -> Any:
    """Draw numbers one by one, or the ends of a scale and, unless they are drawn at random, how many there are."""
    whole = type(now) is int
    ways = list(WAYS)
    a, b = st.columns([1.1, 1.4], vertical_alignment="bottom")
    with a:
        way = st.segmented_control(
            "How", ways, default="log" if 0 < now < 0.1 else "list", required=True, key=tab.key(f"way.{name}"),
            format_func=(DRAWN if is_drawn else WAYS).get, label_visibility="collapsed",
        )  # fmt: skip
    if way == "list":
        about = [max(1, now // 2), now, 2 * now] if whole else [now / 2, now, 2 * now] if now else [0.0, 0.1, 1.0]
        with b:
            text = st.text_input(
                "Values", " ".join(f"{value:g}" for value in dict.fromkeys(about)), key=tab.key(f"list.{name}"),
                label_visibility="collapsed", placeholder="numbers, with blanks between",
            )  # fmt: skip
        return _numbers(name, text, whole=whole)
    with b:
        low_place, high_place, count_place = st.columns(3)
    low, high = (now / 4, now * 4) if now else (0.001, 1.0) if way == "log" else (0.0, 1.0)
    if now and not whole:
        low, high = round_number(low), round_number(high)
    ends = []
    for place, title, end in ((low_place, "From", low), (high_place, "To", high)):
        ends.append(place.text_input(title, f"{end:.2g}", key=tab.key(f"{way}.{title}.{name}")))
    first, last = (_number(name, end, whole=False) for end in ends)
    scale: dict[str, Any] = {way: [int(x) if whole and x == int(x) else x for x in (first, last)]}
    if not is_drawn:
        scale["count"] = int(count_place.number_input("How many", 2, 1000, 3, key=tab.key(f"{way}.count.{name}")))
    return scale


def _numbers(name: str, text: str, *, whole: bool) -> list[Any]:
    words = text.replace(",", " ").replace(";", " ").split()
    if not words:
        raise ConfigError(f"{setting_title(name)}: give one or more numbers, with blanks between")
    return [_number(name, word, whole=whole) for word in words]


def _number(name: str, word: str, *, whole: bool) -> Any:
    try:
        value = float(word)
        return int(word) if whole and value == int(value) and "e" not in word.lower() and "." not in word else value
    except (ValueError, OverflowError):
        raise ConfigError(f"{setting_title(name)}: {quoted(word)} is no number; give numbers such as 0.001") from None


def _field(name: str) -> FieldInfo:
    """Field of a setting by its dotted name."""
    group, _, last = name.rpartition(".")
    model = Config.model_fields[group].annotation if group else Config
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise ConfigError(f"{name} is no setting")
    return model.model_fields[last]


# -- the text, and the start -------------------------------------------------------------------------------------------


def _draw_text(tab: SweepsTab, name: str, text: str) -> str:
    """Draw the specification's text, to edit and to download; return it."""
    if tab.own_text is None:
        st.code(text or " ", language="toml", wrap_lines=True)
    else:
        text = tab.own_text = st.text_area(
            "Specification", text, height=260, key=tab.key("text"), label_visibility="collapsed",
            help="TOML: base, grid, zip, random, seeds; docs/scale.md has every word of it",
        )  # fmt: skip
    with st.container(horizontal=True):
        if tab.own_text is None:
            st.button("Edit the text", icon=":material/edit:", type="tertiary", on_click=tab.edit, args=(text,),
                      disabled=not text)  # fmt: skip
        st.download_button(
            "Download", text, f"{name or 'sweep'}.toml", "application/toml", icon=":material/download:",
            type="tertiary", on_click="ignore", key="_sweep.download", disabled=not text,
            help="for `mvm sweep FILE.toml`, here or on a cluster",
        )  # fmt: skip
    return text


def _draw_count(name: str, text: str) -> Spec | None:
    """Draw how many trainings and runs a specification asks for, or what is wrong with it; None then."""
    try:
        known = checkpoints() / ".sweeps" / name / "runs.json" if name else None
        spec, words = _counted(name, text, known.stat().st_mtime_ns if known is not None and known.exists() else 0)
    except (ConfigError, RunError, OSError) as error:
        st.error(plain(str(error).removeprefix("sweep: ")), icon=":material/error:")
        return None
    st.markdown(plain(words))
    if warned := next((point.config.unmatched for point in spec.points if point.config.unmatched), ""):
        st.warning(plain(warned.capitalize()), icon=":material/warning:")
    return spec


@st.cache_resource(max_entries=8, show_spinner=False)
def _counted(name: str, text: str, stamp: int) -> tuple[Spec, str]:
    """A specification, and what it asks for in words, while the sweep's list of runs has this time."""
    spec = spec_of(text, name=name)
    trainings = sum(len(point.config.members) for point in spec.points)
    count = len(spec.points)
    said = f"{trainings:,} training{'s' * (trainings != 1)} of {count:,} setting{'s' * (count != 1)}"
    if len(spec.points) > MOST_PLANNED:
        return spec, f"{said}."
    planned = plan(spec)
    runs = len(planned.there) + len(planned.missing)
    there = f"; {len(planned.there):,} are there already, {len(planned.missing):,} are new" if planned.there else ""
    shared = " Trainings of a run share a process." if trainings > runs else ""
    return spec, f"{said}, in {runs:,} run{'s' * (runs != 1)}{there}.{shared}"


def _draw_start(tab: SweepsTab, spec: Spec | None) -> None:
    slots = slot_count(device_kind(spec.points[0].config.device)) if spec and spec.points else 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        workers = st.number_input(
            "Runs at once", 1, 1024, slots, key=tab.key("workers"), width=150,
            help="processes of this machine; by default one for each device slot",
        )  # fmt: skip
        pressed = st.button(
            "Train here", type="primary", icon=":material/play_arrow:", key="_sweep.start", disabled=spec is None,
            help="make the runs, and train them in the background; closing the page or the app does not stop it",
        )  # fmt: skip
    if pressed and spec is not None:
        bar = st.progress(0.0, text="making the runs ...")
        try:
            make(spec, on_progress=lambda done, of: bar.progress(done / of, text=f"{done:,} of {of:,} runs made"))
            background.start(sweep_named(spec.name), workers=int(workers))
        except (ConfigError, RunError, OSError) as error:
            bar.empty()
            st.error(plain(error), icon=":material/error:")
            return
        tab.writing, tab.shown = False, spec.name
        st.rerun()


def _free_name() -> str:
    """A name that no sweep has."""
    known = {*all_sweeps()}
    return next(name for name in ("sweep", *(f"sweep-{n}" for n in range(2, 10_000))) if name not in known)
