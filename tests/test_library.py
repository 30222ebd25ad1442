"""Keeping house from the command line: list, compare, note, rename, delete."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mvm.files import locked
from mvm.runs.recorder import train
from mvm.runs.run import Run


@pytest.fixture
def two(make) -> tuple[Run, Run]:
    """A finished run and one that is new."""
    first = make("first", 40)
    for _ in train(first):
        pass
    return first, make("second", 80, batch=32)


def listed(cli, *arguments: str) -> list[str]:
    return [row["name"] for row in json.loads(cli("runs", "--json", *arguments).out)]


def test_the_list_can_be_searched_and_sorted(two, cli):
    assert listed(cli) == ["second", "first"]
    assert listed(cli, "--reverse") == ["first", "second"]
    assert listed(cli, "--sort", "name") == ["first", "second"]
    assert listed(cli, "--sort", "quality") == ["first", "second"]
    assert listed(cli, "--sort", "quality", "--reverse") == ["first", "second"]  # what has no score comes last
    assert listed(cli, "--find", "finished CENTROID") == ["first"]
    header = cli("runs").out.splitlines()[0].split()
    assert header[:4] == ["name", "status", "step", "quality"]
    assert all(cli("runs", "--sort", column).status == 0 for column in header[:4])
    row = json.loads(cli("runs", "--json", "--find", "first").out)[0]
    best = min(two[0].scores(), key=lambda scores: scores["w2_ratio"])
    assert (row["best"], row["quality"]) == (best["variant"], best["w2_ratio"])
    assert cli("runs", "--find", "no such").out == "no run has all these words\n"
    refused = cli("runs", "--sort", "beauty")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "sort: unknown column 'beauty'; known: name, status, step" in refused.err


@pytest.mark.parametrize(
    "hostile", ["\x1b[2J\x1b[31mred", "\x1b]0;title\x07\rfinished", "\x9b31m\u202etxt.exe", "a\u2028b\x08\x08c\x7f"]
)
def test_no_word_of_a_run_steers_the_terminal(make, cli, checkpoints, hostile):
    make("mine")
    foreign = make("foreign").path
    config = json.loads((foreign / "config.json").read_text())
    (foreign / "config.json").write_text(json.dumps(config | {"data": f"{hostile}.csv"}))
    (foreign / "note.txt").write_text(f"{hostile}\n\tsecond line", encoding="utf-8")
    (foreign / "fork.json").write_text(json.dumps({"run": hostile, "step": 0, "changes": {}}))
    started = {"step": 0, "event": "started", "time": 0.0, "device": hostile}
    with (foreign / "scalars.jsonl").open("a") as records:
        records.write(json.dumps(started) + "\n")
        records.write(json.dumps({"step": 1, "event": "failed", "time": 1.0, "reason": hostile}) + "\n")
    (checkpoints / "lost").symlink_to(hostile)
    seen = [
        cli("runs"), cli("compare", "mine", "foreign"), cli("note", "foreign"), cli("note", "lost"),
        cli("score", "foreign"), cli("pack", "foreign", "--out", "none/foreign.zip"),
        cli("delete", "foreign", "lost", "--yes"),
    ]  # fmt: skip
    printed = "".join(result.out + result.err for result in seen)
    assert all(c == "\n" or (c.isprintable() and c != "\u202e") for c in printed)
    runs, compared, note = (result.out for result in seen[:3])
    assert "\ufffd" in runs
    assert "\ufffd" in compared
    assert note.endswith("\n        second line\n")
    assert "lost" in seen[3].err
    assert not (checkpoints / "foreign").exists()


def test_a_reader_that_has_seen_enough_is_no_error(two, checkpoints):
    command = f"{sys.executable} -m mvm runs | head -0; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_runs_are_compared_on_one_screen(two, cli):
    told = cli("compare", "first", "second", "--baseline", "first")
    assert told.status == 0
    lines = told.out.splitlines()
    assert lines[1].split()[-2:] == ["+0%", "1"], "the change, and one network evaluation for a sample"
    assert lines[3].split()[-2:] == ["-", "1"]  # it has no scores yet
    assert "batch" in lines
    assert [line.split() for line in lines[lines.index("batch") + 1 :][:2]] == [["first", "16"], ["second", "32"]]
    found = json.loads(cli("compare", "first", "second", "--json").out)
    assert found["differs"]["batch"] == ["16", "32"]
    assert found["series"][0]["quality"] == pytest.approx(two[0].scores()[0]["w2_ratio"])
    assert found["series"][2]["quality"] is None


def test_a_baseline_joins_the_table(two, cli):
    lines = cli("compare", "second", "--baseline", "first").out.splitlines()
    assert sum(line.split()[-2] in ("+0%", "-") for line in lines[1:5]) == 4
    assert [line.split()[0] for line in lines[lines.index("batch") + 1 :][:2]] == ["second", "first"]


def test_scores_before_the_end_are_marked(two, cli, checkpoints):
    assert cli("runs", "--find", "first").out.splitlines()[1].split()[3][0].isdigit()
    (checkpoints / "first" / "scores.json").unlink()
    assert cli("runs", "--find", "first").out.splitlines()[1].split()[3].startswith("~")


def test_a_run_that_cannot_be_read_is_told_and_can_be_deleted(two, cli, checkpoints):
    (checkpoints / "first" / "config.json").write_text("{")
    told = cli("runs")
    assert told.out.count("\n") == 2  # the head, and the other one
    assert told.err.startswith("mvm: run: first's config.json cannot be read: ")
    assert told.err.endswith("; `python -m mvm delete first` removes it\n")
    with locked(checkpoints / "first" / "lock"):
        assert cli("delete", "first", "--yes").err == "mvm: run: first is being trained; stop it before you delete it\n"
    assert cli("delete", "first", "second", "--yes").out == "first: deleted\nsecond: deleted\n"
    assert cli("runs").err == ""
    assert not (checkpoints / "first").exists()


def test_a_note_is_written_printed_and_in_the_list(two, cli):
    assert cli("note", "first").out == "first has no note\n"
    assert cli("note", "first", "γ = 0\nsecond line").status == 0
    assert cli("note", "first").out == "γ = 0\nsecond line\n"
    assert "# γ = 0\n" in cli("runs").out
    assert cli("note", "first", "").status == 0
    assert cli("note", "first").out == "first has no note\n"


def test_rename_and_delete(two, cli, checkpoints, monkeypatch):
    assert cli("rename", "first", "best").out == "first: now best\n"
    assert "'second' exists" in cli("rename", "best", "second").err
    assert "say --yes" in cli("delete", "best", "second").err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer, said in (("", "nothing is deleted\n"), ("y", "best: deleted\n")):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert cli("delete", "best").out == said
    with locked(checkpoints / "second" / "lock"):
        refused = cli("delete", "second", "--yes")
        assert (refused.status, "stop it before you delete it" in refused.err) == (2, True)
    assert cli("delete", "second", "--yes").status == 0
    assert [path.name for path in checkpoints.glob("[!.]*")] == []
