"""The Lab: set up an experiment on the left, watch it find the manifold on the right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from app import plots
from app.cloud_plot import cloud_plot
from app.controls import (
    descriptor_weights,
    manifold_settings,
    model_widgets,
    used_descriptors,
    variant_choice,
)
from app.draw_points import draw_points
from app.live_plot import live_plot
from app.palette import VARIANTS
from app.state import Page, first_run, history, keep_drawing, keep_upload, page, projector, runs, start, train
from app.timeline import timeline
from mvm.config import RECIPES, Config, ConfigError
from mvm.history import History
from mvm.methods import METHODS
from mvm.projection import read_frame
from mvm.runs import Run, RunError, Status
from mvm.scores import SCORES
from toy_manifolds import MANIFOLDS

__all__ = ["lab"]

MOST_COLUMNS = 4
SHOWN_SCORES = (
    "w2_ratio",
    "distance_mean",
    "precision",
    "recall",
    "coverage",
    "density",
    "ks_max",
    "c2st",
    "geodesic_spearman",
)
STATES = {  # colour and words of a badge
    "starting": ("blue", "starting"),
    "queued": ("blue", "queued: waiting for a free device"),
    "running": ("green", "training"),
    "paused": ("orange", "paused"),
    "finished": ("gray", "finished"),
    "stopped": ("gray", "stopped"),
    "diverged": ("red", "diverged"),
    "failed": ("red", "failed"),
    "interrupted": ("red", "interrupted"),
    "new": ("gray", "not started"),
}
STEP_SIZES = (1, 10, 100)


def lab() -> None:
    """The whole page."""
    tab = page()
    if not runs():
        first_run(tab)
    with st.sidebar:
        config = setup(tab)
    tab.show_notice()
    run = choose_run(tab)
    status = run.status() if run else Status("new", 0, 0)
    tab.state = (tab.run, status.state)
    transport(tab, run, status, config)
    if run is None:
        st.info("No run yet: choose a manifold on the left and press **Train**.", icon=":material/arrow_back:")
        return
    if not status.alive:
        st.fragment(at_rest, run_every=1.0 if tab.behind else None)(tab, run)
        return
    for part, seconds in ((now, 0.15), (embeddings, 1.0), (history_rows, 2.0)):
        st.fragment(part, run_every=seconds)(tab, run)


# -- left: the experiment to train next --------------------------------------------------------------------------------


def setup(tab: Page) -> Config | None:
    """The sidebar's settings as a config; None, with the reason shown, while they are not valid."""
    st.markdown("#### MvM Lab")
    data, settings, ambient = choose_data()
    method = st.selectbox(
        "Method",
        list(METHODS),
        format_func=lambda name: METHODS[name].title,
        key="method",
        bind="query-params",
        help="MvM, or a peer with the same generator and metric network: its critic is one linear layer on top.",
    )
    recipe = st.segmented_control(
        "Recipe",
        list(RECIPES[method]),
        default="stabilised",
        required=True,
        key="recipe" if method == "mvm" else f"{method}.recipe",
        help="Where the settings below start from: this lab's, the method's paper's, or (MvM) its published code's.",
        bind="query-params",
    )
    base = Config.make(method=method, recipe=recipe)
    prefix = "" if method == "mvm" else f"{method}."
    prefix += "" if recipe == "stabilised" else f"{recipe}."
    values = {}
    if METHODS[method].matches_descriptors:
        st.markdown("##### Descriptors to match")
        values["variants"] = variant_choice(base.variants, key=f"{prefix}variants", title_of=plots.title_of)
        try:
            used = used_descriptors(values["variants"])
            values["weights"] = descriptor_weights(used)
            reweight_running(tab, values["weights"])
        except ConfigError as error:
            st.error(str(error))
            return None
    else:
        tab.weights = None
    st.markdown("##### Training")
    values |= {
        "steps": st.number_input(
            "Steps", 10, 1_000_000, base.steps, 500, key="steps", bind="query-params", help="training steps"
        ),
        "batch": st.select_slider(
            "Batch", [2**k for k in range(4, 13)], base.batch, key="batch", bind="query-params", help="points per batch"
        ),
    }
    seeds = st.slider(
        "Seeds", 1, 8, 1, key="seeds", bind="query-params", help="each variant is trained once per seed, all together"
    )
    groups = {
        method: ("Metric learning" if method == "mvm" else METHODS[method].title, getattr(base, method)),
        "network": ("Networks", base.network),
        "optimiser": ("Optimisers", base.optimiser),
    }
    for name, (title, model) in groups.items():
        with st.expander(title):
            values[name] = model_widgets(model, prefix=f"{prefix}{name}.")
    if data is None:
        return None
    try:
        return Config.make(
            data=data,
            settings=settings,
            ambient_dim=ambient,
            method=method,
            recipe=recipe,
            seeds=tuple(range(seeds)),
            **values,
        )
    except ConfigError as error:
        st.error(str(error), icon=":material/error:")
        return None


