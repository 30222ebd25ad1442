"""Trainings that are killed, paused, reweighted, fed garbage and starved of disk: nothing saved is lost or changed."""

import errno
import json
import os
import re
import shutil
import threading
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from trainers import dies, small_config, small_disk, until, write_cloud

from mvm.__main__ import main
from mvm.errors import Stopped
from mvm.files import append_line, beside, write_tensors
from mvm.runs.events import MemberChanged, NotCaptured, WeightsChanged, why_not_captured
from mvm.runs.layout import frame_path
from mvm.runs.recorder import Recorder, train
from mvm.runs.run import Control, Run
from mvm.runs.writer import Writer
from mvm.training.experiment import Experiment, fit
from mvm.training.graph import EAGER_STEPS

STEPS = 300  # records every 10, checkpoints every 50, snapshots every 20, scores every 30 steps
PLAN = {"steps": STEPS, "checkpoints": 6, "snapshots": 15}
COST = ("seconds", "memory")
SAVED = ("checkpoint.safetensors", "best.safetensors", "scores.json")


def train_to_the_end(run):
    assert main(["train", "--run", str(run.path)]) == 0
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return train_to_the_end(Run.create(small_config(write_cloud(folder / "cloud.csv"), **PLAN), path=folder / "run"))


def history(run):
    """All records but time and memory taken, and all events but those of the process."""
    records = Run(run.path).records.poll()
    scalars = [{key: value for key, value in record.items() if key not in COST} for record in records.scalars]
    return scalars, records.scores, [event for event in records.events if event.clock is None]


def assert_same(run, other):
    """Weights, moments, averages, best generators, records, scores and snapshots: bit for bit."""
    for best in (False, True):
        ours, theirs = run.checkpoint(best=best), other.checkpoint(best=best)
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert history(run) == history(other)
    assert run.snapshot_steps() == other.snapshot_steps()
    files = [run.snapshot_path(step).relative_to(run.path) for step in run.snapshot_steps()]
    differing = [
        str(file) for file in [*SAVED, *files] if (run.path / file).read_bytes() != (other.path / file).read_bytes()
    ]
    assert differing == []


def names(run):
    return [event.event for event in Run(run.path).records.poll().events]


# -- killed ------------------------------------------------------------------------------------------------------------


def test_the_undisturbed_run_is_what_the_other_tests_compare_with(whole):
    scalars, scores, events = history(whole)
    assert [record["step"] for record in scalars] == list(range(0, STEPS + 1, 10))
    assert [record["step"] for record in scores] == list(range(30, STEPS + 1, 30))
    assert events == []
    assert whole.snapshot_steps() == list(range(0, STEPS + 1, 20))
    assert names(whole) == ["started", "finished"]
    tensors = whole.checkpoint()
    assert int(tensors["step"]) == STEPS
    assert not torch.equal(tensors["average.weights.0"][0], tensors["average.weights.0"][1])
    assert whole.status().state == "finished"


def test_killed_from_outside_again_and_again(make, mvm, whole):
    run = make("a", **PLAN)
    mvm("train", "--run", str(run.path)).kill_at(run, 30)  # before any checkpoint but the first
    assert run.status().state == "interrupted"
    for step in (60, 120, 160, 240):
        mvm("resume", "a").kill_at(run, step)
        assert run.status().state == "interrupted"
    last = mvm("resume", "a")
    assert last.wait() == 0, last.err
    assert_same(run, whole)
    assert names(run) == ["started", *["resumed"] * 5, "finished"]


def test_killed_in_the_midst_of_every_kind_of_write(make, mvm, whole):
    run = make("a", **PLAN)
    moments = [
        dies("append", 1, "scalars"),  # the very first line
        dies("rename", 1, "checkpoint.safetensors"),  # the untrained state is on record, but not saved
        dies("open", 2, "checkpoint.safetensors"),
        dies("append", 9, "scalars"),
        dies("rename", 3, ".safetensors"),
        dies("rename", 1, "best.safetensors"),
        dies("rename", 1, "scalars.jsonl"),  # while records are cut back
        dies("open", 1, ".scalars.jsonl"),
        dies("open", 2, "000001"),  # a snapshot
        dies("append", 20, "scalars"),
        dies("rename", 1, "scores.json"),  # trained to the end, not yet finished
    ]
    for number, moment in enumerate(moments):
        command = mvm("resume" if number else "train", *([] if number else ["--run"]), str(run.path), before=moment)
        assert command.wait() == -9, (number, command.out, command.err)
        assert run.status().state in ("interrupted", "new")
    last = mvm("resume", "a")
    assert last.wait() == 0, last.err
    assert_same(run, whole)


