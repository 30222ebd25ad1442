"""Figures and lists of super-resolution: crops, gains over bicubic and labels, against the files of the runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from trainers import small_config, small_held_out, small_pairs, write_cloud

from mvm.figures import FIGURES, NoFigure, data, latex, render
from mvm.figures.export import bundle
from mvm.figures.over_training import columns_of
from mvm.figures.selection import Selection
from mvm.figures.upscaling import stills
from mvm.imaging.resize import imresize
from mvm.look.scales import quality_shade
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.scoring.superres import SUPERRES_SCORES, bicubic, psnr
from mvm.studies.compare import (
    best_variant,
    in_words,
    is_gain,
    last_scores,
    matrix,
    qualities,
    quality,
    quantities,
    scoreboard,
    series_of,
    to_baseline,
)
from mvm.studies.index import summaries
from mvm.studies.labels import own_title

STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def held_out() -> Iterator[None]:
    """Small photographs, for figures and scores too."""
    with small_held_out():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


def trained(folder: Path, name: str, **fields) -> Run:
    run = Run.create(small_pairs(**fields), path=folder / name)
    for _ in train(run):
        pass
    return run


@pytest.fixture(scope="module")
def mvm_run(folder) -> Run:
    return trained(folder, "mvm", variants=("centroid", "both"), seeds=(0, 1), steps=STEPS)


@pytest.fixture(scope="module")
def gan_run(folder) -> Run:
    return trained(folder, "gan", method="gan", steps=STEPS, superres={"image_steps": 2})


@pytest.fixture(scope="module")
def larger(folder) -> Run:
    return trained(folder, "larger", patch=16, steps=2, variants=("both",))


@pytest.fixture(scope="module")
def points(folder) -> Run:
    run = Run.create(small_config(write_cloud(folder / "cloud.csv"), steps=10), path=folder / "points")
    for _ in train(run):
        pass
    return run


@pytest.fixture
def here(folder, checkpoints, mvm_run, gan_run, points) -> Path:
    """These runs as the runs that commands see."""
    shutil.copytree(folder, checkpoints)
    return checkpoints


def scores(run: Run) -> list[dict]:
    """scores.json, read by nothing of ours."""
    return json.loads((run.path / "scores.json").read_text())


def lines(run: Run) -> list[dict]:
    return [json.loads(line) for line in (run.path / "scalars.jsonl").read_text().splitlines()]


# -- quality: PSNR minus that of bicubic -------------------------------------------------------------------------------


def test_the_quality_of_photographs_is_their_gain_in_decibels():
    row = {"psnr_y": 30.5, "psnr_y_floor": 29.0, "ssim_y": 0.8, "ssim_y_floor": 0.9}
    assert quality(row) == ("psnr_y_gain", 1.5)
    assert to_baseline(row, "ssim_y") == pytest.approx(-0.1)
    assert to_baseline({"psnr_y": None, "psnr_y_floor": 29.0}, "psnr_y") is None
    assert (in_words(1.5, "psnr_y_gain"), in_words(-np.inf, "psnr_y_gain")) == ("+1.50 dB", "diverged")
    assert in_words(1.5, "w2_ratio") == "1.5"


def test_the_scoreboard_has_medians_of_gains_and_their_difference_to_the_baselines(mvm_run, gan_run, larger):
    board = scoreboard([mvm_run], keys=["ssim_y"], baseline=gan_run).set_index("series")
    base = scores(gan_run)[0]["psnr_y"] - scores(gan_run)[0]["psnr_y_floor"]
    for variant, title in (("centroid", "MvM (centroid only)"), ("both", "MvM (both)")):
        gains = [row["psnr_y"] - row["psnr_y_floor"] for row in scores(mvm_run) if row["variant"] == variant]
        found = board.loc[title]
        np.testing.assert_allclose(
            [found["low"], found["quality"], found["high"]], np.quantile(gains, [0.25, 0.5, 0.75])
        )
        np.testing.assert_allclose(found["against"], np.median(gains) - base)
        assert found["score"] == "psnr_y_gain"
    assert np.isfinite(scoreboard([larger], baseline=gan_run)["against"]).all(), "other patches, the same photographs"


def test_more_is_better_and_a_diverged_seed_is_the_worst(mvm_run, tmp_path):
    own = Run(shutil.copytree(mvm_run.path, tmp_path / "own"))
    rows = scores(own)
    for row, gain in zip(rows, (0.5, 0.7, 0.1, 0.2), strict=True):
        row |= {"psnr_y": row["psnr_y_floor"] + gain}
    (own.path / "scores.json").write_text(json.dumps(rows))
    assert best_variant(last_scores(own)) == ("centroid", pytest.approx(0.6))
    rows[0]["psnr_y"] = rows[1]["psnr_y"] = None
    (own.path / "scores.json").write_text(json.dumps(rows))
    found = last_scores(Run(own.path))
    assert qualities(found)["centroid"] == -np.inf
    assert best_variant(found) == ("both", pytest.approx(0.15))
    assert scoreboard([Run(own.path)])["quality"].tolist() == [-np.inf, pytest.approx(0.15)]


def test_a_matrix_tells_gains_from_ratios(mvm_run, points):
    table = matrix([mvm_run, points]).set_index(["what", "data"])
    assert set(table["score"]) == {"psnr_y_gain", "w2_ratio"}
    gains = [row["psnr_y"] - row["psnr_y_floor"] for row in scores(mvm_run) if row["variant"] == "both"]
    (cell,) = [cell for (what, _), cell in table.iterrows() if what.startswith("MvM (both)")]
    assert (cell["low"], cell["high"]) == (min(gains), max(gains))
    shade = quality_shade(np.array([[3.0, 1.0], [0.0, 30.0], [-9.0, np.nan]]), [True, False])
    np.testing.assert_allclose(shade, [[0, 0], [0.5, 1], [1, np.nan]])


# -- labels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({}, "MvM (both)"),
        ({"superres": {"gan": "relativistic"}}, "MvM (both) + RaGAN"),
        ({"superres": {"gan": "standard"}}, "MvM (both) + GAN"),
        ({"method": "l1"}, "L1"),
        ({"method": "gan"}, "relativistic GAN"),
        ({"method": "gan", "superres": {"gan": "standard"}}, "standard GAN"),
        ({"method": "srgan"}, "SRGAN · VGG16-HED"),
        ({"method": "esrgan", "superres": {"features": "vgg19"}}, "ESRGAN · VGG19"),
        ({"method": "enhancenet"}, "EnhanceNet · VGG16-HED"),
        ({"method": "natsr", "superres": {"image_steps": 1}}, "NatSR"),
    ],
)
def test_a_label_says_which_discriminator_and_which_network(fields, label):
    config = small_pairs(**({"variants": ("both",)} if "method" not in fields else {}), **fields)
    assert own_title(config, config.variants[-1]) == label


def test_labels_of_other_data_are_those_of_the_variants(points):
    assert [own_title(points.config, variant) for variant in points.config.variants] == ["centroid only", "both"]


def test_series_of_one_label_are_told_apart_by_a_setting(tmp_path):
    made = [
        Run.create(small_pairs(method="srgan", superres={"gan": gan}), path=tmp_path / gan)
        for gan in ("standard", "relativistic")
    ]
    assert [s.title for s in series_of(made)] == [f"SRGAN · VGG16-HED, gan {g}" for g in ("standard", "relativistic")]
    made = [
        Run.create(small_pairs(variants=("both",), weights={"pair": w}), path=tmp_path / f"{w}") for w in (0.1, 0.2)
    ]
    assert [s.title for s in series_of(made)] == ["MvM (both), pair × 0.1", "MvM (both), pair × 0.2"]


# -- commands ----------------------------------------------------------------------------------------------------------


def test_commands_list_the_gain(here, cli, mvm_run):
    row = next(row for row in summaries() if row.name == "mvm")
    gains = {v: np.median([r["psnr_y"] - r["psnr_y_floor"] for r in scores(mvm_run) if r["variant"] == v])
             for v in ("centroid", "both")}  # fmt: skip
    assert row.quality == pytest.approx(max(gains.values()))
    assert row.best == max(gains, key=gains.get)
    listed = cli("runs", "--sort", "quality").out
    assert re.search(
        rf"^mvm .* {re.escape(in_words(row.quality, 'psnr_y_gain'))} .*MvM \(centroid only\), MvM", listed, re.M
    )
    assert "relativistic GAN" in listed
    by_quality = [row for row in json.loads(cli("runs", "--sort", "quality", "--json").out) if is_gain(row["score"])]
    assert [row["quality"] for row in by_quality] == sorted((row["quality"] for row in by_quality), reverse=True)
    compared = cli("compare", "mvm", "gan", "--baseline", "gan")
    assert compared.status == 0
    assert " dB" in compared.out
    assert "%" not in compared.out
    assert "score" in json.loads(cli("compare", "mvm", "--json").out)["series"][0]


def test_score_prints_every_score_beside_bicubic_with_its_digits(here, cli, gan_run):
    printed = cli("score", "gan").out
    (row,) = scores(gan_run)
    for key in SUPERRES_SCORES:
        if f"{key}_floor" in row:
            digits = 4 if key.startswith("ssim") else 3 if key == "niqe" else 2
            wanted = rf"^{key} +{row[f'{key}_floor']:.{digits}f} +{row[key]:.{digits}f}$"
            assert re.search(wanted, printed, re.M), key
    assert re.search(
        rf"^psnr_y_gain +{re.escape(in_words(row['psnr_y'] - row['psnr_y_floor'], 'psnr_y_gain'))}$", printed, re.M
    )
    assert "relativistic GAN, seed 0" in printed


# -- figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_made_or_refused_with_one_line(name, mvm_run, gan_run):
    for runs in ([mvm_run], [gan_run], [mvm_run, gan_run]):
        try:
            files = bundle([name], runs, formats=["svg"], project=False).files
        except NoFigure as refused:
            reason = str(refused)
        else:
            reason = f"{name}: made" if f"{name}.svg" in files else "nothing"
        assert re.fullmatch(rf"{name}: [^\n]+", reason)


def test_crops_are_those_of_the_snapshot_beside_their_originals(mvm_run):
    rows = data("upscaled", [mvm_run], seed=1)
    fakes = load_file(mvm_run.snapshot_path(STEPS))["fake"]
    reals = np.load(mvm_run.path / "real.npy")[:12]
    low = [np.asarray(imresize(torch.from_numpy(high), (8, 8))) for high in reals]
    cubic = [bicubic(torch.from_numpy(picture)).numpy() for picture in low]
    error = [np.square(x.astype(float) - y).mean() for x, y in zip(cubic, reals, strict=True)]
    worst = sorted(sorted(range(12), key=lambda place: -error[place])[:3])
    for variant, member in (("centroid", 1), ("both", 3)):
        part = rows[rows["variant"] == variant]
        assert part["crop"].tolist() == worst
        for crop, found, floor in zip(worst, part["psnr_y"], part["psnr_y_floor"], strict=True):
            luma = [
                torch.from_numpy(16 + x[4:-4, 4:-4].astype(float) @ [65.481, 128.553, 24.966] / 255).round()
                for x in (fakes[member, crop], reals[crop], cubic[crop])
            ]
            assert found == pytest.approx(psnr(luma[0], luma[1]))
            assert floor == pytest.approx(psnr(luma[2], luma[1]))
    panels = [axes.images[0].get_array() for axes in render("upscaled", [mvm_run], seed=1).axes]
    for panel, wanted in zip(
        panels[:5],
        (low[worst[0]], cubic[worst[0]], fakes[1, worst[0]], fakes[3, worst[0]], reals[worst[0]]),
        strict=True,
    ):
        np.testing.assert_array_equal(panel, wanted)


def test_crops_that_do_not_fit_a_line_go_on_below(mvm_run, gan_run):
    figure = render("upscaled", [mvm_run, gan_run], venue="icml")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert [" ".join(title.split()) for title in titles] == [
        "LR", "bicubic", "MvM (centroid only)", "MvM (both)", "relativistic GAN", "HR",
    ]  # fmt: skip
    assert len(figure.axes) == 3 * 6
    assert len({round(axes.get_subplotspec().get_position(figure).y0, 3) for axes in figure.axes}) == 6


def test_a_film_shows_bicubic_and_the_originals_beside_the_upscaled(mvm_run, gan_run, larger):
    selection = Selection.of([mvm_run, gan_run])
    columns = columns_of(selection, [0, STEPS], lambda *call: None)
    interpolated, originals = stills(selection, columns)
    assert [interpolated.title, originals.title] == ["bicubic", "original"]
    count = columns[0].fakes.shape[1]
    for at in range(2):
        np.testing.assert_array_equal(originals.fakes[at], mvm_run.real_view()[:count])
    high = torch.from_numpy(np.array(originals.fakes[0][1]))
    low = imresize(high, (high.shape[0] // 4, high.shape[1] // 4))
    np.testing.assert_array_equal(interpolated.fakes[1][1], bicubic(low).numpy())
    apart = Selection.of([mvm_run, larger])
    assert not [*stills(apart, columns)], "they show other crops"


def test_runs_of_other_crops_are_not_set_beside_each_other(mvm_run, larger):
    with pytest.raises(NoFigure, match=r"mvm and larger show other crops \(--patch 8 and 16\)"):
        data("upscaled", [mvm_run, larger])


@pytest.mark.parametrize("name", ["upscaled", "similarity", "settings"])
def test_runs_on_points_are_refused(name, points):
    with pytest.raises(NoFigure, match=f"^{name}: points is on points; give a run on photographs$"):
        data(name, [points])


def test_figure_10_has_the_distance_of_pairs(mvm_run, gan_run):
    rows = data("distances", [mvm_run])
    records = {record["step"]: record for record in lines(mvm_run) if "d_p" in record}
    assert len(rows) == 4 * len(records)
    for _, row in rows.iterrows():
        member = mvm_run.config.members.index((row["variant"], row["seed"]))
        for name in ("d_p", "d_c", "d_g", "d_H"):
            np.testing.assert_allclose(row[name], records[row["step"]][name][member], rtol=1e-8)
    assert len(render("distances", [mvm_run]).axes) == 4
    assert latex("distances", [mvm_run]).count("first & last") == 4
    assert quantities([mvm_run])["d_p"] == "d_p, mean distance of pairs"
    with pytest.raises(NoFigure, match="gan is of GAN, which learns no metric"):
        data("distances", [mvm_run, gan_run])
    assert len(data("distances", [gan_run])) > 0


def test_losses_are_those_of_the_players_that_trained(mvm_run, gan_run):
    assert {"generator", "discriminator"} <= set(data("loss", [gan_run]))
    rows = data("loss", [mvm_run, gan_run])
    records = {record["step"]: record for record in lines(gan_run) if "discriminator_loss" in record}
    part = rows[rows["run"] == "gan"].set_index("step")["discriminator"].dropna()
    assert part.to_dict() == {step: record["discriminator_loss"][0] for step, record in records.items()}
    assert rows[rows["run"] == "mvm"]["discriminator"].isna().all()


def test_scores_are_drawn_by_their_difference_to_bicubic(mvm_run, points):
    rows = data("scores", [mvm_run])
    for _, row in rows.iterrows():
        held = scores(mvm_run)[mvm_run.config.members.index((row["variant"], row["seed"]))]
        assert row["gain"] == pytest.approx(held[row["score"]] - held[f"{row['score']}_floor"])
    figure = render("scores", [mvm_run])
    assert [axes.get_xlabel() for axes in figure.axes] == [f"{s} − bicubic" for s in ("PSNR (dB)", "SSIM", "NIQE")]
    table = latex("scores", [mvm_run])
    assert "& bicubic &" in table
    assert f"{scores(mvm_run)[0]['ssim_y_floor']:.4f}" in table
    with pytest.raises(NoFigure, match="other baselines"):
        data("scores", [mvm_run, points])


def test_the_table_of_similarity_has_medians_by_backbone_and_the_best_in_bold(mvm_run, gan_run, tmp_path):
    rows = data("similarity", [mvm_run, gan_run])
    assert len(rows) == 5
    text = latex("similarity", [mvm_run, gan_run])
    medians = {
        "MvM (centroid only)": np.median([r["psnr_y"] for r in scores(mvm_run) if r["variant"] == "centroid"]),
        "MvM (both)": np.median([r["psnr_y"] for r in scores(mvm_run) if r["variant"] == "both"]),
        "relativistic GAN": scores(gan_run)[0]["psnr_y"],
        "bicubic": scores(gan_run)[0]["psnr_y_floor"],
    }
    best = max(f"{value:.2f}" for value in medians.values())
    for title, value in medians.items():
        (line,) = [line for line in text.splitlines() if f"& {title} &" in line]
        wanted = f"{value:.2f}"
        assert (rf"\textbf{{{wanted}}}" if wanted == best else f" {wanted} ") in line.split("&")[2]
    assert text.count(r"\addlinespace") == 1, "one backbone"
    other = Run(shutil.copytree(gan_run.path, tmp_path / "other"))
    config = json.loads((other.path / "config.json").read_text())
    config["network"]["backbone"] = "srresnet"
    (other.path / "config.json").write_text(json.dumps(config))
    apart = latex("similarity", [mvm_run, Run(other.path)])
    assert apart.count(r"\addlinespace") == 2
    assert re.search(r"^ +srresnet & relativistic GAN", apart, re.M)


def test_the_table_of_settings_says_what_is_pretrained(tmp_path):
    made = [
        Run.create(small_pairs(**fields), path=tmp_path / f"run{place}")
        for place, fields in enumerate(
            [
                {"variants": ("both",), "superres": {"gan": "relativistic"}},
                {"method": "l1"},
                {"method": "gan", "superres": {"gan": "standard"}},
                {"method": "esrgan"},
                {"method": "natsr", "superres": {"image_steps": 2}},
            ]
        )
    ]
    for run in made:
        (run.path / "snapshots").mkdir()
        run.snapshot_path(0).write_bytes(b"")  # settings are read of the config alone
    rows = data("settings", made).set_index("series")
    assert rows[["part", "pretrained", "discriminator"]].values.tolist() == [
        ["learned metric", "no", "relativistic"],
        ["--", "--", "--"],
        ["--", "--", "standard"],
        ["VGG16-HED: conv5_3", "yes", "relativistic"],
        ["discriminator of natural pictures", "no", "relativistic"],
    ]
    assert rows["weights"]["L1"] == "L_img 1"
    assert rows["weights"]["MvM (both) + RaGAN"] == "L_img 1, L_pair 0.001, L_MM 0.001, L_adv 0.002"
    text = latex("settings", made)
    assert r"ESRGAN · VGG16-HED & small & VGG16-HED: conv5\_3 & yes & relativistic" in text
    assert r"$L_{\mathrm{adv}}$ 0.002" in text
