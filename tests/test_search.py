"""Searches: what is asked for next follows from the scores on disk, whoever is killed; only the best are trained on."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections import Counter

import pytest
import torch
from trainers import until

from app.views.sweeps import cell_of
from mvm.data.kinds import KINDS
from mvm.errors import RunBusy
from mvm.files import read_tensors
from mvm.runs import events
from mvm.runs.run import Run
from mvm.sweeps.search import Halving, Tpe, Trial, best_third, rungs_of, search, suggest
from mvm.sweeps.spec import read_spec, space_of, spec_of
from mvm.sweeps.sweep import ENDED, make, progress_of, sweep_named
from mvm.sweeps.worker import Worker

SHORT = 'variants = ["both"]\nsteps = 30\nsnapshots = 2\n'
BATCHES = "[random]\ncount = {}\nseed = {}\nbatch = {{ log = [16, 4096] }}\n"
RATES = "[random]\ncount = {}\nseed = {}\noptimiser.generator-lr = {{ log = [1e-5, 1e-1] }}\n"


@pytest.fixture
def write(write):
    """Write a specification of short trainings."""
    return lambda text, **options: write(SHORT + text, **{"top": ""} | options)


def loss(settings: dict) -> float:
    """A quadratic of the rate's logarithm, whose least value, zero, is at 0.003."""
    return (math.log10(settings["optimiser.generator_lr"]) - math.log10(0.003)) ** 2


# -- tree-structured Parzen estimator ----------------------------------------------------------------------------------


def test_tpe_asks_where_the_known_minimum_is():
    """A quadratic, five seeds: beyond the first ten settings, which are random, most lie within half a decade of it."""
    near = {"tpe": 0, "random": 0}
    for seed in range(5):
        spec = spec_of(RATES.format(25, seed), name="s")
        space, trials = space_of(spec), []
        for number in range(space.count):
            settings = suggest(space, trials, draw=str(number))
            assert 1e-5 <= settings["optimiser.generator_lr"] <= 1e-1
            trials.append(Trial(settings, loss(settings)))
        near["tpe"] += sum(trial.loss < 0.25 for trial in trials[10:])
        near["random"] += sum(loss(point.settings) < 0.25 for point in spec.points[10:])
    assert near["tpe"] > 2 * near["random"]


def test_a_suggestion_follows_from_trials_alone_and_takes_any_kind_of_axis():
    space = space_of(
        spec_of(
            """
            [random]
            count = 3
            batch = { range = [16, 64] }
            mvm.gamma = { range = [0, 0.1] }
            recipe = ["stabilised", "paper"]
            """,
            name="s",
        )
    )
    rng = random.Random(0)
    trials = [
        Trial({"batch": rng.randint(16, 64), "mvm.gamma": rng.uniform(0, 0.1), "recipe": "paper"}, value)
        for value in (1.0, math.inf, 3.0, None)
    ]
    trials.append(Trial({"batch": 20, "mvm.gamma": 0.05}, None, is_open=True))
    found = [suggest(space, trials, draw="7") for _ in range(2)]
    assert found[0] == found[1] != suggest(space, trials, draw="8")
    elsewhere = Trial({"batch": 640, "mvm.gamma": 0.05, "recipe": "paper"}, 0.0)
    assert suggest(space, [elsewhere, *trials], draw="7") == found[0]
    assert type(found[0]["batch"]) is int
    assert 16 <= found[0]["batch"] <= 64
    assert found[0]["recipe"] in ("stabilised", "paper")


# -- on disk -----------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """In place of a SIGKILL."""


def scored(*, steps: int = 10**9, at_once: int = 1):
    """An engine that scores runs by `loss` instead of training them; it dies after so many."""
    left = [steps]

    def train(sweep):
        yield progress_of(sweep_named(sweep.name))  # as engines do before the first run
        while waiting := [row for row in progress_of(sweep_named(sweep.name)).rows if row.status == "new"]:
            for row in waiting[::-1][:at_once]:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                finish(Run.named(row.name))
            yield progress_of(sweep_named(sweep.name))

    return train


def finish(run: Run) -> None:
    """Give a run its scores, whose median over seeds is least at a batch of 100, and its end."""
    error = 1 + abs(math.log10(run.config.batch) - 2)
    of_all = {"coordinates": KINDS[run.config.kind].coordinates(run.config.data), "step": run.config.steps, "n": 40}
    rows = [
        {"w2_ratio": error + (seed - 1) / 2, "variant": variant, "seed": seed} | of_all
        for variant, seed in run.config.members
    ]
    run.write_scores(rows)
    run.append_event(events.Finished(step=run.config.steps, time=time.time()))
    assert run.scores() == rows


