"""The list of all runs: right whatever has become of its cache."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from pages import train_faces

from mvm.data.kinds import KINDS
from mvm.files import append_line, locked
from mvm.runs.fork import fork
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.studies import index
from mvm.studies.index import run_titles, summaries, unreadable
from mvm.studies.labels import own_title, run_title


@pytest.fixture
def trained(make) -> Run:
    run = make("a", 40, seeds=(0, 1), checkpoints=2)
    for _ in train(run):
        pass
    return run


def test_a_row_says_what_the_run_says(trained, make):
    trained.write_note("the first")
    make("b", 40, method="wgan", variants=("wgan",))
    other, row = summaries()
    assert (other.name, other.status, other.step, other.method, other.quality) == ("b", "new", 0, "wgan", None)
    status, scores = trained.status(), trained.scores()
    assert (row.name, row.status, row.step, row.steps) == ("a", "finished", 40, 40)
    assert (row.data, row.title, row.kind) == (trained.config.data, "cloud.csv", "points")
    assert (row.variants, row.seeds) == (["centroid", "both"], [0, 1])
    assert (row.seconds, row.device, row.note, row.fork_of) == (status.seconds, "CPU", "the first", None)
    means = {v: sum(s["w2_ratio"] for s in scores if s["variant"] == v) / 2 for v in ("centroid", "both")}
    assert row.best == min(means, key=means.get)
    assert row.quality == pytest.approx(min(means.values()))
    assert row.coverage == pytest.approx(sum(s["coverage"] for s in scores if s["variant"] == row.best) / 2)
    assert row.created == trained.records.poll().events[0].clock
    assert other.created == (Run.named("b").path / "config.json").stat().st_mtime, "it has not begun"


def test_what_changes_on_disk_changes_in_the_list(trained):
    def seen():
        (row,) = [row for row in summaries() if row.name == "a"]
        return row

    assert seen().note == ""
    trained.write_note("new")
    assert seen().note == "new"
    with locked(trained.path / "lock"):
        assert seen().status == "starting"
    append_line(trained.path / "scalars.jsonl", {"step": 41, "event": "failed", "reason": "no disk", "time": 1.0})
    assert (seen().status, seen().reason, seen().step) == ("failed", "no disk", 41)
    made = fork(trained, 20, {"mvm.gamma": 0.5})
    row = next(row for row in summaries() if row.name == made.name)
    assert (row.fork_of, row.status, row.step) == ("a, step 20", "new", 20)
    trained.rename("z").delete()
    assert [row.name for row in summaries()] == [made.name]


def test_what_became_of_each_generator_is_counted_as_it_was_last_said(trained):
    def says(step, member, what):
        words = {"step": step, "event": "member", "member": member, "variant": "both", "seed": 0, "what": what}
        append_line(trained.path / "scalars.jsonl", words)
        (row,) = summaries()
        assert (row.status, row.step) == ("finished", step)
        return row.lost

    assert summaries()[0].lost == ""
    assert says(41, 3, "diverged") == "1 of 4 diverged"
    assert says(42, 0, "collapsed") == "1 of 4 collapsed, 1 of 4 diverged"
    assert says(43, 1, "diverged") == "1 of 4 collapsed, 2 of 4 diverged"
    assert says(44, 0, "recovered") == "2 of 4 diverged"
    assert [row.name for row in summaries() if row.matches("diverged")] == ["a"]


@pytest.mark.parametrize("spoil", ["gone", "cut", "number", "list", "of other columns"])
def test_the_cache_may_be_lost_or_damaged_at_any_time(trained, checkpoints, spoil):
    before = summaries()
    cache = checkpoints / ".index.json"
    whole = cache.read_bytes()
    older = json.loads(whole)
    older["a"]["row"]["beauty"] = older["a"]["row"].pop("title")
    contents = {"cut": whole[:-9], "number": b'{"a": 3}', "list": b"[]", "of other columns": json.dumps(older).encode()}
    cache.unlink() if spoil == "gone" else cache.write_bytes(contents[spoil])
    assert summaries() == before
    assert cache.read_bytes() == whole


def test_nothing_is_read_twice(trained, make, monkeypatch):
    make("b")
    rows, read = summaries(), []
    original = index._row
    monkeypatch.setattr(index, "_row", lambda path: read.append(path.name) or original(path))
    assert summaries() == rows
    assert read == []
    trained.write_note("x")
    summaries()
    assert read == ["a"]


def test_what_is_no_run_is_passed_over_and_what_does_not_fit_is_named(trained, checkpoints):
    for name, text in (("cut", "{"), ("later", '{"schema_version": 99}')):
        (checkpoints / name).mkdir()
        (checkpoints / name / "config.json").write_text(text)
    shutil.copytree(trained.path, checkpoints / "foreign")
    append_line(checkpoints / "foreign" / "scalars.jsonl", {"step": "x", "seconds": 1.0, "d_c": [1.0] * 4})
    (checkpoints / "claims").mkdir()
    damage = {row.name: row.damage for row in summaries()}
    assert damage.pop("a") == ""
    assert damage == {"foreign": "1 line of scalars.jsonl passed over: step: must be a whole number (got 'x')"}
    assert {name: why.damaged for name, why in unreadable().items()} == {"cut": True, "later": False}


def test_no_folder_is_no_run():
    assert summaries() == []


def test_words_are_looked_for_everywhere(trained):
    trained.write_note("Too SMALL")
    (row,) = summaries()
    assert row.matches("")
    assert row.matches("finished small CLOUD both")
    assert not row.matches("small swiss")


def test_pictures_have_a_quality_of_their_own(checkpoints):
    path = checkpoints / "faces"
    train_faces(path)
    (row,) = summaries()
    scores = {s["variant"]: s for s in json.loads((Path(path) / "scores.json").read_text())}
    ratios = {v: s["faces.fd"] / s["faces.fd_floor"] for v, s in scores.items()}
    assert (row.kind, row.title, row.best) == ("images", "Toy faces", min(ratios, key=ratios.get))
    assert row.quality == pytest.approx(min(ratios.values()))
    assert row.recall == scores[row.best]["faces.recall"]


def test_a_run_is_called_by_what_was_trained_or_as_a_person_named_it(make):
    """Data, variants or method, recipe if it is not the default, and the time; no two are called the same."""
    noon = datetime.now().replace(hour=12, minute=30, second=5, microsecond=0)
    begun = {
        "circle-1128-100247-dd9c": noon,
        "circle-1128-100247-aaaa": noon.replace(second=7),
        "cloud-0102-030405-beef": datetime(2020, 1, 2, 3, 4),
        "peer-1128-100247-0001": noon,
        "peer-1128-100247-0001-fork20": noon,
        "peer-1128-100247-0002": noon,
        "my-1128-run": noon,
        "rates-1128-100247-0003": noon,
    }
    fields = {"circle-1128-100247-dd9c": {"data": "circle", "variants": ("both",)}}
    fields["circle-1128-100247-aaaa"] = fields["circle-1128-100247-dd9c"]
    fields["cloud-0102-030405-beef"] = {"variants": ("centroid", "diameter", "both", "hausdorff"), "recipe": "paper"}
    rates = [f"both@optimiser.generator_lr={rate}" for rate in (0.001, 0.01)]
    fields["rates-1128-100247-0003"] = {"variants": (*rates, "centroid")}
    fields |= {name: {"method": "wgan_gp", "variants": ("wgan_gp",)} for name in begun if "peer" in name}
    for name, when in begun.items():
        os.utime(make(name, **fields.get(name, {})).path / "config.json", (when.timestamp(),) * 2)
    titles = run_titles(summaries())
    assert titles == {
        "circle-1128-100247-dd9c": "Circle · both descriptors · 12:30:05",
        "circle-1128-100247-aaaa": "Circle · both descriptors · 12:30:07",
        "cloud-0102-030405-beef": "cloud.csv · centroid, 2-diameter, both and 1 more · paper's recipe · "
        "2 Jan 2020 03:04",
        "peer-1128-100247-0001": "cloud.csv · WGAN-GP · 12:30:05 (peer-1128-100247-0001)",
        "peer-1128-100247-0001-fork20": "cloud.csv · WGAN-GP · 12:30:05 (peer-1128-100247-0001-fork20)",
        "peer-1128-100247-0002": "cloud.csv · WGAN-GP · 12:30:05 (peer-1128-100247-0002)",
        "my-1128-run": "my-1128-run",
        "rates-1128-100247-0003": "cloud.csv · both with 2 settings, centroid · 12:30",
    }
    config = Run.named("rates-1128-100247-0003").config
    assert own_title(config, rates[0]) == own_title(config, rates[0], beside=config.variants)
    assert own_title(config, rates[0]) == "both, generator rate 0.001"
    assert own_title(config, rates[0], beside=rates) == "generator rate 0.001", "what they share is left out"
    assert run_title(Run.named("circle-1128-100247-dd9c")) == "Circle · both descriptors · 12:30"
    assert run_title(Run.named("my-1128-run")) == "my-1128-run"


def test_the_kinds_that_are_known_without_loading_them_are_kinds():
    assert {*index.SHIPPED} <= {*KINDS}