def choose_data() -> tuple[str | None, dict[str, float], int | None]:
    """The data's name or file, a toy manifold's settings, and the dimension it is placed in (None: its own)."""
    source = st.segmented_control(
        "Data", ["Manifold", "Own file", "Draw"], default="Manifold", required=True, key="source", bind="query-params"
    )
    if source == "Manifold":
        name = st.selectbox(
            "Manifold",
            list(MANIFOLDS),
            format_func=lambda name: MANIFOLDS[name].title,
            key="data",
            bind="query-params",
            help="Toy manifolds are known exactly, so every score has its truth.",
        )
        with st.expander("Manifold settings"):
            settings = manifold_settings(name)
            own = MANIFOLDS[name].ambient_dim
            ambient = st.number_input(
                "Ambient dimension",
                own,
                512,
                own,
                key=f"{name}.ambient",
                bind="query-params",
                help="place the manifold in a space of more dimensions, by a seeded isometry",
            )
        return name, settings, int(ambient) if ambient > own else None
    try:
        if source == "Draw":
            points = draw_points(key="drawing")
            if points is None:
                st.caption("Draw a shape: each stroke leaves points behind. At least 64 are needed.")
            return (str(keep_drawing(points)) if points is not None else None), {}, None
        upload = st.file_uploader(
            "Points",
            type=["csv", "npy"],
            help="CSV: one point a line, with or without a header. NPY: one two-dimensional array. Standardised for "
            "training, and mapped back for every picture and score.",
        )
        if upload is None:
            st.caption("A CSV or NPY file with at least 64 points of 2 or more columns.")
        return (str(keep_upload(upload.name, upload.getvalue())) if upload else None), {}, None
    except (ConfigError, OSError) as error:
        st.error(str(error), icon=":material/error:")
        return None, {}, None


def reweight_running(tab: Page, weights: dict[str, float]) -> None:
    """The shown run, if it is being trained, feels it when a descriptor's toggle or slider has moved.

    Seen at every rerun rather than in the widgets' callbacks: a callback that is interrupted is not called again.
    """
    run = runs().get(tab.run)
    if tab.weights not in (None, weights) and run is not None and run.alive():
        _ask(tab, run, weights=weights)
    tab.weights = weights


# -- top: which run, and what it should do -----------------------------------------------------------------------------


def choose_run(tab: Page) -> Run | None:
    """The run that is shown: the one asked for, else a living one, else the newest."""
    known = runs()
    if not known:
        return None
    name = tab.run or st.query_params.get("run")
    if name not in known:
        name = next((name for name, run in known.items() if run.status().alive), next(iter(known)))
    tab.show(name)
    st.query_params["run"] = name
    names = list(known)
    chosen = st.selectbox(
        "Run", names, names.index(name), key=f"run.{tab.turn}", label_visibility="collapsed",
        help="every experiment so far, newest first",
    )  # fmt: skip
    if chosen != name:
        tab.show(chosen)
        st.rerun()
    return known[name]


