"""Pictures upscaled by every chosen setting, bicubic interpolation and the original, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import streamlit as st

from app.caches import runs
from app.columns import columns_of
from app.components.compare_pictures import ComparedPicture, compare_pictures
from app.header import draw_status
from app.link import linked
from app.live import draw_heading, rerun_if_changed
from app.session import Page
from app.text import first_lines, plain
from app.upscaling import (
    MOST_PIXELS,
    PHOTOGRAPHS,
    Scene,
    Upscaled,
    Upscaling,
    has_distances,
    own_scene,
    photograph,
    png_of,
    request,
)
from mvm.errors import ConfigError, RunError
from mvm.runs.layout import CHECKPOINT
from mvm.runs.run import Run, Status
from mvm.scoring.superres import SUPERRES_SCORES
from mvm.studies.labels import own_title

__all__ = ["draw_pictures"]

OWN = "Own picture"
BICUBIC, ORIGINAL = "Bicubic", "Original"
MOST_SHOWN = 1024  # pixels each way that the browser gets
MOST_OTHERS, MOST_CHOSEN = 2, 6  # settings of other runs that are compared: at first, and at most
UNITS = {"psnr_y": " dB", "psnr_rgb": " dB"}  # scores below a picture, with their units
DIGITS = {"psnr_y": 2, "psnr_rgb": 2, "ssim_y": 4, "niqe": 2, "vgg16_hed": 3, "lpips": 3}
MULTISELECT = 460  # pixels: beside the photographs, or below them in a narrow window
POLL = 0.4  # seconds, while pictures are upscaled
FOLLOW = 5.0  # seconds between looks for a newer checkpoint of a training


@dataclass(frozen=True)
class Setting:
    """A trained generator.

    Attributes:
        run: that has trained it.
        member: place on its variant axis.
    """

    run: Run
    member: int

    @property
    def key(self) -> str:
        """Name in a link."""
        variant, seed = self.run.config.members[self.member]
        return f"{self.run.name}/{variant}/{seed}"

    @property
    def title(self) -> str:
        """Method, run, and seed if there are several; may contain words from outside."""
        config = self.run.config
        variant, seed = config.members[self.member]
        return f"{own_title(config, variant)}{f', seed {seed}' * (len(config.seeds) > 1)} · {self.run.name}"


def draw_pictures(tab: Page, run: Run | None, status: Status) -> None:
    """Draw the choice of a picture and of settings, and the pictures."""
    if run is not None:
        every = 1.0 if status.alive else 3.0
        st.fragment(draw_state, run_every=every)(tab, run)
    with st.container(horizontal=True, gap="medium"):
        name = choose_name(tab)
        settings = choose_settings(tab, run)
    scene = own_picture(tab) if name == OWN else photograph(name)
    if scene is None:
        return
    if scene.high is not None and perceptual_toggle(tab):
        scene = scene.with_distances()
    if not settings:
        st.info(
            "No network is trained yet, so bicubic interpolation stands beside the original. **Train** with the "
            "settings on the left: after some minutes on two CPU cores the default is clearly sharper.",
            icon=":material/model_training:",
        )
    pending = any(not work.result.done() for work in works_on(scene, settings).values())
    alive = any(setting.run.status().alive for setting in settings)
    every = POLL if pending else FOLLOW if alive else None
    st.fragment(draw_comparison, run_every=every)(scene, settings, pending)


def draw_state(tab: Page, run: Run) -> None:
    """Draw the status of the shown run; rerun the page when its state is another."""
    draw_status(run, rerun_if_changed(tab, run))


def choose_name(tab: Page) -> str:
    """Draw the choice of a photograph, or `OWN`."""
    return linked(
        st.segmented_control, "Picture", [*PHOTOGRAPHS, OWN], default=PHOTOGRAPHS[0], required=True,
        key=tab.key("picture"),
        help="four photographs of scikit-image that no training sees, shrunk to a quarter; or a picture of yours",
    )  # fmt: skip


def own_picture(tab: Page) -> Scene | None:
    """Draw the upload of a picture; None without one."""
    upload = st.file_uploader(
        "Picture file", key=tab.key("own"),
        help=f"at most {MOST_PIXELS / 1e6:.1f} megapixels, or 16 times as many if it is shrunk first; it stays on the "
        "machine that runs the app",
    )  # fmt: skip
    shrink = linked(
        st.toggle, "Shrink it first, to compare with the original", True, key=tab.key("shrink"),
        help="on: a quarter of its height and width is upscaled, and scored against the picture itself. off: the "
        "picture is upscaled as it is, and no original is known",
    )  # fmt: skip
    if upload is None:
        st.caption("Drop in a photograph, such as PNG, JPEG, WebP or TIFF.")
        return None
    try:
        return own_scene(upload.name, upload.getvalue(), shrink=shrink)
    except ConfigError as error:
        st.error(plain(error), icon=":material/error:")
        return None


def perceptual_toggle(tab: Page) -> bool:
    """Draw the choice of perceptual distances where there is a network for them; return it."""
    if not has_distances():
        return False
    score = SUPERRES_SCORES["vgg16_hed"]
    return linked(
        st.toggle, "Perceptual distance", False, key=tab.key("perceptual"),
        help=f"below each picture also {plain(score.label)}: {plain(score.meaning)}. "
        "A CPU core needs about 15 seconds for each megapixel",
    )  # fmt: skip


def choose_settings(tab: Page, shown: Run | None) -> list[Setting]:
    """Draw the choice of settings of other runs; return those of the shown run, then these."""
    known = [
        Setting(run, member)
        for run in runs(tab.kind).values()
        if (run.path / CHECKPOINT).exists()
        for member in range(len(run.config.members))
    ]
    own = [] if shown is None else columns_of(shown).members
    settings = [setting for setting in known if setting.run is shown and setting.member in own]
    others = {setting.key: setting for setting in known if setting.run is not shown}
    if not others:
        return settings
    chosen = linked(
        st.multiselect, "Compare with", list(others), default=list(others)[:MOST_OTHERS], key=tab.key("with"),
        format_func=lambda key: others[key].title if key in others else key, max_selections=MOST_CHOSEN,
        width=MULTISELECT,
        help="further trained settings; the shown run is always compared, each by its last checkpoint",
    )  # fmt: skip
    return settings + [others[key] for key in chosen if key in others]


def works_on(scene: Scene, settings: Sequence[Setting]) -> dict[Setting, Upscaling]:
    """Work on a picture by every setting that has a checkpoint."""
    works = {}
    for setting in settings:
        try:
            works[setting] = request(setting.run, setting.member, scene)
        except RunError:
            continue  # it has just been deleted
    return works


def draw_comparison(scene: Scene, settings: Sequence[Setting], was_pending: bool) -> None:
    """Draw progress, pictures and downloads; rerun the page when the last picture is there, or anew in work."""
    works = works_on(scene, settings)
    pending = any(not work.result.done() for work in works.values())
    if pending != was_pending:
        st.rerun()
    kept, names = st.session_state.setdefault("_upscaled", {}), {}
    found: dict[str, Upscaled] = {BICUBIC: _bicubic(scene.digest, scene)}
    for setting, work in works.items():
        if not work.result.done():
            st.progress(work.share, text=f"{plain(setting.title)}: upscaling ...")
        elif error := work.result.exception():
            st.error(f"{plain(setting.title)}: {plain(error)}", icon=":material/error:")
            continue
        else:
            kept[setting.key] = (scene.digest, work.result.result())
        digest, newest = kept.get(setting.key, ("", None))  # by an earlier checkpoint, until a newer one's is there
        if digest == scene.digest:
            found[setting.title] = newest
            names[setting.title] = setting.run.name
    st.session_state["_upscaled"] = {key: kept[key] for key in (setting.key for setting in works) if key in kept}
    draw_panels(scene, found)
    with st.container(horizontal=True, gap="small"):
        for title, run in names.items():
            st.download_button(
                f"×4 by {plain(title)}", partial(png_of, found[title]), file_name=f"{_stem(scene.name)}-x4-{run}.png",
                mime="image/png", icon=":material/download:", on_click="ignore", key=f"superres.download.{title}",
                help="the whole upscaled picture as a PNG",
            )  # fmt: skip


def draw_panels(scene: Scene, found: dict[str, Upscaled]) -> None:
    """Draw the upscaled pictures and the original, with one zoom for all."""
    (height, width), window = scene.size, _window(scene.size)
    part = window[0].stop - window[0].start, window[1].stop - window[1].start
    note = f"{width} × {height} pixels"
    if part != (height, width):
        note += f"; shown is the middle, {part[1]} × {part[0]}; scores and downloads are of the whole"
    draw_heading("Upscaled ×4", note)
    for line in first_lines(scene.notes):
        st.caption(plain(line))
    best = _best(found)
    panels = [
        ComparedPicture(title, upscaled.values[window], *_score_lines(upscaled, best))
        for title, upscaled in found.items()
    ]
    if scene.high is not None:
        panels.append(ComparedPicture(ORIGINAL, scene.high[window], ("what all should look like",), (False,)))
    last = len(panels) - 1
    compare_pictures(
        panels, key="superres.pictures", scene=scene.digest, reference=last if scene.high is not None else 0, before=0,
        after=min(1, last), alt=f"{scene.name}, upscaled by {', '.join(found)}",
    )  # fmt: skip
    if scene.high is not None:
        st.caption(
            "Best in bold. PSNR and SSIM against the original, higher is better: Y is brightness alone, RGB all "
            "colours. NIQE needs no original, lower is more like natural photographs. An adversarial or perceptual "
            "loss looks sharper, and scores lower in PSNR and SSIM."
        )
    else:
        st.caption("No original is known, so there are no scores; the difference is to bicubic interpolation.")


@st.cache_resource(max_entries=8, show_spinner=False)
def _bicubic(digest: str, _scene: Scene) -> Upscaled:
    return _scene.bicubic()


def _window(size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns in the middle of a picture that the browser gets."""
    starts = [max(0, (side - MOST_SHOWN) // 2) for side in size]
    rows, columns = (slice(start, min(side, start + MOST_SHOWN)) for start, side in zip(starts, size, strict=True))
    return rows, columns


def _best(found: dict[str, Upscaled]) -> dict[str, float]:
    """The best value of each score among several pictures."""
    scores = [upscaled.scores for upscaled in found.values() if upscaled.scores is not None]
    known = {key: [row[key] for row in scores if row.get(key) is not None] for key in DIGITS}
    best = {key: max if SUPERRES_SCORES[key].direction == "higher" else min for key in DIGITS}
    return {key: best[key](values) for key, values in known.items() if len(values) > 1}


def _score_lines(upscaled: Upscaled, best: dict[str, float]) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Scores of a picture as lines, and whether each is the best."""
    scores = upscaled.scores or {}
    shown = {key: value for key in DIGITS if (value := scores.get(key)) is not None}
    lines = [
        f"{SUPERRES_SCORES[key].label} {value:.{DIGITS[key]}f}{UNITS.get(key, '')}" for key, value in shown.items()
    ]
    return tuple(lines), tuple(value == best.get(key) for key, value in shown.items())


def _stem(name: str) -> str:
    """A file's name without its ending, of letters that every system allows."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name.rsplit(".", 1)[0])[:60] or "picture"
