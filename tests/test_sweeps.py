"""Sweeps: a grid in a file becomes runs; workers that are killed, stopped or late train each once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from importlib.machinery import ModuleSpec

import pytest
import torch
from safetensors.torch import save
from trainers import until

from benchmarks import clusters
from mvm.config import Config
from mvm.errors import ConfigError, RunError
from mvm.files import append_line, locked, read_tensors
from mvm.processes import identity, lives
from mvm.runs import events, layout
from mvm.runs.layout import CHECKPOINT
from mvm.runs.library import all_runs
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.sweeps.ray import hand_out, run_ray
from mvm.sweeps.results import pooled, results_of
from mvm.sweeps.spec import read_spec, spec_of
from mvm.sweeps.sweep import make, plan, progress_of, sweep_named
from mvm.sweeps.worker import DEATHS, Worker

FEW = 'variants = ["both"]\nsteps = 160\ncheckpoints = 8\nsnapshots = 2'


def points(text: str) -> list[dict]:
    return [point.settings for point in spec_of(text, name="s").points]


# -- the specification -------------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_and_zip_goes_in_step():
    spec = spec_of(
        """
        seeds = [3, 5]
        [base]
        steps = 10
        [grid]
        data = ["circle", "torus"]
        [zip]
        batch = [16, 32, 64]
        network.width = [8, 16, 32]
        """,
        name="s",
    )
    wanted = [
        (data, batch, batch // 2) for data, batch in itertools.product(("circle", "torus"), (16, 32, 64))
    ]  # written out by hand
    assert [tuple(point.settings.values()) for point in spec.points] == wanted
    for (data, batch, width), point in zip(wanted, spec.points, strict=True):
        made = Config.make(data=data, batch=batch, network={"width": width}, steps=10, seeds=(3, 5))
        assert point.config == made
    assert spec.axes == {"data": ("circle", "torus"), "batch": (16, 32, 64), "network.width": (8, 16, 32)}


def test_ranges_have_equal_distances_or_equal_ratios_and_whole_numbers_stay_whole():
    text = """
    [grid]
    optimiser.generator-lr = { log = [1e-4, 1e-2], count = 3 }
    batch = { range = [16, 64], step = 16 }
    """
    found = spec_of(text, name="s").axes
    assert found == {"optimiser.generator_lr": (1e-4, 1e-3, 1e-2), "batch": (16, 32, 48, 64)}
    assert all(type(value) is int for value in found["batch"])
    assert spec_of("[grid]\nmvm.gamma = { range = [0, 0.1], count = 3 }", name="s").axes == {
        "mvm.gamma": (0, 0.05, 0.1)
    }


def test_random_draws_stay_when_there_are_more_of_them_or_of_settings():
    text = "[random]\ncount = {}\nseed = 1\noptimiser.generator-lr = {{ log = [1e-4, 1e-2] }}\n{}"
    few, more = points(text.format(4, "")), points(text.format(6, 'data = ["circle", "torus"]'))
    assert len(few) == 4
    assert len(more) == 6
    rates = [each["optimiser.generator_lr"] for each in more]
    assert rates[:4] == [each["optimiser.generator_lr"] for each in few]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert len(set(rates)) == 6
    assert points(text.format(4, "").replace("seed = 1", "seed = 2")) != few


def test_settings_that_a_method_does_not_use_make_no_more_trainings():
    text = """
    [base]
    variants = ["both"]
    [grid]
    method = ["mvm", "wgan_gp"]
    mvm.gamma = [0.1, 0.2]
    """
    assert points(text) == [
        {"method": "mvm", "mvm.gamma": 0.1},
        {"method": "mvm", "mvm.gamma": 0.2},
        {"method": "wgan_gp"},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seeds = \n", "s is not valid TOML: .*line 1"),
        ("steps = 5", "unknown part 'steps'; known: .* go under \\[base\\]"),
        ("[grid]\nwidht = [1]", "unknown setting 'widht'"),
        ("[grid]\nwidth = [1]", "did you mean network.width"),
        ("[grid]\nbatch = 5", "grid.batch must be a list of values or { range = .* \\(got 5\\)"),
        ("[grid]\nbatch = []", "grid.batch has no values"),
        ("[grid]\nbatch = { range = [64, 16], count = 2 }", "grid.batch needs range = \\[low, high\\] with low < high"),
        ("[grid]\nbatch = { range = [16, 64] }", "grid.batch needs count"),
        ("[grid]\nbatch = { log = [0, 64], count = 2 }", "grid.batch needs log bounds above 0 \\(got \\[0, 64\\]\\)"),
        ("[zip]\nbatch = [2, 4]\nsteps = [1]", "same number of values \\(got batch 2, steps 1\\)"),
        ("[random]\nbatch = [2, 4]", "random needs count"),
        ("[grid]\nbatch = [2]\n[zip]\nbatch = [4]", "batch is under two of grid, zip and random"),
        ("[base]\nseeds = [1]", "write seeds at the top"),
        ("seeds = 0", "seeds must be a number of seeds or a list"),
        ("name = 'a/b'", "'a/b' cannot name a sweep"),
        ("together = 0", "together must be a whole number of at least 1 \\(got 0\\)"),
        ("[grid]\nbatch = [16, 1]", "batch: .*at least 2 \\(got 1\\); in the combination batch = 1"),
        ("seeds = 50001\n[grid]\nbatch = [16, 32]", "2 combinations x 50001 seeds; a sweep has at most 100,000"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_the_value(text, says):
    with pytest.raises(ConfigError, match=says) as found:
        spec_of(text, name="s")
    assert "\n" not in str(found.value)


# -- runs on disk ------------------------------------------------------------------------------------------------------


def members() -> list[tuple]:
    """(batch, variant, seed) of every run there is."""
    return sorted((run.config.batch, *member) for run in all_runs() for member in run.config.members)


def test_making_a_sweep_again_adds_what_is_missing_alone(cli, write, checkpoints):
    path = write('variants = ["centroid"]\n[grid]\nbatch = [16, 32]')
    listed = cli("sweep", str(path), "--dry-run")
    assert listed.out.startswith(
        "s: 4 trainings in 2 runs (trainings of a run share a process); 0 are there, 2 to make\n"
    )
    assert re.search(r"like the first run: .* ms a step; its 2 trainings one after the other .* as long\n", listed.out)
    assert not checkpoints.exists()
    assert cli("sweep", str(path)).out.startswith("s: 4 trainings in 2 runs")
    first = {run.path.name for run in all_runs()}
    assert all(name.startswith("s-batch") for name in first)
    assert members() == [(b, "centroid", s) for b in (16, 32) for s in (0, 1)]
    assert "; 2 were there, 0 made" in cli("sweep", str(path)).out

    path = write('variants = ["centroid", "both"]\n[grid]\nbatch = [16, 32, 64]', top="seeds = 3")
    make(read_spec(path))
    assert members() == sorted((b, v, s) for b in (16, 32, 64) for v in ("centroid", "both") for s in range(3))
    assert len([*all_runs()]) == 2 + 2 * 2 + 1  # as before; a seed and a variant more of each; a new one
    assert plan(read_spec(path)).missing == ()

    next(run for run in all_runs() if run.config.batch == 64).delete()
    (checkpoints / ".sweeps" / "s" / "runs.json").unlink()  # the list is lost: runs are known by name and settings
    made = make(read_spec(path))
    assert [run.settings for run in made.missing] == [{"batch": 64}]
    assert set(sweep_named("s").runs) == {run.name for run in all_runs()} >= first


def test_trainings_share_a_process_up_to_a_number(write):
    def shapes(together: int) -> list[tuple[int, int]]:
        text = 'variants = ["centroid", "diameter", "both"]'
        planned = plan(read_spec(write(text, top=f"seeds = 5\ntogether = {together}")))
        assert planned.trainings == 15
        found = [member for run in planned.missing for member in run.config.members]
        assert len(set(found)) == len(found) == 15
        return [(len(run.config.variants), len(run.config.seeds)) for run in planned.missing]

    assert shapes(16) == [(3, 5)]
    assert shapes(6) == [(3, 2), (3, 2), (3, 1)]
    assert shapes(1) == [(1, 1)] * 15


RATES = [1e-4, 1e-3, 1e-2]


def test_rates_and_weights_of_losses_share_a_process_and_results_tell_them_apart(cli, write, checkpoints):
    text = """
    steps = 10
    [grid]
    method = ["mvm", "wgan_gp"]
    variants = [["centroid"], ["both"]]
    optimiser.generator-lr = [1e-4, 1e-3, 1e-2]
    weights.diameter = [0.5, 2]
    wgan_gp.penalty = [1, 10]
    """
    wanted = {
        *(("mvm", "centroid", lr, None, None, s) for lr in RATES for s in range(2)),  # it has no diameter to weigh
        *(("mvm", "both", lr, w, None, s) for lr in RATES for w in (0.5, 2) for s in range(2)),
        *(("wgan_gp", "wgan_gp", lr, None, p, s) for lr in RATES for p in (1, 10) for s in range(2)),
    }
    path = write(text)
    made = make(read_spec(path))
    assert (made.trainings, len(made.missing)) == (len(wanted), 2 + 1)  # 18 of mvm by 16 at most, 12 of wgan_gp
    assert {member for run in made.missing for member in run.config.variants} == {
        *(f"centroid@optimiser.generator_lr={lr:g}" for lr in RATES),
        *(f"both@optimiser.generator_lr={lr:g}@weights.diameter={w:g}" for lr in RATES for w in (0.5, 2)),
        *(f"wgan_gp@optimiser.generator_lr={lr:g}@wgan_gp.penalty={p}" for lr in RATES for p in (1, 10)),
    }
    assert plan(read_spec(path)).missing == ()

    assert Worker(sweep_named("s")).work()
    results = results_of(sweep_named("s"))
    names = ("method", "variants", "optimiser.generator_lr", "weights.diameter", "wgan_gp.penalty")
    assert len(results) == len(wanted)
    assert {(*map(result.settings.get, names), result.seed) for result in results} == wanted
    assert len({result.score for result in results}) == len(wanted), "each is another training"
    assert {len(each) for each in pooled(results, ["optimiser.generator_lr"]).values()} == {len(wanted) // 3}

    more = plan(read_spec(write(text.replace("1e-2]", "1e-2, 0.1]"))))
    assert {v for run in more.missing for v in run.config.variants if v.startswith("mvm")} == set()
    assert sum(len(run.config.members) for run in more.missing) == len(wanted) // 3


def test_trainings_of_a_sweep_made_before_variants_had_settings_of_their_own_are_known(write, checkpoints):
    """Each rate had a run of its own."""
    path = write('variants = ["both"]\nsteps = 10\n[grid]\noptimiser.generator-lr = [1e-3, 1e-2]')
    base = make(read_spec(path)).missing[0].config.of_variant("both")
    runs = {}
    for name, rate in (("s-old", 1e-3), ("s-other", 1e-2)):
        Run.create(base.with_changes({"optimiser.generator_lr": rate}), name=name)
        runs[name] = {"optimiser.generator_lr": rate}
    (checkpoints / ".sweeps" / "s" / "runs.json").write_text(json.dumps(runs))
    assert plan(read_spec(path)).missing == ()
    assert Worker(sweep_named("s")).work()
    found = {(result.settings["optimiser.generator_lr"], result.seed) for result in results_of(sweep_named("s"))}
    assert found == {(rate, seed) for rate in (1e-3, 1e-2) for seed in (0, 1)}


def test_pictures_share_no_process():
    spec = spec_of('seeds = 3\n[base]\ndata = "faces"\nsize = 8', name="s")
    assert {spec.together(point.config) for point in spec.points} == {1}


def test_an_unknown_sweep_and_wrong_options_are_one_line(cli, write):
    assert cli("work", "nothing") == (
        2, "", "mvm: sweep: no sweep 'nothing' (there are: none yet); `mvm sweep SPEC.toml` makes one\n",
    )  # fmt: skip
    assert cli("sweep", "missing.toml").err == "mvm: sweep: missing.toml cannot be read: No such file or directory\n"
    assert "workers: 2; give 1 or more, and --on local" in cli("sweep", str(write()), "--workers", "2").err
    assert "on: unknown 'moon'; known: " in cli("sweep", str(write()), "--on", "moon").err


# -- workers -----------------------------------------------------------------------------------------------------------


def begun(run: Run) -> list[int]:
    """Process numbers of its trainers, in their order."""
    return [e.pid for e in run.records.poll().events if isinstance(e, events.Started | events.Resumed)]


def weights(run: Run) -> dict[str, torch.Tensor]:
    return read_tensors(run.path / "checkpoint.safetensors")


def test_killed_workers_lose_nothing_and_train_no_run_twice_at_once(mvm, cli, write, checkpoints, monkeypatch):
    """Six runs, two workers, three SIGKILLs and a SIGTERM within runs: weights equal those of an undisturbed sweep."""
    path = write(FEW, top="seeds = 6\ntogether = 1")
    make(read_spec(path))
    runs = {name: Run(checkpoints / name) for name in sweep_named("s").runs}

    def is_within(worker) -> Run | None:
        """The run that a worker has trained past its first checkpoint."""
        for run in runs.values():
            if begun(run)[-1:] == [worker.process.pid] and 20 < run.status().step < 140:
                return run
        return None

    workers, killed = [mvm("work", "s"), mvm("work", "s")], {}
    for place, blow in enumerate((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)):
        worker = workers[place % 2]
        run = until(lambda: is_within(worker), "a run within", progress=worker.progress)  # noqa: B023
        os.kill(worker.process.pid, blow)
        status = worker.wait()
        killed[worker.process.pid] = time.time(), run.name
        assert status == (-9 if blow == signal.SIGKILL else 75), worker.err
        workers[place % 2] = mvm("work", "s")
    assert [worker.wait() for worker in workers] == [0, 0], [worker.err for worker in workers]
    assert all("nothing is left to train" in worker.out for worker in workers)

    progress = progress_of(sweep_named("s"))
    assert (progress.states, progress.trainings, progress.left) == ({"finished": 6}, (6, 6), 0)
    resumed = {run.name: begun(run) for run in runs.values() if len(begun(run)) > 1}
    assert {name for _, name in killed.values()} == set(resumed)
    for run in runs.values():
        steps = [record["step"] for record in run.records.scalars]
        assert steps == sorted(set(steps)), "two trainers at once write a step twice"
        times = [e for e in run.records.events if isinstance(e, events.Started | events.Resumed)]
        for former, later in itertools.pairwise(times):
            assert killed[former.pid][1] == run.name
            assert later.time > former.time
    assert [p.name for p in checkpoints.rglob(".*") if p.name not in (".sweeps", ".workers", ".index.json")] == []

    monkeypatch.setenv("MVM_CHECKPOINTS", str(checkpoints.parent / "undisturbed"))
    make(read_spec(path))
    assert Worker(sweep_named("s")).work()
    for name, run in runs.items():
        torch.testing.assert_close(weights(run), weights(Run.named(name)), rtol=0, atol=0)
    assert cli("sweep", "s", "--status").out.startswith("s: 6 finished; 6 of 6 trainings finished in")


def test_failed_diverged_and_stopped_runs_are_left_alone_unless_asked(write, checkpoints, monkeypatch):
    make(read_spec(write("steps = 20\n[grid]\nbatch = [16, 32, 64, 128]")))
    names = [*sweep_named("s").runs]
    for name, event in zip(names, (events.Failed, events.Diverged, events.Stopped), strict=False):
        Run(checkpoints / name).append_event(event(step=0, time=time.time() - 1))
    assert Worker(sweep_named("s")).work()
    assert progress_of(sweep_named("s")).states == {"finished": 1, "failed": 1, "diverged": 1, "stopped": 1}

    def fails(run, **_):
        raise RuntimeError("no luck")
        yield

    said = []
    with monkeypatch.context() as patched:
        patched.setattr("mvm.runs.recorder.train", fails)
        assert Worker(sweep_named("s"), retry=True, say=said.append).work()
    assert said[1::2] == [f"{name}: failed: no luck" for name in names[:3]]
    assert Worker(sweep_named("s"), retry=True).work()
    assert progress_of(sweep_named("s")).states == {"finished": 4}


def test_a_run_that_kills_every_trainer_is_given_up(write, checkpoints):
    make(read_spec(write("steps = 20")))
    (name,) = sweep_named("s").runs
    run = Run(checkpoints / name)
    for _ in range(DEATHS):
        run.append_event(events.Started(step=0, time=time.time() - 1))
    assert Worker(sweep_named("s")).work()
    assert run.status().state == "failed"
    assert f"killed {DEATHS} times at step 0" in run.status().reason
    assert Worker(sweep_named("s"), retry=True).work()
    assert run.status().state == "finished"


def test_a_worker_waits_for_runs_of_others_and_takes_them_over(write, checkpoints):
    make(read_spec(write("steps = 20")))
    (name,) = sweep_named("s").runs
    said, held = [], contextlib.ExitStack()
    held.enter_context(locked(checkpoints / name / "lock"))

    def say(line: str) -> None:
        said.append(line)
        held.close()

    assert Worker(sweep_named("s"), say=say).work()
    assert "being trained by others" in said[0]
    assert said[-1] == f"{name}: finished"


def test_a_full_disk_fails_no_run(write, checkpoints, monkeypatch):
    make(read_spec(write("steps = 20")))
    full = [OSError(28, "No space left on device")]

    def fills(run, **more):
        if full:
            raise full.pop()
        yield from train(run, **more)

    monkeypatch.setattr("mvm.runs.recorder.train", fills)
    monkeypatch.setattr("mvm.sweeps.worker.ROOM", 0.0)
    said = []
    assert Worker(sweep_named("s"), say=said.append).work()
    assert "the disk is full; it waits for room" in said[1]
    assert said[-1].endswith(": finished")


def test_the_time_left_counts_the_steps_that_have_a_time(cli, write, checkpoints):
    """One run has 100 steps in 50 s on record, and a save at 400; the other none: 1,600 steps at .5 s are left."""
    make(read_spec(write("steps = 1000\n[grid]\nbatch = [16, 32]")))
    run = Run(checkpoints / next(iter(sweep_named("s").runs)))
    append_line(run.path / layout.RECORDS, {"step": 100, "seconds": 50.0})
    run.append_event(events.Queued(step=400, time=time.time()))
    progress = progress_of(sweep_named("s"))
    assert (progress.steps, progress.per_step, progress.seconds_left()) == ((400, 2000), 0.5, 800.0)
    assert progress.seconds_left(2) == 400.0
    assert ", 13 min left; 0 of " in cli("sweep", "s", "--status").out


def test_a_worker_leaves_at_once_before_its_first_step_and_saves_after_it(write, checkpoints, monkeypatch):
    make(read_spec(write("steps = 20")))
    run = Run(checkpoints / next(iter(sweep_named("s").runs)))

    def stopped_while_it_loads(run, **more):
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("it goes on")
        yield

    def stopped_after_a_step(run, **more):
        for step in train(run, **more):
            yield step
            if step.number == 1:
                signal.raise_signal(signal.SIGTERM)

    for trains, begins in ((stopped_while_it_loads, False), (stopped_after_a_step, True)):
        monkeypatch.setattr("mvm.runs.recorder.train", trains)
        worker = Worker(sweep_named("s"))
        with worker.leave_on_signals():
            worker.work()
        assert worker.leaving
        assert isinstance(run.records.poll().events[-1], events.Queued), "it waits for the next worker"
        assert not run.alive()
        assert (run.path / CHECKPOINT).exists() is begins
    assert run.status().step > 0
    monkeypatch.setattr("mvm.runs.recorder.train", train)
    assert Worker(sweep_named("s")).work()
    assert run.status().state == "finished"


def test_this_machines_workers_are_started_again_and_end_with_their_command(mvm, cli, write, checkpoints):
    """`sweep --on local`: a killed worker is replaced; Ctrl-C ends all workers, with all saved."""
    path = write(FEW, top="seeds = 3\ntogether = 1")
    make(read_spec(path))
    runs = [Run(checkpoints / name) for name in sweep_named("s").runs]
    command = mvm("sweep", str(path), "--on", "local", "--workers", "1")
    run = until(lambda: next((r for r in runs if r.status().step > 20), None), progress=command.progress)
    os.kill(begun(run)[-1], signal.SIGKILL)
    until(lambda: len({pid for r in runs for pid in begun(r)}) > 1, "another worker", progress=command.progress)
    workers = [identity(pid) for r in runs for pid in begun(r)]
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait() == 130
    assert not any(lives(worker) for worker in workers)
    assert Worker(sweep_named("s")).work()
    assert progress_of(sweep_named("s")).states == {"finished": 3}
    assert json.loads(cli("runs", "--json").out)[0]["status"] == "finished"


def test_a_damaged_run_is_told_and_passed_over(cli, write, checkpoints, tmp_path):
    make(read_spec(write("steps = 20\n[grid]\nbatch = [16, 32]")))
    damaged, whole = sweep_named("s").runs
    (checkpoints / damaged / "config.json").write_text("{")
    done = cli("work", "s")
    assert (done.status, done.err) == (2, "mvm: sweep: 1 runs of s cannot be read; see above\n")
    assert f"run: {damaged}'s config.json cannot be read" in done.out
    assert Run(checkpoints / whole).status().state == "finished"
    with pytest.raises(RunError):
        Run(checkpoints / damaged)
    status = cli("sweep", "s", "--status").out
    assert f"run: {damaged}'s config.json cannot be read" in status
    assert "deleted, `python -m mvm sweep s.toml` makes them again" in status
    assert make(read_spec(tmp_path / "s.toml")).missing == (), "nothing is made in its place, as its name is taken"
    assert progress_of(sweep_named("s")).removed == ()
    assert cli("delete", damaged, "--yes").status == 0
    assert progress_of(sweep_named("s")).removed == (damaged,)
    assert [run.name for run in make(read_spec(tmp_path / "s.toml")).missing] == [damaged]


# -- Slurm -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of Slurm on the PATH that note how they are called, and a worker that leaves on SIGTERM."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    programs = {
        "sbatch": "echo $(( $(wc -l < $0.calls) + 40 ));",
        "scontrol": "echo MaxArraySize = 3;",
        "squeue": "case $* in *%r*) printf 'RUNNING|None\\nPENDING|Priority\\n';; *) echo RUNNING; esac",
        "sacct": "printf '41_0|COMPLETED\\n41_1|TIMEOUT\\n41_2|RUNNING\\n';",
        "worker": "trap 'exit 75' TERM; [ $(grep -c 'mvm work' $0.calls) = 2 ] || kill -9 $$; "
        "while true; do sleep .1; done",
    }
    for name, does in programs.items():
        (folder / name).write_text(f'#!/bin/bash\necho "$@" >> $0.calls\n{does}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(folder / "worker"))
    return folder


def calls(slurm, name: str) -> list[str]:
    lines = (slurm / f"{name}.calls").read_text().splitlines()
    return [line for line in lines if name != "worker" or "mvm work" in line]  # a worker tries locks, too


def test_workers_are_submitted_as_arrays_that_slurm_takes(cli, write, checkpoints, slurm):
    path = write("steps = 20", top="seeds = 5\ntogether = 1\nname = 'grid'")
    done = cli("sweep", str(path), "--on", "slurm", "--workers", "5", "--sbatch", "--gres=gpu:1 --time=1:00")
    assert done.out.splitlines()[-1].startswith("grid: 5 workers for 15 runs, Slurm jobs 41, 42; ")
    script = checkpoints / ".sweeps" / "grid" / "workers.sbatch"
    assert calls(slurm, "sbatch") == [
        f"--parsable --array={array} --gres=gpu:1 --time=1:00 {script}" for array in ("0-2", "0-1")
    ]
    told = cli("sweep", "grid", "--status").out.splitlines()
    assert told[1] == "  Slurm: 1 running, 1 pending (Priority), 1 completed, 1 timeout"
    assert "sbatch: '--x' is for --on slurm" in cli("sweep", "grid", "--sbatch=--x").err


def test_a_job_replaces_a_killed_worker_and_asks_for_another_turn_when_its_time_is_over(cli, write, checkpoints, slurm):
    cli("sweep", str(write("steps = 20", top="name = 'grid'")), "--on", "slurm")
    environment = os.environ | {"SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "0"}
    job = subprocess.Popen(["bash", checkpoints / ".sweeps" / "grid" / "workers.sbatch"], env=environment)
    until(lambda: (slurm / "worker.calls").exists() and len(calls(slurm, "worker")) == 2, "another worker")
    job.terminate()  # the first was killed
    until(lambda: job.poll() is not None, "the end of the job")
    assert job.returncode == 75
    assert calls(slurm, "worker") == ["-m mvm work grid"] * 2
    assert calls(slurm, "scontrol")[-1] == "requeue 41_0"


def test_without_slurm_it_is_told_where_to_run(cli, write, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = cli("sweep", str(write()), "--on", "slurm")
    assert (done.status, done.err) == (
        2, "mvm: slurm: no sbatch on this machine; run this on a login node of the cluster, or use --on local\n",
    )  # fmt: skip


# -- Ray ---------------------------------------------------------------------------------------------------------------


class StubRay(types.ModuleType):
    """As much of Ray as a sweep needs: a task runs where its end is waited for; a late one is never done."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.__spec__ = ModuleSpec("ray", None)
        self.calls: list = []
        self.shares: list[dict] = []
        self.queued: list[tuple] = []
        self.late = False
        self.lives = True

    def init(self, **options) -> None:
        self.calls.append(options)

    def remote(self, **options):
        self.calls.append(options)
        return lambda function: types.SimpleNamespace(
            options=lambda **share: types.SimpleNamespace(remote=lambda *given: self._queue(function, share, given))
        )

    def _queue(self, function, share: dict, given: tuple) -> tuple:
        self.shares.append(share)
        self.queued.append((function, given))
        return self.queued[-1]

    def get_runtime_context(self):
        return types.SimpleNamespace(get_node_id=lambda: "a")

    def nodes(self) -> list[dict]:
        return [{"NodeID": "a", "Alive": self.lives}]

    def wait(self, tasks, *, num_returns: int, timeout: float):
        return ([], tasks) if self.late else (tasks[:num_returns], tasks[num_returns:])

    def get(self, task):
        function, given = task
        return function(*given)

    def cancel(self, task, *, force: bool) -> None:
        self.calls.append(("cancel", task[1][2], force))

    def shutdown(self) -> None:
        self.calls.append("shutdown")


