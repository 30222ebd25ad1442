"""State of one browser tab: the run that each page shows, the last click, the notice at the top.

Closing the tab loses nothing else: runs live on disk.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.components.picture_grid import Picked
from app.kinds import PAGES
from app.text import plain

__all__ = ["MovableWidgets", "Page", "Tab", "page"]

NOTICE_SECONDS = 20
PAINT_SECONDS = 1.0  # a browser on two cores paints the clouds in it


@dataclass
class Tab:
    """State of one page in one browser tab.

    Callbacks of buttons receive it as an argument. Streamlit may interrupt a callback at every access to
    `st.session_state`, after a run was made and before its name was kept; access to plain attributes is never
    interrupted.

    Attributes:
        presses: number of presses served; Streamlit may call a callback twice for one press.
        notice: last notice: text, time in seconds since the epoch, and whether it reports a success.
    """

    presses: int = 0
    notice: tuple[str, float, bool] = ("", 0.0, False)

    def serve(self, press: int) -> bool:
        """Mark a press as served; False if it was served before."""
        fresh = press == self.presses
        self.presses += fresh
        return fresh

    def notify(self, text: str, *, good: bool = False) -> None:
        """Show one line at the top from the next rerun on: an error, or a success if `good`."""
        self.notice = (text, time.time(), good)

    def draw_notice(self) -> None:
        """Draw the last notice, for `NOTICE_SECONDS`."""
        text, when, good = self.notice
        if text and time.time() - when < NOTICE_SECONDS:
            (st.success if good else st.error)(plain(text), icon=f":material/{'check' if good else 'error'}:")


@dataclass(frozen=True)
class MovableWidgets:
    """Settings that may be moved while training, as widgets show them: weights, rates, coefficients of losses.

    Attributes:
        method: that they are settings of.
        values: value by the prefix of its widget's key and the dotted name of the setting.
    """

    method: str
    values: dict[tuple[str, str], Any]

    def moved_since(self, before: MovableWidgets) -> dict[str, Any]:
        """Values, by dotted name, of the widgets that showed another one before; new widgets were not moved."""
        return {key[1]: value for key, value in self.values.items() if value != before.values.get(key, value)}


@dataclass
class Page(Tab):
    """State of the page of one kind of data in one browser tab.

    Attributes:
        kind: of the data of its runs, a name in `app.kinds.PAGES`.
        run: name of the shown run; None before the first is chosen.
        turn: number of changes of the shown run; keys of widgets that belong to one run contain it.
        state: run and state that the page was drawn for.
        cursor: run and step that its timeline points at; None for the newest step.
        playing: whether its timeline plays.
        behind: whether a newer projection is awaited.
        movable: settings, as the sidebar showed them at the last rerun; None before the first.
        picked: run and the picture of it that was clicked last.
        enlarged: key of the panel that fills the page; None for all panels.
        single: whether the page was drawn for a single column.
        question: run, and what is to be confirmed for it: "stop" or "reset"; None while nothing is.
        wants_training: whether Train was pressed, and its run is still to be made, of the settings on the screen.
        sought: run, number of the wish, and step that its timeline is to go to; None for its newest step.
        seen: whether the browser was left to paint this page.
    """

    kind: str = "points"
    run: str | None = None
    turn: int = 0
    state: tuple[str | None, str] = (None, "new")
    cursor: tuple[str, int | None] | None = None
    playing: bool = False
    behind: bool = False
    movable: MovableWidgets | None = None
    picked: tuple[str, Picked] | None = None
    enlarged: str | None = None
    single: bool = False
    question: tuple[str, str] | None = None
    wants_training: bool = False
    sought: tuple[str, int, int | None] | None = None
    seen: bool = False

    def let_paint(self) -> None:
        """Leave a browser that opens this page `PAINT_SECONDS` for what was drawn, before it gets more to draw.

        It paints only once it has laid out all that it got: six charts and seventy widgets.
        """
        if not self.seen:
            self.seen = True
            time.sleep(PAINT_SECONDS)

    def key(self, name: str) -> str:
        """Key of a widget that the page of every kind has; it is also its parameter in the URL."""
        return PAGES[self.kind].prefix + name

    def setting(self, name: str, default: Any) -> Any:
        """Value of the widget of this name; never to be read in a callback."""
        return st.session_state.get(self.key(name), default)

    def show(self, run: str) -> None:
        """Show this run from the next rerun on."""
        if run != self.run:
            self.run, self.turn = run, self.turn + 1

    def seek(self, step: int | None) -> None:
        """Move the shown run's timeline to a step; None for the newest."""
        if self.run is not None:
            self.sought = (self.run, self.sought[1] + 1 if self.sought else 1, step)

    def pick(self, run: str, picked: Picked | None) -> None:
        """Keep a component's last click if it is newer than the known one."""
        known = self.picked_of(run)
        if picked is not None and (known is None or picked.when > known.when):
            self.picked = (run, picked)

    def picked_of(self, run: str) -> Picked | None:
        """The picture of this run that was clicked last."""
        return self.picked[1] if self.picked and self.picked[0] == run else None


def page(kind: str) -> Page:
    """This tab's state of the page of a kind of data."""
    return st.session_state.setdefault(f"_page.{kind}", Page(kind=kind))