def drive(run, *, at, change):
    """Train here to the end; after each of the steps `at`, call `change` with the experiment and the step first."""
    experiment = Experiment(run.config, run.data)
    recorder = Recorder(run, experiment)
    recorder.start()
    for step in fit(experiment):
        if step.number in at:
            change(experiment, step.number)
            recorder.polled = 0  # look at control.json after this very step
        recorder(step)
    recorder.finish()


def reweight_after(run, step):
    """Train here to the end, with other weights after this step."""
    drive(run, at=[step], change=lambda *_: run.ask(weights={"centroid": 0.25}))
    return run


@pytest.fixture(scope="module")
def reweighted(tmp_path_factory):
    """A run whose weights were changed after step 130, between two checkpoints."""
    folder = tmp_path_factory.mktemp("reweighted")
    return reweight_after(Run.create(small_config(write_cloud(folder / "cloud.csv"), **PLAN), path=folder / "run"), 130)


def test_new_weights_count_from_their_step_on(whole, reweighted):
    for older, newer in zip(history(whole)[0], history(reweighted)[0], strict=True):
        assert (older == newer) == (newer["step"] <= 130)
    assert history(reweighted)[2] == [WeightsChanged(step=130, weights={"centroid": 0.25}, serial=1)]
    torch.testing.assert_close(reweighted.checkpoint()["weights"], torch.tensor([[0.25, 0.0], [0.25, 1.0]]))


def test_a_live_change_past_the_last_checkpoint_survives_kills(make, mvm):
    run = make("a", **PLAN)
    trainer = mvm("train", "--run", str(run.path))
    until(lambda: run.records.poll().step >= 60)
    run.ask(weights={"centroid": 0.25})
    until(lambda: names(run)[-1] == "weights")
    trainer.kill()
    (event,) = history(run)[2]
    mvm("resume", "a").kill_at(run, event.step + 20)
    assert mvm("resume", "a").wait() == 0
    assert history(run)[2] == [event]
    assert_same(run, reweight_after(make("b", **PLAN), event.step))


def test_a_change_survives_kills_while_it_is_made(make, mvm, reweighted):
    run = make("a", **PLAN)
    run.ask(pause_at=130)
    first = mvm("train", "--run", str(run.path))
    until(lambda: run.status().state == "paused")
    first.kill()
    run.ask(weights={"centroid": 0.25})  # the trainer is dead: the next one takes it, at the step of its checkpoint
    for moment in (dies("rename", 1, "checkpoint"), dies("append", 2, "scalars"), dies("append", 4, "scalars")):
        killed = mvm("resume", "a", before=moment)
        assert killed.wait() == -9, killed.out
    last = mvm("resume", "a")
    assert last.wait() == 0, last.err
    assert_same(run, reweighted)


# -- asked -------------------------------------------------------------------------------------------------------------


def test_pause_step_continue_stop_resume(make, mvm, cli, whole):
    run = make("a", **PLAN)
    run.ask(pause_at=0)  # a new run may wait before its first step
    trainer = mvm("train", "--run", str(run.path))

    def paused_at(step):
        until(lambda: run.status().state == "paused" and run.status().step >= step)
        assert run.status().step == step
        assert int(run.checkpoint()["step"]) == step
        assert int(run.live()["step"]) == step

    paused_at(0)
    for step in (1, 2, 25):
        run.ask(pause_at=step)
        paused_at(step)
    assert cli("resume", "a") == (0, "a: continues\n", "")
    until(lambda: run.status().step > 25)
    assert cli("pause", "a").out.startswith("a: paused at step ")
    assert cli("stop", "a").out.startswith("a: stopped at step ")
    assert trainer.wait() == 0
    assert "`python -m mvm resume a` continues it" in trainer.out
    assert run.status().state == "stopped"
    assert int(run.checkpoint()["step"]) == run.status().step
    for command in ("pause", "stop"):
        assert cli(command, "a") == (2, "", "mvm: run: a is not being trained (it is stopped)\n")
    assert cli("resume", "a").status == 0
    assert_same(run, whole)
    assert names(run) == ["started", *["paused", "continued"] * 4, "paused", "stopped", "resumed", "finished"]
    refused = cli("resume", "a")
    assert refused == (2, "", f"mvm: run: a is finished at step {STEPS}; there is nothing to resume\n")