def asked(name: str = "s") -> list[dict]:
    """Settings that a search has asked for."""
    entries = json.loads((sweep_named(name).folder / "search" / "asked.json").read_text())["asked"]
    return [entry["settings"] for entry in entries]


def test_a_search_that_was_killed_asks_for_the_same_settings(write, checkpoints):
    """Killed after five settings, then between asking and making a run; a longer search goes on from there."""

    def spec(count: int, name: str):
        text = write(BATCHES.format(count, 1), top="seeds = 3", name=name).read_text()
        return spec_of(text, name=name)

    undisturbed = Tpe(spec(14, "u"))
    assert len([*search(undisturbed, scored())]) >= 14
    assert undisturbed.share == (14, 14)
    assert len({each["batch"] for each in asked("u")}) == 14
    losses = [1 + abs(math.log10(each["batch"]) - 2) for each in asked("u")]
    assert [trial.loss for trial in undisturbed.trials] == pytest.approx(losses)

    with pytest.raises(Killed):
        [*search(Tpe(spec(10, "s")), scored(steps=5))]
    assert len(asked()) == 6
    Run(checkpoints / next(reversed(sweep_named("s").runs))).delete()
    assert [*search(Tpe(spec(10, "s")), scored())][-1].states == {"finished": 10}
    assert asked() == asked("u")[:10]
    again = [*search(Tpe(spec(10, "s")), scored(steps=0))]
    assert again[-1].trainings == (30, 30)
    [*search(Tpe(spec(14, "s")), scored())]
    assert asked() == asked("u")


def test_each_combination_is_searched_by_itself_and_what_fails_is_not_asked_again(write):
    text = "[grid]\nbatch = [16, 32]\n[random]\ncount = 5\nnetwork.depth = [1, 2, 3]"
    path = write(text)
    path.write_text(path.read_text().replace("network.depth = 2\n", ""))
    spec = spec_of(path.read_text(), name="s")
    found, met = Tpe(spec, at_once=2), []

    def fails(sweep):
        for row in progress_of(sweep_named(sweep.name)).rows:
            if row.status == "new":
                met.append(row.name)
                Run.named(row.name).append_event(events.Failed(step=0, time=time.time(), reason="no luck"))
        yield progress_of(sweep_named(sweep.name))

    [*search(found, fails)]
    settings = [trial.settings for trial in found.trials]
    assert sorted((each["batch"], each["network.depth"]) for each in settings) == [
        (batch, depth) for batch in (16, 32) for depth in (1, 2, 3)
    ]  # all there are
    assert "there are no others" in found.in_words()
    assert len(met) == len(set(met)) == 6


def test_only_one_process_searches(write):
    spec = spec_of(write(RATES.format(2, 0)).read_text(), name="s")
    first = search(Tpe(spec), scored())
    next(first)
    with pytest.raises(RunBusy, match="search: another process searches s"):
        next(search(Tpe(spec), scored()))
    first.close()
    assert not sweep_named("s").is_searched


# -- successive halving ------------------------------------------------------------------------------------------------


def test_rungs_are_thirds_at_which_a_run_is_scored():
    assert rungs_of(2000, 200) == [200, 600, 2000]
    assert rungs_of(8000, 800) == [800, 2400, 8000]
    assert rungs_of(30, 10) == [10, 30]
    assert rungs_of(20, 10) == [20]