def transport(tab: Page, run: Run | None, status: Status, config: Config | None) -> None:
    """Train, pause, step, stop and reset."""
    alive, state = status.alive, status.state
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        help_train = "train the settings on the left as a new run, in the background  (key T)"
        st.button(
            "Train", type="primary", icon=":material/play_arrow:", help=help_train, disabled=config is None,
            on_click=_train, args=(tab, config, tab.presses), shortcut="T",
        )  # fmt: skip
        if state == "paused" or not alive:
            label, wake = ("Continue", "go on training") if alive else ("Resume", "go on from the last checkpoint")
            st.button(
                label, icon=":material/resume:", help=f"{wake}  (key P)", shortcut="P", on_click=_wake, args=(tab, run),
                disabled=run is None or state in ("finished", "diverged"),
            )  # fmt: skip
        else:
            st.button(
                "Pause", icon=":material/pause:", help="pause  (key P)", shortcut="P", on_click=_pause, args=(tab, run)
            )
        size = st.session_state.get("step_size", STEP_SIZES[1])
        st.button(
            f"Step {size}", icon=":material/skip_next:", help="go on by this many steps, then pause  (key S)",
            shortcut="S", on_click=_step, args=(tab, run, size), disabled=not alive or state == "queued",
        )  # fmt: skip
        st.button(
            "Stop", icon=":material/stop:", help="save and end; it can be resumed  (key X)", shortcut="X",
            on_click=_ask, args=(tab, run), kwargs={"stop": True, "pause_at": None}, disabled=not alive,
        )  # fmt: skip
        st.button(
            "Reset", icon=":material/restart_alt:",
            help="stop, and begin the shown experiment anew at step 0, paused  (key B)",
            on_click=_reset, args=(tab, run, tab.presses), disabled=run is None, shortcut="B",
        )  # fmt: skip
        with st.popover("View", icon=":material/tune:"):
            view_settings(run)


def view_settings(run: Run | None) -> None:
    """What the charts show; the training does not notice."""
    st.select_slider("Step size", STEP_SIZES, STEP_SIZES[1], key="step_size", help="steps of the Step button")
    common = {"bind": "query-params"}
    st.segmented_control(
        "Layers", ["real", "fake", "grid"], selection_mode="multi", default=["real", "fake", "grid"], key="layers",
        help="grid: a square of the generator's first two inputs, as the generator bends it into data space", **common,
    )  # fmt: skip
    help_log = "small gaps and eigenvalues can only be told apart on a logarithmic axis"
    st.toggle("Logarithmic gaps and spectra", True, key="log", help=help_log, **common)
    st.segmented_control(
        "Spectrum", ["distance", "mds"], default="distance", required=True, key="form", **common,
        help="distance: eigenvalues of D / mean D, by magnitude. "
        "mds: those of the double-centred −½ J D² J, as shares of variance",
    )  # fmt: skip
    if run is not None and len(run.config.seeds) > 1:
        st.selectbox("Seed shown", run.config.seeds, key=f"seed.{run.name}")
    if run is not None and len(run.config.variants) > MOST_COLUMNS:
        st.multiselect(
            "Columns", run.config.variants, run.config.variants[:MOST_COLUMNS], max_selections=MOST_COLUMNS,
            format_func=plots.title_of, key=f"columns.{run.name}",
        )  # fmt: skip


def _train(tab: Page, config: Config, press: int) -> None:
    if tab.is_new(press):
        start(tab, config)


def _wake(tab: Page, run: Run) -> None:
    try:
        if run.alive():
            run.ask(pause_at=None)
        else:
            train(run)
    except (RunError, OSError) as error:
        tab.tell(str(error))


def _pause(tab: Page, run: Run) -> None:
    _ask(tab, run, pause_at=0)


def _step(tab: Page, run: Run, size: int) -> None:
    _ask(tab, run, pause_at=run.status().step + size)


def _ask(tab: Page, run: Run, **wishes: object) -> None:
    try:
        run.ask(**wishes)
    except (RunError, OSError) as error:
        tab.tell(str(error))


def _reset(tab: Page, run: Run, press: int) -> None:
    if not tab.is_new(press):
        return
    if run.alive():
        _ask(tab, run, stop=True, pause_at=None)
    own = run.path / "data.npy"
    config = run.config.with_changes({"data": str(own)}) if own.exists() else run.config
    start(tab, config, paused=True)


# -- right: the run, live ----------------------------------------------------------------------------------------------


def at_rest(tab: Page, run: Run) -> None:
    """A run that no one trains: drawn anew when its timeline is moved, and until its projection has come."""
    now(tab, run)
    behind = embeddings(tab, run)
    history_rows(tab, run)
    if behind != tab.behind:
        tab.behind = behind
        st.rerun()


def now(tab: Page, run: Run) -> None:
    """Status, timeline and data space: what changes with every step."""
    status = run.status()
    if tab.state != (run.name, status.state):
        st.rerun()  # the buttons above, and how often the parts below refresh, depend on the state
    seen = history(run)
    status_line(run, status)
    newest = seen.newest()
    done = max(int(newest["step"]) if newest else 0, status.step)
    every = run.config.every(run.config.snapshots)
    wanted = timeline(seen.marks(), done=done, steps=run.config.steps, every=every, key=f"timeline.{run.name}")
    tab.wanted = (run.name, wanted)
    view = newest if wanted is None else seen.at(wanted)
    if view is None:
        with st.container(height=420, border=False):
            st.info("Waiting for the first picture ...", icon=":material/hourglass_top:")
        return
    clouds(run, view)