def test_changes_made_while_nobody_trains_are_applied_once(make, mvm):
    run = make("a", **PLAN)
    run.ask(weights={"centroid": 3.0})  # before it ever ran
    run.ask(pause_at=30)
    first = mvm("train", "--run", str(run.path))
    until(lambda: run.status().state == "paused")
    run.ask(weights={"diameter": 2.0})  # while paused
    until(lambda: names(run)[-1] == "weights")
    first.kill()
    run.ask(weights={"diameter": 4.0})  # while dead
    run.ask(weights={"centroid": 5.0})
    mvm("resume", "a").kill_at(run, 40)
    changes = [(c.step, c.serial, c.weights) for c in Run(run.path).records.poll().setting_changes()]
    expected = [(0, 1, {"centroid": 3.0}), (30, 2, {"centroid": 3.0, "diameter": 2.0})]
    assert changes == [*expected, (30, 4, {"centroid": 5.0, "diameter": 4.0})]
    assert mvm("resume", "a").wait() == 0
    assert [event.serial for event in history(run)[2]] == [1, 2, 4]
    torch.testing.assert_close(run.checkpoint()["weights"], torch.tensor([[5.0, 0.0], [5.0, 4.0]]))


def test_readers_never_see_half_a_file(make, mvm):
    run = make("a", 300, checkpoints=30, snapshots=30)
    trainer = mvm("train", "--run", str(run.path))
    seen = set()
    for turn in count():
        alive = trainer.process.is_alive()
        if turn % 20 == 0 and alive:
            run.ask(weights={"centroid": turn % 7})
        for path in run.path.rglob("[!.]*.safetensors"):
            assert load_file(path)["step"].numel() in (1, 2)
            seen.add(path.name)
        if (run.path / "control.json").exists():
            Control(**json.loads((run.path / "control.json").read_text()))
        if not alive:
            break
    assert trainer.wait() == 0
    assert {"checkpoint.safetensors", "best.safetensors", "00000000.safetensors", "00000300.safetensors"} <= seen
    assert history(run)[2], "no change of weights came through"


# -- diverged and collapsed --------------------------------------------------------------------------------------------


@torch.no_grad()
def poison(experiment, member):
    for parameter in (*experiment.method.networks["generator"].parameters(), *experiment.averaged().values()):
        parameter[member] = torch.nan


def test_one_diverges_and_the_other_does_not_notice(make):
    clean, run = train_to_the_end(make("clean")), make("a")
    drive(run, at=[33], change=lambda experiment, _: poison(experiment, 0))
    assert run.status().state == "finished"
    assert history(run)[2] == [MemberChanged(step=40, member=0, variant="centroid", seed=0, what="diverged")]
    ours, theirs = run.snapshot(100), clean.snapshot(100)
    assert not (ours["fake"][0] == ours["fake"][0]).any()
    for name in ("fake", "real_embedding", "fake_embedding", "spectrum_distance"):
        assert (ours[name][1] == theirs[name][1]).all(), name
    best = run.checkpoint(best=True)
    assert best["step"][0] <= 30
    assert best["step"][1] == clean.checkpoint(best=True)["step"][1]
    assert all(tensor.isfinite().all() for tensor in best.values())
    for record in run.records.poll().scalars:
        assert (record["d_c"][0] is None) == (record["step"] > 30)
        assert record["d_c"][1] is not None
    lost, kept = run.scores()
    assert lost["w2"] is None
    assert kept == clean.scores()[1]


def test_all_diverge(make, cli):
    wild = {
        "optimiser": {"generator_lr": 1.0, "metric_lr": 1.0, "ema": 0.0},
        "network": {"activation": "leaky_relu", "generator_activation": "leaky_relu"},
    }
    run = make("a", 200, recipe="paper", **wild)
    result = cli("train", "--run", str(run.path))
    status = run.status()
    assert (status.state, status.reason) == ("diverged", "every variant diverged")
    assert status.step < 200
    assert f"a diverged at step {status.step}; " in result.err
    assert result.status == 1
    assert [event.what for event in history(run)[2]] == ["diverged", "diverged"]
    assert not Run(run.path).alive()
    assert "diverged" in cli("runs").out