def test_the_best_third_goes_on():
    draws = random.Random(0)
    for n in range(1, 40):
        losses = [draws.choice([draws.random(), 0.5, math.inf]) for _ in range(n)]
        kept = best_third(losses)
        finite = [place for place in range(n) if losses[place] < math.inf]
        assert len(kept) == min(max(1, n // 3), len(finite))
        for place in set(finite) - {*kept}:  # whoever is left behind is worse, or equal and later
            assert all((losses[k], k) < (losses[place], place) for k in kept)


def in_this_process(sweep):
    """An engine that trains every run that is open."""
    yield progress_of(sweep_named(sweep.name))
    while rows := [row for row in progress_of(sweep_named(sweep.name)).rows if row.status in ("new", "interrupted")]:
        for row in rows:
            Worker(sweep_named(sweep.name), only=row.name).work()
            yield progress_of(sweep_named(sweep.name))


def quick_losses(run: Run, step: int) -> list[float]:
    """W2 over its baseline of each member at a step, read as plain JSON."""
    lines = map(json.loads, (run.path / "scalars.jsonl").read_text().splitlines())
    [rows] = [line["scores"] for line in lines if line["step"] == step and "scores" in line]
    return [row["w2"] / row["w2_floor"] for row in rows]


def test_what_is_decided_as_the_last_training_ends_is_trained_too(write):
    spec = read_spec(write("[grid]\nbatch = [8, 16, 32]"))

    def train(sweep):
        for row in progress_of(sweep_named("s")).rows:
            if row.status not in ENDED:
                Worker(sweep_named("s"), only=row.name).work()
        yield progress_of(sweep_named("s"))

    assert [each.states for each in search(Halving(spec), train)] == [{"held": 3}, {"finished": 1, "held": 2}]


def test_halving_trains_the_best_on_and_holds_the_others_exactly(cli, write, checkpoints, monkeypatch):
    """Six batches, left within the first rung: the two best of it finish, with the weights of undisturbed trainings."""
    path = write("[grid]\nbatch = [8, 12, 16, 24, 32, 48]", top="seeds = 3")
    spec = spec_of(path.read_text(), name="s")
    assert cli("sweep", str(path), "--search", "halving", "--dry-run").out == (
        "s: halving trains 6 to step 10, 2 to step 30 (56% of all steps)\n"
    )
    training = search(Halving(spec), in_this_process)
    for _ in range(4):
        next(training)
    training.close()
    monkeypatch.setattr("mvm.sweeps.local.run_local", lambda sweep, workers, retry: in_this_process(sweep))
    done = cli("sweep", str(path), "--search", "halving", "--on", "local", "--workers", "1")
    assert done.status == 0, done.err
    runs = [Run(checkpoints / name) for name in sweep_named("s").runs]
    at_rung = sorted(runs, key=lambda run: sorted(quick_losses(run, 10))[1])
    assert [run.status().state for run in at_rung] == ["finished"] * 2 + ["stopped"] * 4
    assert [run.status().step for run in at_rung] == [30] * 2 + [10] * 4
    assert all(run.is_held() for run in at_rung[2:])
    begun = [[e.step for e in run.records.events if isinstance(e, events.Started | events.Resumed)] for run in at_rung]
    assert begun == [[0, 10]] * 2 + [[0]] * 4
    lines = done.out.splitlines()
    assert lines[1].startswith("s: 2 finished, 4 held; ")
    assert lines[2:4] == ["  4 held at step 10 by the search", "s: 2 of 2 settings at step 30"]
    cells = [cell_of(sweep_named("s"), row) for row in progress_of(sweep_named("s")).rows]
    assert Counter(cell.state for cell in cells) == {"finished": 2, "held": 4}
    assert sum("held at step 10 of 30 by the search" in cell.text for cell in cells) == 4
    ranked = sorted(at_rung[:2], key=lambda run: sorted(row["w2_ratio"] for row in run.scores())[1])
    for line, run in zip(lines[-2:], ranked, strict=True):
        assert line.endswith(f"  --batch {run.config.batch:<2}  {run.name}")

    assert cli("resume", at_rung[2].name).status == 0  # a person may go on with any
    assert at_rung[2].status().state == "finished"
    monkeypatch.setenv("MVM_CHECKPOINTS", str(checkpoints.parent / "undisturbed"))
    make(spec)
    Worker(sweep_named("s"), only=at_rung[0].name).work()
    weights = [read_tensors(run.path / "checkpoint.safetensors") for run in (at_rung[0], Run.named(at_rung[0].name))]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_settings_of_different_data_do_not_compete_and_a_stopped_run_stays_stopped(write, tmp_path, cloud):
    other = tmp_path / "other.csv"
    other.write_bytes(cloud.read_bytes())
    path = write(f'[grid]\ndata = ["{cloud}", "{other}"]\nbatch = [16, 32]')
    path.write_text(path.read_text().replace(f'data = "{cloud}"\n', ""))
    found = Halving(spec_of(path.read_text(), name="s"))
    stopped = []

    def trains(sweep):
        for progress in in_this_process(sweep):
            if not stopped:
                stopped.append(progress.rows[0].name)
                Run.named(stopped[0]).append_event(events.Stopped(step=0, time=time.time()))
            yield progress

    [*search(found, trains)]
    rows = progress_of(sweep_named("s")).rows
    assert sorted((row.data, row.status) for row in rows).count((str(cloud), "finished")) == 1
    assert sorted((row.data, row.status) for row in rows).count((str(other), "finished")) == 1
    assert (rows[0].name, rows[0].status, rows[0].step) == (stopped[0], "stopped", 0)


# -- the command -------------------------------------------------------------------------------------------------------


def test_a_killed_search_goes_on_and_workers_wait_for_it(mvm, cli, write, checkpoints):
    """`mvm sweep --search tpe` and `mvm work` as a user starts them; SIGKILL of the first after its second setting."""
    path = write(RATES.format(3, 3))
    command, worker = mvm("sweep", str(path), "--search", "tpe"), None

    def finished() -> int:
        return sum(run.status().state == "finished" for run in map(Run, sorted(checkpoints.glob("s-*"))))

    until(lambda: (checkpoints / ".sweeps/s/runs.json").exists(), "the first setting", progress=command.progress)
    worker = mvm("work", "s")
    until(lambda: finished() >= 1 and len(asked()) >= 2, "the second setting", progress=worker.progress)
    assert "a search goes on" in cli("sweep", "s", "--status").out
    command.kill()
    assert worker.wait() == 0  # nobody asks for more
    before = asked()
    command = mvm("sweep", str(path), "--search", "tpe")
    until(lambda: sweep_named("s").is_searched, "the search", progress=command.progress)
    assert mvm("work", "s").wait() == 0
    assert command.wait() == 0, command.err
    assert finished() == 3
    assert asked()[: len(before)] == before
    assert "best settings by W₂ / baseline" in command.out
    for run in map(Run, checkpoints.glob("s-*")):
        assert [event.event for event in run.records.poll().events if event.state] == ["started", "finished"]


def test_runs_made_before_variants_had_rates_of_their_own_are_found(write):
    """Each rate had a run of its own, in its settings."""
    spec = read_spec(write("[grid]\noptimiser.generator-lr = [0.001, 0.01]"))
    make(spec)
    runs = sweep_named("s").runs
    for name in runs:
        Run.named(name).delete()
    base = spec.points[0].config.of_variant("both")
    old = {f"s-{rate}": {"optimiser.generator_lr": rate} for rate in (0.001, 0.01)}
    for name, settings in old.items():
        Run.create(base.with_changes(settings), name=name)
    (sweep_named("s").folder / "runs.json").write_text(json.dumps(old))
    halving = Halving(spec)
    assert halving.advance(progress_of(sweep_named("s")).rows)
    assert [[run.name for run in halving._runs_of(point)] for point in spec.points] == [[name] for name in old]
    assert {*sweep_named("s").runs} == {*old}


@pytest.mark.parametrize(
    ("text", "how", "says"),
    [
        ("", "tpe", "sweep: a search chooses settings under [random], and s has none"),
        ("[random]\ncount = 2\nvariants = [['both'], ['centroid']]", "tpe", "search: tpe cannot choose variants"),
        ("[grid]\nsteps = [30, 60]", "halving", "search: halving needs one number of steps; write it under [base]"),
        ("[grid]\nsteps = [20]", "halving", "search: halving needs at least 30 steps (got 20)"),
        ("", "luck", "search: unknown 'luck'; known: tpe, halving"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_one_line(cli, write, text, how, says):
    path = write(text)
    path.write_text(path.read_text().replace('variants = ["both"]\nsteps = 30\n', ""))
    done = cli("sweep", str(path), "--search", how)
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"mvm: {says}")


def test_a_search_trains_here_what_it_asks_for(mvm, write, checkpoints):
    command = mvm("sweep", str(write(RATES.format(4, 3))), "--search", "tpe", "--on", "local", "--workers", "1")
    assert command.wait() == 0, command.err
    assert "s: 4 finished; 4 of 4 trainings finished" in command.out
    assert "s: 4 of 4 settings tried" in command.out


def test_a_search_needs_optuna_only_for_tpe(cli, write, monkeypatch):
    path = write(RATES.format(6, 0))
    planned = cli("sweep", str(path), "--search", "tpe", "--workers", "3", "--dry-run").out
    assert planned == "s: tpe tries 6 settings, with 1 seed each, 3 at a time\n"
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli("sweep", str(path), "--search", "tpe").err == (
        'mvm: search: Optuna is not installed; `pip install "mvm-lab[search]"`, or use --search halving\n'
    )
    assert cli("sweep", str(path), "--search", "halving", "--dry-run").status == 0
