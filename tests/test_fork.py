"""Forks: both branches meet the same batches and noise, share their past, and part only by what was changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mvm.config import Config
from mvm.errors import ConfigError, RunError, Stopped
from mvm.files import link
from mvm.jobs.launch import launch
from mvm.runs.events import SettingsChanged, WeightsChanged
from mvm.runs.fork import Branches, changeable, config_at, fork, fresh_name
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.runs.weights import first_settings, moves, settings_of
from mvm.studies.labels import setting_label, settings_in_words, variant_label

STEPS = 120
PLAN = {  # kept every 20, snapshots every 10
    "steps": STEPS, "checkpoints": 6, "snapshots": 12, "seeds": (0, 1), "optimiser": {"decay_from": 0.5},
}  # fmt: skip


@pytest.fixture(scope="module")
def trunk(tmp_path_factory) -> Run:
    """A finished run whose centroid weight was changed at step 30, by hand."""
    return trained_with_a_change(tmp_path_factory.mktemp("trunk"), 30)


def trained_with_a_change(folder: Path, step: int) -> Run:
    from trainers import small_config, write_cloud

    run = Run.create(small_config(write_cloud(folder / "cloud.csv"), **PLAN), path=folder / "trunk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mvm.runs.recorder.POLL", 0)
        for done in train(run):
            if done.number == step - 1:
                run.ask(weights={"centroid": 0.5})
    return run


@pytest.fixture
def run(trunk, checkpoints) -> Run:
    checkpoints.mkdir(exist_ok=True)
    return Run(Path(shutil.copytree(trunk.path, checkpoints / "trunk")))


def finish(run: Run) -> Run:
    for _ in train(run):
        pass
    return Run(run.path)


def tensors_equal(a: Run, b: Run) -> bool:
    ours, theirs = a.checkpoint(), b.checkpoint()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_checkpoints_are_kept_and_cost_no_disk(run, trunk):
    assert trunk.checkpoint_steps() == list(range(0, STEPS + 1, 20))
    assert [int(trunk.checkpoint(step=step)["step"]) for step in trunk.checkpoint_steps()] == trunk.checkpoint_steps()
    assert (trunk.path / "checkpoint.safetensors").samefile(trunk.kept_path(STEPS))
    with pytest.raises(RunError, match=r"no checkpoints/00000007\.safetensors"):
        run.checkpoint(step=7)


def test_a_kept_checkpoint_has_the_weights_that_it_was_trained_with(make):
    run = make("a", **PLAN)
    run.ask(weights={"diameter": 0.0})
    run.ask(stop=True)
    with pytest.raises(Stopped, match="a stopped at step 0"):
        finish(run)  # the weight is changed at step 0, after its checkpoint was kept
    run.ask(stop=False)
    run = finish(run)
    torch.testing.assert_close(run.checkpoint(step=0)["weights"][:, 1], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    torch.testing.assert_close(run.checkpoint(step=20)["weights"][:, 1], torch.zeros(4))
    assert config_at(run, 0).weights.diameter == 0, "training after step 0 used it"
    assert config_at(run, 20).weights.diameter == 0


def test_a_fork_that_changes_nothing_repeats_the_run(run):
    made = fork(run, 60, {})
    assert (made.name, made.origin.run, made.origin.step) == ("trunk-fork60", "trunk", 60)
    assert run.origin is None
    assert made.status().state == "new"
    assert made.records.poll().step == 60
    assert tensors_equal(finish(made), run)
    steps, distance = Branches(run, made).distance()
    assert list(steps) == run.snapshot_steps()
    assert (distance == 0).all()
    assert Branches(run, made).parted() == [None] * 4


def test_branches_part_when_the_change_acts_and_not_before(run):
    """decay_from: the rates are the same until half of the run, and others from then on."""
    made = finish(fork(run, 40, {"optimiser.decay_from": 0.6}, name="later"))
    steps, distance = Branches(run, made).distance()
    assert (distance[steps <= 60] == 0).all()
    assert (distance[steps > 70] > 0).all()
    ours, theirs = run.snapshot(STEPS), made.snapshot(STEPS)
    unit = np.linalg.norm(ours["real"][:, None] - ours["real"][None], axis=-1)
    unit = float(np.sqrt(np.square(unit).mean()))
    expected = np.linalg.norm(ours["fake"] - theirs["fake"], axis=-1).mean(-1) / unit
    np.testing.assert_allclose(distance[-1], expected, rtol=1e-4)


def test_a_changed_weight_acts_from_the_forks_step_on_and_only_where_it_is_matched(run):
    assert [change.step for change in run.records.poll().setting_changes()] == [30]
    assert config_at(run, 20).weights.centroid == 1
    assert config_at(run, 40).weights.centroid == 0.5
    made = fork(run, 40, {"weights.diameter": "0"})
    assert made.config.weights.model_dump() == run.config.weights.model_dump() | {"centroid": 0.5, "diameter": 0.0}
    made = finish(made)
    torch.testing.assert_close(made.checkpoint()["weights"], torch.tensor([[0.5, 0.0]] * 2 + [[0.5, 0.0]] * 2))
    steps, distance = Branches(run, made).distance()
    assert (distance[:, :2] == 0).all()  # centroid alone: nothing has changed for it
    assert (distance[steps > 40][:, 2:] > 0).all()
    assert (distance[steps <= 40] == 0).all()
    kinds = [(event.event, event.step) for event in made.records.poll().events]
    assert kinds == [("weights", 30), ("forked", 40), ("resumed", 40), ("weights", 40), ("finished", STEPS)]
    event = made.records.events[1]
    assert (event.step, event.of, event.changes) == (40, "trunk", {"weights.diameter": 0.0})
    assert {f"weights.{name}": value for name, value in event.first.items()} | event.first_settings == first_settings(
        run
    )
    assert [r["step"] for r in made.records.scalars] == [r["step"] for r in run.records.poll().scalars]


@pytest.fixture(scope="module")
def moved(tmp_path_factory) -> Run:
    """A finished run whose centroid weight was changed by hand at step 40, of which a checkpoint is kept."""
    return trained_with_a_change(tmp_path_factory.mktemp("moved"), 40)


@pytest.mark.parametrize(("step", "inherited"), [(20, 1.0), (40, 0.5), (60, 0.5)])
def test_a_fork_takes_over_a_change_at_its_very_step(moved, checkpoints, step, inherited):
    """A fork without a change repeats the run, so one with a change parts from it by that change alone."""
    checkpoints.mkdir()
    run = Run(Path(shutil.copytree(moved.path, checkpoints / "trunk")))
    assert [change.step for change in run.records.poll().setting_changes()] == [40]
    assert run.checkpoint(step=40)["weights"][0, 0] == 1, "it was kept before the change"
    same = fork(run, step, {}, name="same")
    assert same.config.weights.centroid == inherited
    finish(same)
    distance = Branches(run, same).distance()[1]
    assert (distance == 0).all() == (step >= 40)
    made = finish(fork(run, step, {"weights.diameter": 0}, name="other"))
    assert made.checkpoint()["weights"].tolist() == [[inherited, 0]] * 4
    ours = settings_of(made)
    assert ours["weights.diameter"] == ((0, 1.0), (step, 0.0))
    assert ours["weights.centroid"] == ((0, 1.0),) + ((40, 0.5),) * (step >= 40)
    assert settings_of(run)["weights.centroid"] == ((0, 1.0), (40, 0.5))


def test_weights_of_a_fork_before_its_own_step_are_those_of_its_past(run):
    made = finish(fork(run, 60, {"weights.diameter": 0.25, "weights.centroid": 2.0}, name="heavy"))
    assert settings_of(made)["weights.centroid"] == ((0, 1.0), (30, 0.5), (60, 2.0))
    for step, weights in {20: (1, 1), 40: (0.5, 1), 60: (2, 0.25), 80: (2, 0.25)}.items():
        at = config_at(made, step).weights
        assert (at.centroid, at.diameter) == weights
    again = finish(fork(made, 40, {}, name="again"))
    assert settings_of(again)["weights.centroid"] == ((0, 1.0), (30, 0.5))
    assert again.checkpoint()["weights"].tolist() == run.checkpoint()["weights"].tolist()


def test_a_fork_of_an_earlier_version_has_first_weights_where_nothing_moved(run):
    made = fork(run, 40, {"weights.diameter": 0.25})
    lines = [json.loads(line) for line in (made.path / "scalars.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("first", None)
    (made.path / "scalars.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    paths = settings_of(Run(made.path))
    assert paths["weights.centroid"] == ((0, None), (30, 0.5))
    assert paths["weights.diameter"] == ((0, None), (40, 0.25))
    assert paths["weights.hausdorff"] == ((0, 1.0),)
    assert setting_label("weights.centroid", paths["weights.centroid"]) == "centroid × unknown → 0.5 at 30"


def test_a_mark_names_what_moved_alone_by_its_title():
    first = {"weights.centroid": 1.0, "weights.diameter": 1.0, "optimiser.metric_lr": 3e-3}
    events = [
        WeightsChanged(step=10, weights={"centroid": 1.0, "diameter": 2.0}, serial=1),
        SettingsChanged(step=20, settings={"weights.diameter": 2.0, "optimiser.metric_lr": 1e-3}, serial=2),
    ]
    assert moves(events, first) == [{"weights.diameter": 2.0}, {"optimiser.metric_lr": 1e-3}]
    changes = {"weights.centroid": 0.5, "mvm.gamma": 0.01, "variants": ("both",), "optimiser.metric_lr": 1e-3}
    assert settings_in_words(changes) == "centroid × 0.5, γ 0.01, variants both, metric rate 0.001"
    for method, title in {"mvm": "metric", "wgan": "critic"}.items():
        assert setting_label("optimiser.metric_lr", 1e-3, Config.make(method=method)) == f"{title} rate 0.001"


def test_rates_and_coefficients_move_like_weights(make, monkeypatch):
    """What was moved at a step is resumed, forked and said: a training stopped on the way is one that was not."""
    monkeypatch.setattr("mvm.runs.recorder.POLL", 0)
    moves = {9: {"optimiser.generator_lr": 1e-4}, 29: {"mvm.gamma": 0.1, "weights.diameter": 2}}

    def trained(run: Run, *, stop: int = 0) -> Run:
        for done in train(run):
            if done.number in moves:
                run.ask(settings=moves[done.number])
            if done.number == stop:
                run.ask(stop=True)
        return Run(run.path)

    short = PLAN | {"steps": 60}
    whole, halted = trained(make("a", **short)), make("b", **short)
    with pytest.raises(Stopped):
        trained(halted, stop=44)
    assert tensors_equal(finish(halted), whole)
    changes = [event for event in whole.records.poll().events if isinstance(event, SettingsChanged)]
    assert [(event.step, event.serial) for event in changes] == [(10, 1), (30, 2)]
    assert changes[1].settings == {"optimiser.generator_lr": 1e-4, "mvm.gamma": 0.1, "weights.diameter": 2}
    label = variant_label(whole, "centroid")
    assert label == "centroid only, generator rate 0.0035 → 0.0001 at 10, γ 0 → 0.1 at 30"

    same = fork(whole, 40, {}, name="same")
    assert (same.config.mvm.gamma, same.config.optimiser.generator_lr) == (0.1, 1e-4)
    assert tensors_equal(finish(same), whole)
    other = fork(whole, 20, {"optimiser.generator_lr": "2e-3"}, name="other")
    assert settings_of(other)["optimiser.generator_lr"] == ((0, 3.5e-3), (10, 1e-4), (20, 2e-3))
    assert settings_of(other)["mvm.gamma"] == ((0, 0.0),)
    other.ask(settings={"mvm.alpha": 0.5})
    assert other.control().settings == {"mvm.alpha": 0.5}, "what its past moved is in its config"
    for wrong, words in {
        "mvm.pairs": "cannot be moved while a trains",
        "optimiser.metric_lr": "must be at most 1",
    }.items():
        with pytest.raises(ConfigError, match=words):
            whole.ask(settings={wrong: 2.0})


def test_a_fork_of_a_fork_at_its_own_step_keeps_its_weights(run):
    made = finish(fork(run, 40, {"weights.diameter": 0}, name="lighter"))
    assert config_at(made, 40).weights.diameter == 0
    again = finish(fork(made, 40, {"mvm.gamma": 0.01}))
    assert again.checkpoint()["weights"].tolist() == [[0.5, 0.0]] * 4


def test_a_weight_moved_while_a_fork_trains_is_still_felt(run):
    made = fork(run, 40, {"weights.diameter": 0.25})
    made.ask(weights={"centroid": 3.0})
    finish(made)
    assert made.checkpoint()["weights"].tolist() == [[3.0, 0.0]] * 2 + [[3.0, 0.25]] * 2


def test_the_past_is_shared_and_outlives_the_run(run):
    made = fork(run, 40, {"mvm.gamma": 0.01})
    assert made.snapshot_path(40).samefile(run.snapshot_path(40))
    assert made.snapshot_steps() == [0, 10, 20, 30, 40]
    assert made.checkpoint_steps() == [0, 20, 40]
    run.delete()
    again = fork(finish(made), 20, {"mvm.gamma": 0.02})
    assert again.origin.run == made.name
    finish(again)


def test_a_fork_of_a_finished_run_can_go_further(run):
    longer = finish(fork(run, 100, {"steps": 200}))
    assert longer.status().step == 200


def test_a_disk_without_second_names_gets_copies(run, monkeypatch, tmp_path):
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    link(run.path / "config.json", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (run.path / "config.json").read_bytes()
    assert not (tmp_path / "copy").samefile(run.path / "config.json")
    assert list(tmp_path.glob(".copy*")) == []


BAD = {
    "no such step": (50, {}, "step: trunk has no checkpoint of step 50; near it are 0, 20, 40, 60, 80"),
    "the end": (120, {}, "step: nothing is left to train after step 120 of 120"),
    "too few steps": (60, {"steps": 40}, "step: nothing is left to train after step 60 of 40"),
    "shapes networks": (60, {"network.width": 16}, "cannot change network.width: it shapes the networks or the data"),
    "batch": (60, {"batch": 32}, "cannot change batch: it shapes"),
    "unmatched": (60, {"weights.hausdorff": 2}, "cannot change weights.hausdorff: no variant matches it"),
    "same": (60, {"weights.centroid": 0.5}, "weights.centroid is 0.5 already at that step"),
    "unknown": (60, {"weights.volume": 1}, "unknown setting 'weights.volume'"),
    "out of bounds": (60, {"mvm.gamma": -1}, "mvm.gamma: must be at least 0"),
    "no number": (60, {"mvm.gamma": "much"}, "mvm.gamma: must be a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_forked_is_refused_in_one_line_and_leaves_nothing(run, checkpoints, case):
    step, changes, message = BAD[case]
    with pytest.raises(ValueError) as refusal:
        fork(run, step, changes)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in checkpoints.iterdir()] == ["trunk"]


def test_a_taken_or_bad_name_is_refused(run, checkpoints):
    for name, message in (("trunk", "'trunk' exists"), ("a/b", "cannot name a run")):
        with pytest.raises(RunError, match=message):
            fork(run, 60, {}, name=name)
    assert [path.name for path in checkpoints.iterdir()] == ["trunk"]
    fork(run, 60, {})
    assert fresh_name(run, 60) == "trunk-fork60-2"


def test_strangers_are_no_branches(run, make):
    with pytest.raises(RunError, match="no branches of one run"):
        Branches(run, make("other", 60))


def test_every_changeable_setting_is_of_the_method_and_the_matched_descriptors(run):
    names = set(changeable(run.config))
    assert {"steps", "weights.centroid", "weights.diameter", "mvm.gamma", "optimiser.generator_lr"} <= names
    assert not names & {"weights.hausdorff", "wgan.clip", "network.width", "batch", "data", "seeds", "variants"}


def test_from_the_command_line(run, cli, mvm):
    told = cli("fork", "trunk", "--step", "100", "--set", "weights.diameter=0", "--set", "steps=130", "--name", "b")
    assert told.status == 0, told.err
    made = Run.named("b")
    assert made.status().state == "finished"
    assert made.config.steps == 130
    assert json.loads((made.path / "fork.json").read_text())["changes"] == {"weights.diameter": 0.0, "steps": 130}
    for arguments, message in (
        (["--step", "100", "--set", "weights.diameter"], "set: 'weights.diameter' is no NAME=VALUE"),
        (["--step", "90"], "no checkpoint of step 90"),
    ):
        refused = cli("fork", "trunk", *arguments)
        assert refused.status == 2
        assert message in refused.err
    launched = fork(run, 100, {"optimiser.generator_betas": "0.5 0.9"})
    launch(launched)
    from trainers import until

    until(lambda: launched.status().state == "finished")
    assert launched.config.optimiser.generator_betas == (0.5, 0.9)