def test_all_poisoned_stop_and_keep_the_best(make):
    run = make("a")
    with pytest.raises(Stopped, match="a diverged at step 40"):
        drive(run, at=[33], change=lambda experiment, _: poison(experiment, slice(None)))
    assert run.status().state == "diverged"
    best = run.checkpoint(best=True)
    assert (best["step"] <= 30).all()
    assert (best["step"] > 0).all()
    assert all(tensor.isfinite().all() for tensor in best.values())


@torch.no_grad()
def spread_to(experiment, member, share):
    """Scale a generator's output so that its 2-diameter is this share of the reals'."""
    noise = torch.randn(64, experiment.config.network.noise_dim, generator=torch.Generator().manual_seed(0))
    fake = experiment.generate(noise)[member]
    factor = share * torch.pdist(experiment.data.view).square().mean().sqrt() / torch.pdist(fake).square().mean().sqrt()
    for named in (dict(experiment.method.networks["generator"].named_parameters()), experiment.averaged()):
        last = max(name for name in named if "weights." in name)
        named[last][member] *= factor


def test_collapse_and_recovery_are_marked_once(make):
    still = {"optimiser": {"generator_lr": 1e-9, "metric_lr": 1e-9, "ema": 0.0}}
    run = make("a", **still)
    shares = {5: 0.5, 25: 0.01, 45: 0.07, 65: 0.5, 85: 0.01}  # .07 is between the marks: still collapsed
    drive(run, at=shares, change=lambda experiment, step: spread_to(experiment, 0, shares[step]))
    events = [(event.step, event.member, event.what) for event in history(run)[2]]
    assert events == [(30, 0, "collapsed"), (70, 0, "recovered"), (90, 0, "collapsed")]


def test_a_resumed_trainer_knows_who_had_spread(make):
    still = {"optimiser": {"generator_lr": 1e-9, "metric_lr": 1e-9, "ema": 0.0}}
    run = make("a", **still)

    def change(experiment, step):
        spread_to(experiment, 0, shares[step])
        poison(experiment, 1)
        if step == 25:
            run.ask(stop=True)

    shares = {5: 0.5, 25: 0.07}  # not collapsed yet, and no longer spread enough to be seen as spread
    with pytest.raises(Stopped, match="a stopped at step 25"):
        drive(run, at=shares, change=change)
    shares = {run.status().step + 3: 0.01}
    drive(run, at=shares, change=change)
    assert [(event.member, event.what) for event in history(run)[2]] == [(1, "diverged"), (0, "collapsed")]


# -- starved -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run that was stopped after step 130, between two checkpoints."""
    folder = tmp_path_factory.mktemp("half")
    run = Run.create(small_config(write_cloud(folder / "cloud.csv"), **PLAN), path=folder / "run")
    with pytest.raises(Stopped, match="run stopped at step 130"):
        drive(run, at=[130], change=lambda experiment, step: run.ask(stop=True))
    return run


@pytest.mark.parametrize(
    "name",
    ["checkpoint.safetensors", "snapshots/00000140.safetensors", "best.safetensors", "scores.json", "control.json"],
)
def test_a_full_disk_costs_nothing_that_was_saved(checkpoints, cli, make, half, whole, name, monkeypatch):
    new = name == "best.safetensors"  # it is written while scores still rise
    run = make("a", **PLAN) if new else Run(shutil.copytree(half.path, checkpoints / "a"))
    before = 0 if new else 130
    monkeypatch.setattr("mvm.files.threading", SimpleNamespace(get_ident=lambda: 123_456))  # whichever thread writes
    full = beside(run.path / name)
    full.symlink_to("/dev/full")  # the file beside its place, where a write begins
    result = cli("resume", "a")
    path = run.path / name
    assert (result.status, result.err) == (1, f"mvm: {path}: No space left on device; all that was saved is kept\n")
    status = run.status()
    if name == "control.json":  # nothing had begun
        assert status.state == "stopped"
    else:
        assert status.state == "failed"
        assert "No space left" in status.reason
    assert int(run.checkpoint()["step"]) >= before
    assert run.snapshot_steps()[0] == 0
    assert [step for step in run.snapshot_steps() if run.snapshot(step) is None] == []
    assert not full.is_symlink()
    assert cli("resume", "a").status == 0
    assert_same(run, whole)