def shown_step(tab: Page, run: Run, seen: History) -> int | None:
    """The step of the last snapshot that the timeline points at; None before there is one."""
    name, wanted = tab.wanted or (run.name, None)
    steps = [step for step in seen.steps if name != run.name or wanted is None or step <= wanted]
    return steps[-1] if steps else None


def history_rows(tab: Page, run: Run) -> None:
    """Gaps, spectra and scores: what changes with every record."""
    seen = history(run)
    step = shown_step(tab, run, seen)
    if step is not None:
        gaps(seen, run, step)
        spectra(seen, run, step)
        score_table(run, seen, step)


def status_line(run: Run, status: Status) -> None:
    """State, progress, speed, time left and device, in one line."""
    colour, words = STATES[status.state]
    started = next((e for e in reversed(run.records.events) if "device" in e), {})
    parts = [f":{colour}-badge[{words}]", f"step **{status.step:,}** of {status.steps:,}"]
    if status.state == "running" and status.rate:
        parts += [f"{status.rate:.0f} steps/s", f"{_duration(status.seconds_left)} left"]
    elif status.seconds:
        parts += [f"{_duration(status.seconds)} of training"]
    label = Path(run.config.data).name
    parts += [MANIFOLDS[label].title if label in MANIFOLDS else label, started.get("device", "no device yet")]
    st.markdown(" &nbsp;·&nbsp; ".join(parts))
    if status.state == "interrupted":
        st.warning(
            f"The training process ended without a word at step {status.step:,}. Nothing saved is lost: "
            "**Resume** goes on from the last checkpoint.",
            icon=":material/power_off:",
        )
    elif status.state in ("failed", "diverged"):
        st.error(f"{words.capitalize()}: {status.reason}", icon=":material/error:")


def columns_of(run: Run) -> tuple[list[int], list[str], list[str]]:
    """Indices into the variant axis, titles and colours of the columns shown: one seed of at most four variants."""
    config = run.config
    chosen = st.session_state.get(f"columns.{run.name}") or config.variants[:MOST_COLUMNS]
    seed = st.session_state.get(f"seed.{run.name}", config.seeds[0])
    members = [config.members.index((variant, seed)) for variant in config.variants if variant in chosen]
    shown = [config.variants.index(config.members[m][0]) for m in members]
    return members, [plots.title_of(config.variants[i]) for i in shown], [VARIANTS[i % len(VARIANTS)] for i in shown]


def clouds(run: Run, view: dict) -> None:
    """Data space: the reals, the fakes and the generator's grid."""
    members, titles, _ = columns_of(run)
    step = int(view["step"])
    layers = st.session_state.get("layers", ["real", "fake", "grid"])
    real, fake, grid = view["real"], view["fake"][members], view["grid"][members]
    note = ""
    if real.shape[-1] > 3:
        note = f", first three principal components of {real.shape[-1]} dimensions"
        real, fake, grid = _principal(real, fake, grid)
    elif real.shape[-1] == 3:
        note = ", drag to turn"
    heading("Data space", f"step {step:,}{note}")
    panels = plots.cloud(
        real, fake, titles=titles, grid=grid if "grid" in layers else None,
        show_real="real" in layers, show_fake="fake" in layers,
    )  # fmt: skip
    cloud_plot(
        panels, key=f"clouds.{run.name}", height=360, step=step,
        alt=f"Real and generated points in data space at step {step}, one panel per variant: {', '.join(titles)}",
    )  # fmt: skip