@pytest.fixture
def ray(monkeypatch):
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    stub = StubRay()
    monkeypatch.setitem(sys.modules, "ray", stub)
    return stub


def test_ray_trains_one_task_a_run_with_its_threads(cli, write, ray):
    make(read_spec(write("steps = 20\nthreads = 2\n[grid]\nbatch = [16, 32, 64]")))
    assert cli("work", "s", "--on", "ray", "--workers", "2").out == "s: nothing is left to train\n"
    assert progress_of(sweep_named("s")).states == {"finished": 3}
    assert [(share["num_cpus"], share["num_gpus"]) for share in ray.shares] == [(2, 0)] * 3
    begun, task, ended = ray.calls
    assert (begun["address"], begun["include_dashboard"], task["max_retries"], ended) == (
        "local",
        False,
        -1,
        "shutdown",
    )
    assert (os.environ["RAY_USAGE_STATS_ENABLED"], os.environ["RAY_AUTH_MODE"]) == ("0", "token")
    assert cli("work", "s", "--on", "ray:auto").status == 0
    assert ray.calls[3]["address"] == "auto"


def test_runs_that_a_search_adds_are_handed_out_to_ray_too(write, ray, monkeypatch):
    make(read_spec(write("steps = 20\n[grid]\nbatch = [16]")))
    added = []

    def is_searched(_) -> bool:
        if len(added) < 2:
            added.append(make(read_spec(write(f"steps = 20\n[grid]\nbatch = [16, {32 + len(added)}]"))))
        return len(added) < 2

    monkeypatch.setattr("mvm.sweeps.sweep.Sweep.is_searched", property(is_searched))
    assert hand_out(sweep_named("s"), 1)
    assert [given[2] for _, given in ray.queued] == [*sweep_named("s").runs]
    assert progress_of(sweep_named("s")).states == {"finished": 3}