def test_a_full_disk_from_the_first_line_on(make, cli, monkeypatch):
    run, write = make("a"), os.write

    def full(descriptor, line):
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "scalars.jsonl":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, line)

    monkeypatch.setattr(os, "write", full)
    result = cli("train", "--run", str(run.path))
    expected = f"mvm: {run.path}/scalars.jsonl: No space left on device; all that was saved is kept\n"
    assert (result.status, result.err) == (1, expected)
    assert run.status().state == "new"
    monkeypatch.undo()
    monkeypatch.setenv("MVM_CHECKPOINTS", str(run.path.parent))
    assert cli("resume", "a").status == 0


def test_a_disk_that_fills_up_under_the_records(make, mvm, whole):
    run = make("a", **PLAN)
    filler = {"step": 0, "event": "note", "time": 0, "text": "x" * 60_000}
    append_line(run.path / "scalars.jsonl", filler)
    command = mvm("train", "--run", str(run.path), before=small_disk(64_000))
    assert command.wait() == 1
    line = f"mvm: {run.path}/scalars.jsonl: (No space left on device|File too large); all that was saved is kept\n"
    assert re.fullmatch(line, command.err), command.err
    assert (run.path / "scalars.jsonl").read_bytes().endswith(b"}\n")
    assert 0 < run.status().step < STEPS
    last = mvm("resume", "a")
    assert last.wait() == 0, last.err
    assert_same(run, whole)


def test_a_damaged_checkpoint_is_said_to_be_damaged(checkpoints, cli, half):
    run = Run(shutil.copytree(half.path, checkpoints / "a"))
    path = run.path / "checkpoint.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for command in (["resume", "a"], ["score", "a"], ["sample", "a", "--out", str(checkpoints / "x.npy")]):
        result = cli(*command)
        assert result.status == 2
        assert result.err.startswith("mvm: run: a's checkpoint.safetensors is damaged")
        assert result.err.count("\n") == 1
    assert run.status().state == "failed"
    assert "checkpoint.safetensors is damaged" in run.status().reason
    assert not (checkpoints / "x.npy").exists()
    path.write_bytes(content)
    assert cli("sample", "a", "-n", "5", "--out", str(checkpoints / "x.npy")).status == 0


def test_what_is_later_than_the_checkpoint_goes_with_it(checkpoints, cli, half, whole):
    """The folder as a power cut may leave it: views and best generators of steps that no checkpoint knows."""
    run = Run(shutil.copytree(half.path, checkpoints / "a"))
    lost = [run.snapshot_path(280), frame_path(run.path, 280)]
    for path in lost:
        path.parent.mkdir(exist_ok=True)
        shutil.copy(whole.snapshot_path(280), path)
    left = run.path / "snapshots" / ".00000280.safetensors.1.2"
    left.write_bytes(b"half of one")
    run.ask(stop=True)
    with pytest.raises(Stopped, match="a stopped at step 130"):
        drive(run, at=[], change=None)  # it opens the run, and stops
    assert [path.exists() for path in (*lost, left)] == [False] * 3
    run.ask(stop=False)
    assert cli("resume", "a").status == 0
    assert_same(run, whole)


def test_a_best_generator_of_a_step_to_come_is_not_kept(checkpoints, half):
    run = Run(shutil.copytree(half.path, checkpoints / "a"))
    best = run.checkpoint(best=True)
    assert (best["step"] <= 130).all()
    best["step"][1], best["w2"][1] = 290, 0
    write_tensors(run.path / "best.safetensors", best)
    run.ask(stop=True)
    with pytest.raises(Stopped, match="a stopped at step 130"):
        drive(run, at=[], change=None)
    after = run.checkpoint(best=True)
    assert after["step"].tolist() == [130 if member == 1 else step for member, step in enumerate(best["step"].tolist())]
    assert after["w2"][1] == torch.inf  # the next score is better


def test_a_damaged_state_of_the_members_is_refused(checkpoints, cli, half):
    run = Run(shutil.copytree(half.path, checkpoints / "a"))
    for state in (torch.tensor([7] * 4), torch.tensor([0])):
        write_tensors(run.path / "checkpoint.safetensors", run.checkpoint() | {"state": state})
        result = cli("resume", "a")
        assert (result.status, result.err.count("\n")) == (2, 1)
        assert result.err.startswith("mvm: checkpoint does not fit its config: its state says nothing")


