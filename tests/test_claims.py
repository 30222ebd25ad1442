"""Verdicts from runs whose numbers are known, and the driver that trains what is missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from launchers import Here
from trainers import until

import mvm.studies.claims
from mvm.errors import RunBusy, RunError
from mvm.files import append_line, locked, write_atomic, write_tensors
from mvm.jobs.launch import LAUNCHERS
from mvm.jobs.launcher import Task
from mvm.runs import events
from mvm.runs.events import append_event
from mvm.runs.run import Run
from mvm.studies.claims import CLAIMS, PUBLISHED, RULE, Plan, Trial, findings, shipped, to_json, train
from mvm.studies.claims import stop as mvm_stop

PLAN = Plan(steps=20, seeds=3, batches=(32, 512, 1024), manifolds=("circle",), pair_steps=20)
PAIRED = ("similarity", "falling", "perceptual")


def write_pairs(
    setting: str, *, psnr: list[float | None], niqe: list[float | None], gap=lambda step: 1 / (1 + step)
) -> Run:
    """A finished run of super-resolution that never was trained, with these final scores; SSIM goes with PSNR."""
    trial = Trial("stabilised", "sr", 0, setting)
    run = Run.create(PLAN.trials[trial], path=PLAN.path(trial))
    rows = []
    for (variant, seed), y, n in zip(run.config.members, psnr, niqe, strict=True):
        row = {"variant": variant, "seed": seed, "step": 20, "n": 4, "coordinates": "own"}
        row |= {"psnr_y": y, "ssim_y": None if y is None else y / 100, "niqe": n}
        rows.append(row | {"psnr_y_floor": 28.0, "ssim_y_floor": 0.8, "niqe_floor": 7.0})
    write_atomic(run.path / "scores.json", json.dumps(rows).encode())
    for step in range(20):
        record = {"step": step, "seconds": 0.1} | {
            name: [gap(step)] * len(rows) for name in ("d_p", "d_c", "d_g", "d_H")
        }
        append_line(run.path / "scalars.jsonl", record)
    run.append_event(events.Finished(step=20, time=0.0))
    return run


def write_all_pairs(good: bool) -> None:
    """Runs by which the claims about super-resolution hold, or do not."""
    high, low = ([31.0, 32.0, 33.0], [30.0, 31.0, 32.0]) if good else ([30.0, 31.0, None], [30.5, 31.0, 32.0])
    least, most = ([5.0] * 3, [6.0] * 3) if good else ([6.0] * 3, [5.0] * 3)
    rising = {} if good else {"gap": lambda step: 1 + step}
    write_pairs("mvm", psnr=high, niqe=least, **rising)
    write_pairs("mvm-ragan", psnr=high, niqe=least)
    write_pairs("gan", psnr=low, niqe=most)
    write_pairs("ragan", psnr=low, niqe=most)


def write(trial: tuple[str, str, int], *, ratios: dict[str, list[float | None]], **numbers) -> Run:
    """A finished run of a trial that never was trained, with these final scores and gaps."""
    trial = Trial(*trial)
    run = Run.create(PLAN.trials[trial], path=PLAN.path(trial))
    rows = []
    for variant, seed in run.config.members:
        ranks = dict(zip(("", "_initial", "_euclidean"), numbers.get("ranks", (0.5, 0.4, 0.3)), strict=True))
        row = {f"geodesic_spearman{suffix}": value for suffix, value in ranks.items()}
        rows.append(row | {"variant": variant, "seed": seed, "w2_ratio": ratios.get(variant, [9.0] * 3)[seed]})
        rows[-1] |= {"step": 20, "n": 64}
    write_atomic(run.path / "scores.json", json.dumps(rows).encode())
    for step in range(20):
        gap = numbers.get("gap", lambda step: 1 / (1 + step) ** 2)(step)
        record = {"step": step, "seconds": 0.1} | {name: [gap] * len(rows) for name in ("d_c", "d_g", "d_H")}
        append_line(run.path / "scalars.jsonl", record)
    (run.path / "snapshots").mkdir()
    flat, steep = torch.ones(len(rows), 10), torch.tensor([[1.0] + [0.0] * 9]).repeat(len(rows), 1)
    for step, spectrum in ((0, steep), (20, numbers.get("spectrum", flat))):
        shown = {"step": torch.tensor(step), "real": torch.zeros(16, 2), "fake": torch.zeros(len(rows), 16, 2)}
        shown |= {"grid": torch.zeros(len(rows), 3, 3, 2)}
        shown |= {f"{name}_embedding": torch.zeros(len(rows), 16, 4) for name in ("real", "fake")}
        spectra = {"spectrum_distance": spectrum, "spectrum_mds": spectrum.clone()}
        write_tensors(run.snapshot_path(step), shown | spectra)
    run.append_event(events.Finished(step=20, time=0.0))
    return run


def verdicts(recipe: str = "stabilised") -> dict[str, str | None]:
    return {finding.claim: finding.verdicts.get(recipe) for finding in findings(PLAN)}


GOOD = {"both": [1.0, 1.1, 0.9], "centroid": [3.0, 3.0, 3.0], "diameter": [5.0, 5.0, 5.0]}


def test_nothing_measured_has_no_verdict():
    assert set(verdicts().values()) == {None}
    assert [finding.claim for finding in findings(PLAN)] == list(CLAIMS)
    assert PLAN.progress() == 0


def test_every_claim_holds_where_the_numbers_say_so():
    write(("stabilised", "circle", 0), ratios=GOOD)
    for batch, ratio in ((32, 1.0), (512, 1.4), (1024, 2.5)):
        write(("stabilised", "circle", batch), ratios={"both": [ratio] * 3})
    write_all_pairs(good=True)
    assert set(verdicts().values()) == {"holds"}
    assert set(verdicts("paper").values()) == {None}


def test_no_claim_holds_where_the_numbers_say_so():
    steep = torch.tensor([[1.0] + [0.0] * 9]).repeat(12, 1)
    bad = {"both": [4.0, 4.0, None], "centroid": [3.0] * 3, "centroid+distance_matrix": [1.0] * 3}
    write(("paper", "circle", 0), ratios=bad, ranks=(0.3, 0.4, 0.3), gap=lambda step: 1 + step, spectrum=steep)
    for batch, ratio in ((32, 1.0), (512, 1.6), (1024, 2.7)):
        write(("paper", "circle", batch), ratios={"both": [ratio] * 3})
    outcome = {name: "mixed" if name == "batch" else "does not hold" for name in CLAIMS}
    assert verdicts("paper") == outcome | dict.fromkeys(PAIRED), "the paper's recipe is not measured on pairs"
    rows = {finding.claim: finding.rows for finding in findings(PLAN)}
    assert [row["factor"] for row in rows["batch"]] == [1.6, pytest.approx(2.7 / 1.3)]
    assert rows["both"][0]["W₂ / floor, both"] == 4.0
    assert rows["both"][0]["both is best"] == "0 of 3 seeds"


def test_no_claim_about_pairs_holds_where_the_numbers_say_so():
    write_all_pairs(good=False)
    assert {name: verdicts()[name] for name in PAIRED} == dict.fromkeys(PAIRED, "does not hold")
    rows = {finding.claim: finding.rows for finding in findings(PLAN)}
    (first, *_) = rows["similarity"]
    assert (first["value"], first["its value"], first["bicubic"]) == (30.0, 31.0, 28.0), "a diverged seed is the worst"
    assert first["better"] == "0 of 3 seeds"
    assert [(row["score"], row["against"]) for row in rows["similarity"]] == [
        (score, peer) for peer in ("standard GAN", "relativistic GAN") for score in ("PSNR (Y)", "SSIM (Y)")
    ]
    assert [row["better"] for row in rows["perceptual"]] == ["0 of 3 seeds"] * 3
    assert [row["distance"] for row in rows["falling"]] == ["d_p", "d_c", "d_g", "d_H"]
    assert rows["falling"][0]["rank correlation"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [
        (lambda step: 10.0 - step, "holds"),
        (lambda step: 1.0, "does not hold"),
        (lambda step: 5.0 if step == 0 else 0.0 if step == 19 else float(step), "does not hold"),  # falls, then rises
    ],
)
def test_a_distance_keeps_falling_if_it_ends_lower_and_its_ranks_fall(gap, verdict):
    write_pairs("mvm", psnr=[30.0] * 3, niqe=[5.0] * 3, gap=gap)
    assert verdicts()["falling"] == verdict


def test_settings_of_pairs_differ_in_their_losses_alone():
    flats = [config.flat(used=True) for trial, config in PLAN.trials.items() if trial.setting]
    assert len(flats) == 4
    shared = set.intersection(*map(set, flats))  # MvM's metric has settings of its own
    assert {key for key in shared if len({repr(flat[key]) for flat in flats}) > 1} == {
        "method", "variants", "superres.gan",
    }  # fmt: skip


@pytest.mark.parametrize("good", [3, 4, 5])
def test_the_rule_is_what_it_says(monkeypatch, good):
    """Of five seeds some are better with both; the published term is worse throughout."""
    monkeypatch.setattr("test_claims.PLAN", replace(PLAN, seeds=5))
    ratios = {"both": [1.0] * good + [9.0] * (5 - good), "centroid": [3.0] * 5, "diameter": [5.0] * 5}
    write(("stabilised", "circle", 0), ratios=ratios | {PUBLISHED: [10.0] * 5})
    share = int(re.search(r"at least (\d+) % of seeds", RULE)[1]) / 100
    assert verdicts()["both"] == ("holds" if good / 5 >= share else "does not hold")
    assert verdicts()["diameter"] == "holds"


def test_some_lines_of_several_make_a_claim_mixed(monkeypatch):
    monkeypatch.setattr("test_claims.PLAN", replace(PLAN, manifolds=("circle", "swiss_roll")))
    write(("stabilised", "circle", 0), ratios=GOOD)
    write(("stabilised", "swiss_roll", 0), ratios=GOOD | {"both": [9.0] * 3})
    assert verdicts()["both"] == "mixed"


def test_gaps_that_fall_but_do_not_settle_have_not_converged():
    write(
        ("stabilised", "circle", 0), ratios=GOOD, gap=lambda step: 10 - 9 * (step / 19) if step < 18 else 3 * (step % 2)
    )
    assert verdicts()["gaps"] == "does not hold"


def test_a_diverged_training_counts_as_infinitely_bad():
    trial = Trial("paper", "circle", 1024)
    run = Run.create(PLAN.trials[trial], path=PLAN.path(trial))
    run.append_event(events.Diverged(step=3, time=0.0, reason="x"))
    scores = mvm.studies.claims._score(run, "both", "w2_ratio")
    assert np.isinf(scores).all()
    assert len(scores) == 3
    assert PLAN.progress() == 1 / len(PLAN.trials), "there is nothing left to train"


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ({32: 1.0, 512: 1.2, 1024: None}, "holds"),
        ({32: None, 512: 1.2, 1024: 1.0}, "does not hold"),
        ({32: None, 512: None, 1024: None}, "does not hold"),
    ],
)
def test_batches_that_diverged(ratios, verdict):
    for batch, ratio in ratios.items():
        write(("stabilised", "circle", batch), ratios={"both": [ratio] * 3})
    assert verdicts()["batch"] == verdict
    assert "Infinity" not in to_json(findings(PLAN), PLAN, "a machine")


def test_another_plan_has_other_runs():
    longer = Plan(steps=21, seeds=3, batches=PLAN.batches, manifolds=PLAN.manifolds)
    assert not {PLAN.path(t) for t in PLAN.trials} & {longer.path(t) for t in longer.trials}


def test_findings_survive_json(monkeypatch, tmp_path):
    write(("stabilised", "circle", 0), ratios=GOOD)
    monkeypatch.setattr(mvm.studies.claims, "SHIPPED", tmp_path / "claims.json")
    assert shipped() == ([], {})
    (tmp_path / "claims.json").write_text(to_json(findings(PLAN), PLAN, "a machine"))
    found, rest = shipped()
    assert found == findings(PLAN)
    assert (rest["device"], rest["plan"]["seeds"]) == ("a machine", 3)


def test_what_is_shipped_can_be_read():
    found, rest = shipped()
    assert [finding.claim for finding in found] == list(CLAIMS)
    measured = [finding for finding in found if finding.verdicts]
    assert {finding.claim for finding in measured} >= {*CLAIMS} - {*PAIRED}
    assert all(tuple(finding.verdicts) == CLAIMS[finding.claim].recipes for finding in measured)
    assert rest["plan"]["seeds"] == Plan().seeds


# -- the driver --------------------------------------------------------------------------------------------------------


FAILING: set[str] = set()


@pytest.fixture
def trainings(monkeypatch) -> list[str]:
    """Names of the runs that were trained; each ends at once, and those in `FAILING` fail."""
    names: list[str] = []

    def work(task: Task) -> str:
        path = Path(task.arguments[-1])
        names.append(path.name)
        assert task.device is None, "many at once, and not in the queue"
        assert task.environment == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        task.log.write_text("mvm: no room\n")
        ends = events.Failed if path.name in FAILING else events.Finished
        append_event(path, ends(step=20, time=0.0))
        return "finished"

    monkeypatch.setitem(LAUNCHERS, "local", lambda: Here(work))
    monkeypatch.setattr("test_claims.FAILING", set())
    return names


def test_train_makes_what_is_missing_and_only_that(trainings):
    done = write(("stabilised", "circle", 0), ratios=GOOD)
    shares: list[float] = []
    train(PLAN, processes=2, on_progress=shares.append)
    assert done.name not in trainings
    assert len(set(trainings)) == len(PLAN.trials) - 1
    assert shares[-1] == 1.0
    train(PLAN, processes=2)
    assert len(trainings) == len(PLAN.trials) - 1


def test_train_says_which_training_failed(trainings):
    failing = PLAN.path(Trial("paper", "circle", 512))
    FAILING.add(failing.name)
    with pytest.raises(RunError, match=f"^claims: {failing.name} is failed: mvm: no room; the same command goes on$"):
        train(PLAN, processes=1)


def test_only_one_process_measures(checkpoints):
    (checkpoints / "claims").mkdir(parents=True)
    assert not PLAN.being_measured()
    with locked(checkpoints / "claims" / "lock"):
        assert PLAN.being_measured()
        with pytest.raises(RunBusy, match="claims: another process is measuring them"):
            train(PLAN, processes=1)


@pytest.mark.parametrize("how", ["a signal", "the page"])
def test_who_measures_ends_together_with_its_trainings(mvm, checkpoints, how):
    command = mvm("claims", "--quick", "--processes", "2")
    plan = Plan.quick()
    until(lambda: any(run.alive() for run in plan.runs().values()))
    command.process.terminate() if how == "a signal" else mvm_stop()
    assert command.wait() == (130 if how == "a signal" else 2), command.err
    assert ("interrupted" if how == "a signal" else "claims: stopped; what is done is kept") in command.err
    assert not any(run.alive() for run in plan.runs().values())
    assert not plan.being_measured()


def test_an_old_request_to_stop_is_dropped(checkpoints, trainings):
    (checkpoints / "claims").mkdir(parents=True)
    mvm_stop()
    train(PLAN, processes=2)
    assert len(trainings) == len(PLAN.trials)


def test_the_command_prints_every_claim(cli, trainings, monkeypatch):
    monkeypatch.setattr(Plan, "quick", classmethod(lambda cls: PLAN))
    for trial in PLAN.trials:
        if not trial.setting:
            write(trial, ratios=GOOD)
    write_all_pairs(good=True)
    printed = cli("claims", "--quick")
    assert printed.status == 0
    assert trainings == []
    for claim in CLAIMS.values():
        assert claim.title in printed.out
    assert "stabilised recipe: holds" in printed.out
    assert RULE in printed.out
    assert "its verdicts mean nothing" in printed.out
    listed = json.loads(cli("claims", "--quick", "--json").out)
    assert [finding["claim"] for finding in listed["findings"]] == list(CLAIMS)
    assert cli("claims", "--processes", "0").err == "mvm: --processes: at least 1, got 0\n"
