"""Commands in locales that are not UTF-8: what an encoding lacks is printed as a question mark, and logs are UTF-8."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mvm
from mvm.__main__ import main
from mvm.jobs.process import environment, print_any_text
from mvm.runs.recorder import train
from mvm.runs.run import Run

ENCODINGS = ("ascii", "iso8859-1", "iso8859-15", "koi8-r", "cp1252", "big5", "utf-8")
COMMANDS = (
    "train",
    "resume",
    "score",
    "sample",
    "runs",
    "compare",
    "fork",
    "export",
    "claims",
    "prepare",
    "pack",
    "app",
)
NOTE = "α ≤ β: W₂, 漢字 и всё 🎉"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, bytes]]:
    """Run a command in this process, with streams of an encoding: exit status, and the bytes of both streams."""

    def run(encoding: str, *arguments: str) -> tuple[int, bytes]:
        buffer = io.BytesIO()
        with monkeypatch.context() as patch:
            for name in ("stdout", "stderr"):
                patch.setattr(sys, name, io.TextIOWrapper(buffer, encoding=encoding, write_through=True))
            try:
                status = main(list(arguments))
            except SystemExit as leaving:
                status = int(leaving.code or 0)
            content = buffer.getvalue()
            sys.stdout.detach()
            sys.stderr.detach()
        return status, content

    return run


def expected(text: bytes, encoding: str) -> bytes:
    """The output in UTF-8 in another encoding."""
    return text.decode().encode(encoding, "replace")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_help_is_printed(printed: Callable, encoding: str) -> None:
    for command in COMMANDS:
        status, text = printed("utf-8", command, "--help")
        assert printed(encoding, command, "--help") == (status, expected(text, encoding))
        assert status == 0


def test_what_a_person_has_written_is_printed(printed: Callable, make: Callable[..., Run]) -> None:
    run = make("noted", 20)
    for _ in train(run):
        pass
    run.write_note(NOTE)
    for arguments in (["runs"], ["runs", "--json"], ["score", "noted"], ["compare", "noted"], ["note", "noted", NOTE]):
        status, text = printed("utf-8", *arguments)
        assert status == 0
        for encoding in ENCODINGS:
            assert printed(encoding, *arguments) == (0, expected(text, encoding))
    assert NOTE in printed("utf-8", "runs")[1].decode()


@pytest.mark.parametrize("value", ["ψ.csv", "数据.npy", "fa\udce7ade.csv", "\ud800.npy"])
def test_an_error_names_what_the_locale_cannot(printed: Callable, value: str) -> None:
    for encoding in ENCODINGS:
        status, text = printed(encoding, "train", "--data", value)
        assert status == 2
        assert text.count(b"\n") == 1
        assert b"mvm: " in text


def test_an_error_handler_that_was_chosen_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    for errors, seen in (("strict", b"?"), ("backslashreplace", b"\\u03b1"), ("xmlcharrefreplace", b"&#945;")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors, write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)
        print_any_text()
        print("α", end="")
        assert stream.buffer.getvalue() == seen


def test_no_stream_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mvm runs >&-` has none."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["runs"]) == 0


def test_a_rebuild_prints_in_any_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "φ"
    folder.mkdir()
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    assert mvm.rebuild(folder) == 2
    assert b"/? has no recipe" in stream.buffer.getvalue()


@pytest.mark.parametrize("chosen", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1:strict"}])
def test_a_background_process_logs_in_utf_8(tmp_path: Path, chosen: dict[str, str], monkeypatch) -> None:
    for name, value in ({"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} | chosen).items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "log"
    with log.open("wb") as file:
        code = f"import sys; print({NOTE!a}); print({NOTE!a} + chr(0xdce9), file=sys.stderr)"
        subprocess.run([sys.executable, "-c", code], env=environment(), stdout=file, stderr=file, check=True)
    assert log.read_text(encoding="utf-8") == f"{NOTE}\n{NOTE}\\udce9\n"


def test_the_command_itself_prints_in_a_locale_without_greek() -> None:
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-m", "mvm", "train", "--help"], env=ascii_only, capture_output=True)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert not done.stderr
    assert b"Adam ?? ?? of the generator" in done.stdout