def embeddings(tab: Page, run: Run) -> bool:
    """UMAP of the real and fake embeddings: the newest frame up to the shown step; true if a newer is awaited."""
    seen = history(run)
    step = shown_step(tab, run, seen)
    if step is None:
        return False
    members, titles, _ = columns_of(run)
    frame, of = None, 0
    for of in reversed([s for s in seen.steps if s <= step][-40:]):
        frame = read_frame(run.path, of)
        if frame is not None:
            break
    service = projector()
    behind = frame is None or of != step
    if behind:
        service.request(run.path, step, fill=not run.alive())
    if frame is None:
        heading("Embeddings, UMAP", "warming up the projector ..." if not service.ready else "projecting ...")
        frame = np.full((len(run.config.members), 2, 2), np.nan, dtype=np.float32)
    else:
        untrained = "" if METHODS[run.config.method].learns_metric else ", of an untrained network: there is no critic"
        heading("Embeddings, UMAP", f"step {of:,}{untrained}" + (", projecting newer ones ..." if behind else ""))
    cloud_plot(
        plots.planar(frame[members], titles=titles), key=f"umap.{run.name}", height=340, step=of,
        alt=f"UMAP of real and generated embeddings under the learned metric at step {of}, one panel per variant",
    )  # fmt: skip
    return behind


def gaps(seen: History, run: Run, step: int) -> None:
    """The paper's Fig. 7: d_c, d_g and d_H of the embeddings."""
    steps, values = seen.gaps()
    seeds = len(run.config.seeds)
    heading("Gaps under the learned metric", f"median and range of {seeds} seeds" if seeds > 1 else "one seed")
    names = run.config.variants
    figure = plots.curves(
        steps, values, titles=[plots.title_of(name) for name in names], step=step,
        log=st.session_state.get("log", True), colours=[VARIANTS[i % len(VARIANTS)] for i in range(len(names))],
    )  # fmt: skip
    last = (
        {name: ", ".join(f"{x:.3g}" for x in array[-1, :, 0]) for name, array in values.items()} if len(steps) else {}
    )
    live_plot(figure, key=f"gaps.{run.name}", height=300, alt=f"Gaps over training; now {last} for {', '.join(names)}")


def spectra(seen: History, run: Run, step: int) -> None:
    """Eigenvalues of the real embeddings' distance matrix: now, and over training (the paper's Fig. 5)."""
    members, titles, colours = columns_of(run)
    form, log = st.session_state.get("form", "distance"), st.session_state.get("log", True)
    steps, known = seen.spectrum(form)
    if step not in steps:
        return
    shown = known[list(steps).index(step)]
    words = "of D / mean D, by magnitude" if form == "distance" else "of −½ J D² J, as shares of variance"
    heading("Spectrum of the distance matrix", f"ten leading eigenvalues {words}, real points")
    name = run.name
    now = plots.spectrum_now(shown[members], known[0][members], titles=titles, step=step, form=form, colours=colours)
    live_plot(
        now, key=f"spectrum.{name}.{form}", height=250, alt=f"Leading eigenvalues at step {step} and before training"
    )
    over = plots.spectrum_history(steps, known[:, members], titles=titles, step=step, form=form, log=log)
    live_plot(over, key=f"spectra.{name}.{form}", height=270, alt="Leading eigenvalues over training")


def score_table(run: Run, seen: History, step: int) -> None:
    """Scores of the shown step beside their floors, medians over seeds."""
    final = run.scores() if step >= run.config.steps else None
    record = seen.scores(step)
    if final is None and record is None:
        heading("Scores", f"first at step {run.config.every(10):,}")
        return
    rows = final or record["scores"]
    members, names = run.config.members, run.config.variants
    n = rows[0]["n"] if final else 512
    heading("Scores", f"{n:,} fresh points, step {step if final else record['step']:,}; floor: real against real")
    table = {}
    for key in SHOWN_SCORES:
        score = SCORES[key]
        values = [
            _middle([row[key] for row, member in zip(rows, members, strict=True) if member[0] == v]) for v in names
        ]
        floor = 1.0 if key == "w2_ratio" else _middle([row.get(score.floor) for row in rows]) if score.floor else None
        if any(value is not None for value in values):
            table[score.label] = [*map(_number, values), _number(floor), score.meaning]
    columns = [plots.title_of(name) for name in names]
    frame = pd.DataFrame.from_dict(table, orient="index", columns=[*columns, "floor", "meaning"])
    narrow = {name: st.column_config.Column(width=110) for name in ["floor", *columns]}
    st.dataframe(frame, width="stretch", height=35 * (len(frame) + 1) + 3, column_config=narrow)


def heading(title: str, note: str) -> None:
    """A row's title and what is to be known about it."""
    st.markdown(f"**{title}** &nbsp; :gray[{note}]")


def _principal(real: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Everything on the first three principal axes of the reals."""
    centre = real.mean(0)
    axes = np.linalg.svd(real - centre, full_matrices=False)[2][:3].T
    return tuple((array - centre) @ axes for array in (real, *others))


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