def test_any_failure_is_recorded_with_its_reason(make, monkeypatch):
    run = make("a", **PLAN)
    monkeypatch.setattr("mvm.runs.recorder.fit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        main(["train", "--run", str(run.path)])
    assert (run.status().state, run.status().reason) == ("failed", "ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you")]
)
def test_too_little_memory_says_what_to_do(make, cli, monkeypatch, error):
    def fails(*_, **__):
        raise error

    run = make("a", **PLAN)
    monkeypatch.setattr("mvm.runs.recorder.fit", fails)
    result = cli("train", "--run", str(run.path))
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "out of memory; use a smaller --batch" in result.err
    assert "out of memory" in run.status().reason


def test_a_checkpoint_of_another_config_is_refused(make, cli, half):
    run = make("a", network={"width": 16})
    shutil.copy(half.path / "checkpoint.safetensors", run.path)
    result = cli("resume", "a")
    assert result.status == 2
    assert result.err.startswith("mvm: checkpoint does not fit its config")
    assert result.err.count("\n") == 1


def test_others_that_train_along_are_not_left_waiting_by_an_early_stop(make, monkeypatch):
    said = []
    monkeypatch.setattr(Experiment, "share", lambda self: said.append("shared"))
    monkeypatch.setattr(Experiment, "agree", lambda self, go: said.append(go) or go)
    run = make("a", **PLAN)
    run.ask(stop=True)
    with pytest.raises(Stopped, match="a stopped at step 0"):
        next(train(run))
    assert said == ["shared", False]


def test_a_disk_that_stands_still_delays_no_step_while_the_queue_has_places(make, whole, monkeypatch):
    """And nothing is lost: all that an undisturbed training writes is written, in its order."""
    run, open_gate, writers = make("slow", **PLAN), threading.Event(), []
    open_gate.set()

    def slow(*arguments, **options):
        assert open_gate.wait(60)
        return write_tensors(*arguments, **options)

    monkeypatch.setattr("mvm.runs.recorder.write_tensors", slow)
    monkeypatch.setattr("mvm.runs.recorder.Writer", lambda **options: writers.append(Writer(**options)) or writers[0])
    closed = passed = 0
    for step in train(run):
        if step.number == EAGER_STEPS + 1:
            open_gate.clear()
            closed = step.number
        if not open_gate.is_set() and writers[0]._queue.qsize() >= 3:  # a step adds at most five to eight places
            passed = step.number - closed
            open_gate.set()
    assert passed >= 10
    assert open_gate.is_set()
    ours, theirs = (load_file(each.path / "checkpoint.safetensors") for each in (run, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert history(run) == history(whole)
    assert run.snapshot_steps() == whole.snapshot_steps()
    assert run.checkpoint_steps() == whole.checkpoint_steps()


def test_a_profile_has_the_time_of_every_part(make, cli):
    run = make("a", **PLAN)
    result = cli("train", "--run", str(run.path), "--profile")
    table = dict(line.rsplit(maxsplit=2)[::2] for line in result.out.splitlines() if line.endswith("%"))
    assert {"start", "steps", "records", "snapshots", "scores", "checkpoints", "final scores", "rest"} <= table.keys()
    assert {f"{part}, beside the steps" for part in ("records", "snapshots", "scores", "checkpoints")} <= table.keys()
    own = [int(share.rstrip("%")) for part, share in table.items() if not part.endswith("beside the steps")]
    assert sum(own) == pytest.approx(100, abs=len(own))


@pytest.mark.parametrize(("reasons", "told"), [(["--graph off"], ["--graph off"]), (["", "cannot"], ["cannot"])])
def test_why_a_gpu_does_not_replay_steps_is_told_once(make, monkeypatch, reasons, told):
    """From the start, or from the step that could not be captured on."""
    run = make("a", steps=10)
    eager = property(lambda self: reasons[-1] if self.step >= EAGER_STEPS else reasons[0])
    monkeypatch.setattr("mvm.runs.recorder.Experiment.eager", eager)
    monkeypatch.setattr("mvm.runs.recorder.Experiment._captured", lambda self: self.compute)
    for _ in train(run):
        pass
    assert [event.reason for event in run.records.poll().events if isinstance(event, NotCaptured)] == told
    assert why_not_captured(run.records.events) == told[0]