def test_tasks_of_ray_are_asked_to_save_before_they_are_cancelled(write, ray, checkpoints):
    make(read_spec(write("steps = 20")))
    sweep = sweep_named("s")
    leave = sweep.folder / "leave"
    ray.late = True
    asked = iter((False, True))
    assert not hand_out(sweep, None, leaving=lambda: next(asked))
    assert ("cancel", *sweep.runs, True) in ray.calls
    assert not leave.exists()
    leave.touch()
    assert ray.get(ray.queued[0]) is False  # it saw the file before its first step, and left the run to others
    assert Run(checkpoints / next(iter(sweep.runs))).status().state == "new"


def test_a_head_of_ray_that_was_started_anew_ends_the_driver_of_the_former(write, ray):
    make(read_spec(write("steps = 20")))
    ray.late, ray.lives = True, False
    with pytest.raises(RunError, match="ray: the cluster at head was started anew; its tasks are lost"):
        hand_out(sweep_named("s"), None, address="head")
    assert ray.calls[-1] == "shutdown"


def test_the_driver_of_ray_is_started_again_and_asked_to_leave(cli, write, ray, checkpoints, slurm, monkeypatch):
    """Ray ends it when the head of the cluster dies."""
    make(read_spec(write("steps = 20")))
    monkeypatch.setattr("mvm.sweeps.local.PAUSE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        training = run_ray(sweep_named("s"), 2, address=address)
        until(lambda: next(training) and (slurm / "worker.calls").exists() and len(calls(slurm, "worker")) == 2)
    training.close()  # returns once it has left
    assert calls(slurm, "worker") == [f"-m mvm work s --on ray:{address} --workers 2"] * 2
    done = cli("sweep", "s", "--on", f"ray:{address}")
    assert (done.status, done.err) == (2, f"mvm: ray: no cluster at {address}: Connection refused\n")


def test_without_ray_it_is_told_how_to_install_it(cli, write, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    done = cli("sweep", str(write()), "--on", "ray")
    assert (done.status, done.err) == (
        2, 'mvm: ray: it is not installed; `pip install "mvm-lab[ray]"`, or use --on local\n',
    )  # fmt: skip


def test_one_sweep_by_two_engines_has_equal_weights(write, tmp_path, monkeypatch, capsys):
    out, spec = tmp_path / "clusters", write("steps = 20\n[grid]\nbatch = [16, 32]")
    monkeypatch.setattr(sys, "argv", ["clusters", str(spec), "--out", str(out)])

    def status(*engines: str) -> int:
        monkeypatch.setattr(clusters, "IS_HERE", dict.fromkeys(engines, lambda: True) | {"slurm": lambda: False})
        with pytest.raises(SystemExit) as left:
            clusters.main()
        return left.value.code

    assert status("local") == 0
    shutil.copytree(out / "local", out / "ray")
    monkeypatch.setattr(clusters, "train", lambda *_: None)
    assert status("local", "ray") == 0
    assert "| ray | 2 | 12 | 2 | 2 |" in capsys.readouterr().out
    path = next((out / "ray").glob("s-batch16*")) / CHECKPOINT
    tensors = {name: tensor.clone() for name, tensor in read_tensors(path).items()}
    next(tensor for name, tensor in tensors.items() if name.startswith("generator.")).view(-1)[0] += 1e-6
    path.write_bytes(save(tensors))
    assert status("local", "ray") == 1
    assert "| ray | 2 | 12 | 2 | 1 |" in capsys.readouterr().out
