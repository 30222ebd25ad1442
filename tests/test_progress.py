"""Progress bars: on a terminal they show what was reported, elsewhere nothing."""

from __future__ import annotations

import io
import sys

import pytest

from mvm.commands.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_how_much_is_done_of_how_much_and_of_what(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar("step") as report:
        report(3, 8)
        report(8, 8, "last")
    assert "8/8" in terminal.getvalue()
    assert "last" in terminal.getvalue()


def test_elsewhere_there_is_no_bar(capsys: pytest.CaptureFixture) -> None:
    with progress_bar("B", layout="{desc:10}{bar}") as report:
        report(3, 8, "first")
    assert capsys.readouterr().err == ""
