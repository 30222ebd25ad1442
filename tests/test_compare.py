"""Comparisons against sums done by hand: quartiles of pooled seeds, aligned axes, what differs, the ablation matrix."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from trainers import small_config, write_cloud

from mvm.errors import RunError
from mvm.runs.fork import fork
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.studies.compare import (
    AXES,
    curves,
    differences,
    last_scores,
    matrix,
    other_scores,
    qualities,
    quality,
    quantities,
    scoreboard,
    series_of,
    to_baseline,
)

STEPS = 40


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    """seeds 0, 1 and 2 to 4 of one setting, a longer run, another batch, and a peer."""
    folder = tmp_path_factory.mktemp("runs")
    cloud = write_cloud(folder / "cloud.csv")
    kinds = {
        "few": {"seeds": (0, 1)},
        "more": {"seeds": (2, 3, 4), "records": 2},
        "long": {"steps": 2 * STEPS, "seeds": (0,)},
        "large": {"batch": 32, "seeds": (0,)},
        "peer": {"method": "wgan", "variants": ("wgan",), "seeds": (0,)},
    }
    made = {}
    for name, fields in kinds.items():
        made[name] = Run.create(small_config(cloud, **{"steps": STEPS, **fields}), path=folder / name)
        for _ in train(made[name]):
            pass
    return made


def scalars(run: Run) -> list[dict]:
    """Read by nothing of ours."""
    lines = [json.loads(line) for line in (run.path / "scalars.jsonl").read_text().splitlines()]
    return [line for line in lines if "d_c" in line]


def test_runs_that_differ_in_seeds_are_pooled_and_a_seed_counts_once(runs):
    pooled = series_of([runs["few"], runs["more"]])
    assert [(s.title, len(s.members)) for s in pooled] == [("centroid only", 5), ("both", 5)]
    twice = series_of([runs["few"], runs["few"]])
    assert [len(s.members) for s in twice] == [2, 2, 2, 2]
    apart = series_of([runs["few"], runs["large"], runs["peer"]])
    titles = ["centroid only, batch 16", "both, batch 16", "centroid only, batch 32", "both, batch 32"]
    assert [s.title for s in apart] == [*titles, "WGAN, batch 16"]
    assert [s.title for s in series_of([runs["few"], runs["peer"]])] == ["centroid only", "both", "WGAN"]
    assert len({s.colour for s in apart}) == 5


def test_a_series_names_no_weight_that_does_not_act_on_it(runs, tmp_path):
    config = runs["few"].config.with_changes({"variants": ("diameter", "both"), "seeds": (0,)})
    made = [
        Run.create(config.with_changes({"weights.centroid": weight, "seeds": (seed,)}), path=tmp_path / str(seed))
        for seed, weight in enumerate((1.0, 0.5))
    ]
    titles = ["2-diameter only", "both, centroid × 1", "both, centroid × 0.5"]
    assert sorted(series.title for series in series_of(made)) == sorted(titles)


def test_a_curve_has_the_quartiles_of_all_seeds_where_each_has_a_value(runs):
    few, more = scalars(runs["few"]), scalars(runs["more"])
    assert [r["step"] for r in few] == [0, 10, 20, 30, 40]
    assert [r["step"] for r in more] == [0, 20, 40]
    (_, both) = curves([runs["few"], runs["more"]], "d_g")
    values = [[r["d_g"][2 + seed] for r in few] for seed in range(2)]
    values += [np.interp([0, 10, 20, 30, 40], [0, 20, 40], [r["d_g"][3 + seed] for r in more]) for seed in range(3)]
    np.testing.assert_allclose(both.x, [0, 10, 20, 30, 40])
    for got, quantile in ((both.low, 0.25), (both.middle, 0.5), (both.high, 0.75)):
        np.testing.assert_allclose(got, np.quantile(np.array(values), quantile, axis=0), rtol=1e-6)
    assert both.members == 5


def test_a_line_is_not_drawn_beyond_its_own_records_and_gaps_are_left_out(runs, tmp_path):
    own = Run(shutil.copytree(runs["few"].path, tmp_path / "own"))
    lines = [json.loads(line) for line in (own.path / "scalars.jsonl").read_text().splitlines()]
    for record in lines:
        if record["step"] == 20 and "d_c" in record:
            record["d_c"][0] = None  # what a number that is not finite is on disk
    (own.path / "scalars.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    before, at, after = scalars(own)[1:4]
    between = (before["d_c"][0] + after["d_c"][0]) / 2
    first, _ = curves([own], "d_c")
    np.testing.assert_allclose(first.middle[2], (between + at["d_c"][1]) / 2, rtol=1e-6)
    last = {curve.series.title: curve.x[-1] for curve in curves([runs["few"], runs["long"]], "d_c")}
    assert last["both, steps 40"] == 40
    assert last["both, steps 80"] == 80


@pytest.mark.parametrize("axis", AXES)
def test_axes(runs, axis):
    curve = curves([runs["large"]], "d_c", axis=axis)[0]
    records = scalars(runs["large"])
    steps = np.array([r["step"] for r in records], dtype=float)
    seconds = [r["seconds"] for r in records]
    wanted = {"step": steps, "share": steps / STEPS, "examples": steps * 32, "seconds": seconds}[axis]
    np.testing.assert_allclose(curve.x, wanted)


def test_scores_are_curves_too_and_what_no_run_has_draws_nothing(runs):
    known = quantities(list(runs.values()))
    assert {"d_c", "d_g", "d_H", "generator_loss", "metric_loss", "triplet", "w2_ratio", "coverage"} <= set(known)
    assert not {"step", "seconds", "memory", "w2_floor", "geodesic_spearman"} & set(known)
    assert known["w2_ratio"] == "W₂ / baseline"
    curve = curves([runs["few"]], "w2_ratio")[1]
    lines = [json.loads(line) for line in (runs["few"].path / "scalars.jsonl").read_text().splitlines()]
    scores = [line for line in lines if "scores" in line]
    np.testing.assert_allclose(curve.x, [line["step"] for line in scores])
    means = [np.mean([line["scores"][m]["w2_ratio"] for m in (2, 3)]) for line in scores]
    np.testing.assert_allclose(curve.middle, means)
    assert [c.series.title for c in curves(list(runs.values()), "triplet") if "WGAN" in c.series.title] == []


def test_what_differs_is_every_setting_that_does(runs, checkpoints):
    table = differences([runs["few"], runs["large"], runs["peer"]])
    assert table["batch"] == ["16", "32", "16"]
    assert table["method"] == ["mvm", "mvm", "wgan"]
    assert table["seeds"] == ["0 1", "0", "0"]
    assert table["variants"] == ["centroid both", "centroid both", "wgan"]
    assert not {"data", "steps", "network.width"} & set(table)
    assert differences([runs["few"], runs["few"]]) == {}
    checkpoints.mkdir()
    made = fork(runs["few"], 20, {"weights.diameter": 0.5})
    for _ in train(made):
        pass
    table = differences([runs["few"], made])
    assert table == {
        "weights.diameter": ["1", "0.5"],
        "weights moved while training": ["–", "step 20: diameter 0.5"],
        "forked from": ["–", "few, step 20"],
    }


def test_the_scoreboard_sets_medians_beside_the_baseline(runs):
    board = scoreboard([runs["few"], runs["more"]], keys=["coverage"], baseline=runs["long"]).set_index("series")
    scores = [row for name in ("few", "more") for row in json.loads((runs[name].path / "scores.json").read_text())]
    base = {row["variant"]: row["w2_ratio"] for row in json.loads((runs["long"].path / "scores.json").read_text())}
    for variant, title in (("centroid", "centroid only"), ("both", "both")):
        ratios = [row["w2_ratio"] for row in scores if row["variant"] == variant]
        row = board.loc[title]
        np.testing.assert_allclose([row["low"], row["quality"], row["high"]], np.quantile(ratios, [0.25, 0.5, 0.75]))
        np.testing.assert_allclose(row["against"], np.median(ratios) / base[variant] - 1)
        assert row["coverage"] == np.median([row["coverage"] for row in scores if row["variant"] == variant])
        assert row["seeds"] == 5
    alone = scoreboard([runs["peer"]], baseline=runs["few"])
    both = [row["w2_ratio"] for row in scores[:4] if row["variant"] == "both"]
    np.testing.assert_allclose(alone["against"][0], alone["quality"][0] / np.median(both) - 1)
    assert np.isnan(scoreboard([runs["peer"]])["against"][0])


def test_the_ablation_matrix_pools_seeds_and_keeps_their_extremes(runs, make):
    table = matrix([runs["few"], runs["more"], make("untrained")]).set_index(["what", "data"])
    scores = [row for name in ("few", "more") for row in json.loads((runs[name].path / "scores.json").read_text())]
    ratios = [row["w2_ratio"] for row in scores if row["variant"] == "both"]
    cell = table.loc[("both", "cloud.csv")]
    assert (cell["n"], cell["low"], cell["high"]) == (5, min(ratios), max(ratios))
    assert cell["median"] == pytest.approx(np.median(ratios))
    several = matrix([runs["few"], runs["peer"]])
    assert set(several["what"]) == {"centroid only", "both", "WGAN"}


@pytest.fixture
def lost(runs, tmp_path) -> Run:
    """The run of two seeds, of which one centroid has diverged: a network that makes no numbers has no scores."""
    run = Run(shutil.copytree(runs["few"].path, tmp_path / "lost"))
    path = run.path / "scores.json"
    rows = json.loads(path.read_text())
    kept = ("variant", "seed", "step", "n", "coordinates")
    rows[0] = {key: value if key in kept else None for key, value in rows[0].items()}
    path.write_text(json.dumps(rows))
    return run


def test_survivors_do_not_stand_for_all_seeds(runs, lost):
    """The one centroid that is left may be better than any: the median over both seeds is of none."""
    left = json.loads((lost.path / "scores.json").read_text())[1]
    board = scoreboard([lost], keys=["coverage"], baseline=runs["few"]).set_index("series")
    assert board.loc["centroid only", ["quality", "against"]].tolist() == [np.inf, np.inf]
    assert board.loc["centroid only", "low"] == np.inf, "a quarter of the way from a number to none"
    assert np.isnan(board.loc["centroid only", "coverage"])
    assert np.isfinite(board.loc["both", "quality"])
    assert qualities(last_scores(lost))["centroid"] == np.inf
    cell = matrix([lost]).set_index("what").loc["centroid only"]
    assert (cell["low"], cell["median"], cell["high"], cell["n"]) == (left["w2_ratio"], np.inf, np.inf, 2)
    assert "coverage" in other_scores([lost])
    assert last_scores(lost).of("coverage", "centroid") is None
    together = scoreboard([lost, runs["more"]]).set_index("series").loc["centroid only"]
    known = [row["w2_ratio"] for row in json.loads((runs["more"].path / "scores.json").read_text())[:3]]
    assert together["quality"] == sorted([*known, left["w2_ratio"], np.inf])[2]


def test_what_only_some_have_recorded_can_be_drawn(runs, tmp_path):
    own = Run(shutil.copytree(runs["few"].path, tmp_path / "own"))
    lines = [json.loads(line) for line in (own.path / "scalars.jsonl").read_text().splitlines()]
    for record in lines:
        if "scores" in record:
            record["scores"][0] = dict.fromkeys(record["scores"][0])
    (own.path / "scalars.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    assert {"w2_ratio", "coverage"} <= set(quantities([own]))


def test_two_files_of_one_name_are_two_data(runs, tmp_path):
    (tmp_path / "other").mkdir()
    cloud = write_cloud(tmp_path / "other" / "cloud.csv")
    other = Run.create(small_config(cloud, steps=STEPS, seeds=(0,)), path=tmp_path / "other" / "run")
    for _ in train(other):
        pass
    table = matrix([runs["few"], other])
    assert set(table["data"]) == {runs["few"].config.data, str(cloud)}
    assert len(table) == 4
    fewer = Run.create(runs["few"].config.with_changes({"points": 64, "seeds": (7,)}), path=tmp_path / "fewer")
    assert len(series_of([runs["few"], fewer])) == 4, "fewer points to train on are no other seed"


@pytest.mark.usefixtures("few_scored")
def test_a_baseline_on_other_data_is_none(tmp_path):
    made = []
    for noise in (0.0, 0.2):
        config = small_config("circle", steps=10, seeds=(0,), settings={"noise": noise}, points=100)
        made.append(Run.create(config, path=tmp_path / f"run{noise}"))
        for _ in train(made[-1]):
            pass
    assert scoreboard([made[1]], baseline=made[0])["against"].isna().all()
    assert scoreboard([made[1]], baseline=made[1])["against"].eq(0).all()


def test_the_ablation_matrix_pools_no_other_experiments(runs):
    table = matrix([runs["few"], runs["long"]]).set_index("what")
    assert table["n"].to_dict() == {
        f"{name}, steps {steps}": 1 + (steps == STEPS)
        for name in ("centroid only", "both")
        for steps in (STEPS, 2 * STEPS)
    }


def test_a_score_over_its_floor():
    assert quality({"w2_ratio": 1.5, "w2": 3}) == ("w2_ratio", 1.5)
    assert quality({"factors.fd": 6.0, "factors.fd_floor": 2.0, "pixels.fd": 1.0}) == ("factors.fd_ratio", 3.0)
    assert quality({"x": 1}) == ("none", None)
    assert to_baseline({"coverage": 0.5, "coverage_floor": 0.0}, "coverage") is None
    assert to_baseline({"coverage": None, "coverage_floor": 1.0}, "coverage") is None


def test_a_run_without_records_is_no_error(make):
    run = make("new")
    assert curves([run], "d_c") == []
    assert scoreboard([run])["quality"].isna().all()
    with pytest.raises(RunError, match="new has no checkpoint of step 0"):
        fork(run, 0, {})
