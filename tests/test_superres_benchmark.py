"""Scores on folders of original pictures, and their tables: against pictures read by Pillow and sums by hand."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvm.commands import results
from mvm.errors import ConfigError
from mvm.figures.superres_tables import superres_csv, superres_latex, superres_means
from mvm.imaging.resize import imresize
from mvm.runs.benchmark import score_on
from mvm.scoring.superres import bicubic, measure


def brighter(low: torch.Tensor) -> torch.Tensor:
    """Bicubic interpolation, a little too bright."""
    return (bicubic(low).double() + 2).clamp(0, 255).to(torch.uint8)


def nearest(low: torch.Tensor) -> torch.Tensor:
    return low.repeat_interleave(4, 0).repeat_interleave(4, 1)


def pixels(height: int, width: int, seed: int) -> np.ndarray:
    smooth = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two colour pictures, a grey one, and files that cannot be used."""
    folder = tmp_path / "own"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(pixels(50, 67, 0)).save(folder / "a.png")
    Image.fromarray(pixels(64, 48, 1)).save(folder / "deep" / "b.webp", lossless=True)
    Image.fromarray(pixels(48, 48, 2)[..., 0]).save(folder / "c.png")
    (folder / "notes.txt").write_text("none", encoding="utf-8")
    Image.fromarray(pixels(40, 11, 3)).save(folder / "tiny.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:300])
    return folder


def expected(path: Path, upscale) -> dict[str, float | None]:
    """By hand: decoded by Pillow, cropped to multiples of 4, reduced."""
    with Image.open(path) as image:
        high = torch.from_numpy(np.array(image))
    high = high[: high.shape[0] // 4 * 4, : high.shape[1] // 4 * 4]
    if high.ndim == 2:
        low = imresize(high[..., None], (high.shape[0] // 4, high.shape[1] // 4)).repeat(1, 1, 3)
        return measure(upscale(low)[..., 0], high)
    return measure(upscale(imresize(high, (high.shape[0] // 4, high.shape[1] // 4))), high)


def test_every_picture_of_a_folder_is_scored_beside_bicubic(folder):
    seen: list[tuple[float, float]] = []
    found = score_on(
        {"bright": brighter, "nearest": nearest},
        folder,
        perceptual=False,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert [(row["picture"], row["setting"]) for row in found.rows] == [
        (picture, setting)
        for picture in ("a.png", "c.png", "deep/b.webp")
        for setting in ("bicubic", "bright", "nearest")
    ]
    functions = {"bicubic": bicubic, "bright": brighter, "nearest": nearest}
    for row in found.rows:
        assert row["data"] == "own"
        scores = {key: value for key, value in row.items() if key not in ("data", "setting", "picture")}
        assert scores == pytest.approx(expected(folder / row["picture"], functions[row["setting"]]))
    reasons = dict(found.skipped)
    assert set(reasons) == {"notes.txt", "tiny.png", "broken.png"}
    assert reasons["tiny.png"] == "11 x 40 pixels: smaller than 12"
    assert reasons["notes.txt"] == "not a picture"
    assert seen[-1] == (6, 6)
    assert found.missing == {}


def test_a_grey_picture_gets_its_own_luma_and_upscaling_three_channels(folder):
    shapes = []

    def upscale(low: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(low.shape))
        return bicubic(low)

    rows = [row for row in score_on({"own": upscale}, folder, perceptual=False).rows if row["picture"] == "c.png"]
    assert rows[0]["psnr_y"] == rows[0]["psnr_y_float"] == rows[1]["psnr_y"]
    assert shapes[1] == (12, 12, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "is no folder"),
        (lambda path: path.mkdir(), "it is empty"),
        (lambda path: (path.mkdir(), (path / "x").write_text("y", encoding="utf-8")), "x: not a picture"),
    ],
)
def test_a_folder_without_pictures_is_refused_in_one_line(make, words, tmp_path):
    make(tmp_path / "gone")
    with pytest.raises(ConfigError, match=words) as refused:
        score_on({"own": bicubic}, tmp_path / "gone")
    assert "\n" not in str(refused.value)


def test_the_baselines_name_is_taken(folder):
    with pytest.raises(ConfigError, match="'bicubic' is the baseline"):
        score_on({"bicubic": bicubic}, folder)


# -- tables ------------------------------------------------------------------------------------------------------------


def row(data, setting, picture, psnr, ssim, niqe):
    return {"data": data, "picture": picture, "setting": setting, "psnr_y": psnr, "ssim_y": ssim, "niqe": niqe}


ROWS = [
    row("zebra_5", "bicubic", "a", 28.0, 0.8, 7.0),
    row("zebra_5", "both, seed 0", "a", 29.0, 0.85, None),
    row("zebra_5", "bicubic", "b", 30.0, 0.9, None),
    row("zebra_5", "both, seed 0", "b", 32.0, 0.9, None),
    row("apes", "bicubic", "=c", 25.0, 0.7, 5.0),
    row("apes", "both, seed 0", "=c", 24.996, 0.71, 4.0),
]


def test_means_are_over_the_pictures_of_each_data_set_and_setting():
    means = superres_means(ROWS)
    assert means[["data", "setting", "pictures"]].values.tolist() == [
        ["zebra_5", "bicubic", 2],
        ["zebra_5", "both, seed 0", 2],
        ["apes", "bicubic", 1],
        ["apes", "both, seed 0", 1],
    ]
    np.testing.assert_allclose(means["psnr_y"], [29, 30.5, 25, 24.996])
    np.testing.assert_allclose(means["ssim_y"], [0.85, 0.875, 0.7, 0.71])
    np.testing.assert_allclose(means["niqe"], [7, np.nan, 5, 4])


def test_the_csv_has_means_and_every_picture():
    lines = list(csv.DictReader(io.StringIO(superres_csv(ROWS))))
    assert list(lines[0]) == ["data", "setting", "picture", "psnr_y", "ssim_y", "niqe"]
    assert [line["picture"] for line in lines] == ["mean"] * 4 + ["a", "a", "b", "b", "'=c", "'=c"]
    assert [float(line["psnr_y"]) for line in lines] == [29, 30.5, 25, 24.996, 28, 29, 30, 32, 25, 24.996]
    assert lines[1]["niqe"] == ""


def test_the_latex_marks_the_best_of_each_data_set():
    table = superres_latex(ROWS)
    lines = [line.strip() for line in table.splitlines() if "&" in line]
    assert lines == [
        r"Data & Setting & PSNR (Y) $\uparrow$ & SSIM (Y) $\uparrow$ & NIQE $\downarrow$ \\",
        r"zebra\_5 & bicubic & 29.00 & 0.8500 & 7.000 \\",
        r" & both, seed 0 & \textbf{30.50} & \textbf{0.8750} & -- \\".strip(),
        r"apes & bicubic & \textbf{25.00} & 0.7000 & 5.000 \\",
        r" & both, seed 0 & \textbf{25.00} & \textbf{0.7100} & \textbf{4.000} \\".strip(),
    ]
    assert r"zebra\_5 2, apes 1" in table
    assert superres_latex(ROWS, keys=("ssim_y",)).count("SSIM") == 1
    assert "PSNR" not in superres_latex(ROWS, keys=("ssim_y",))


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(make) -> None:
    """A run named a."""
    make("a")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every member of a run upscales to the nearest pixel."""
    monkeypatch.setattr(results, "_upscale", lambda run, variant, seed, best: nearest)


@pytest.mark.usefixtures("network")
def test_score_on_prints_means_and_writes_tables(run, cli, folder, tmp_path):
    done = cli(
        "score", "a", "--on", str(folder), "--csv", str(tmp_path / "new/t.csv"), "--latex", str(tmp_path / "t.tex")
    )
    assert done.status == 0, done.err
    setting = re.search(r"^own +3 (.*), seed 0 ", done.out, flags=re.M)
    assert re.search(r"^own +3 bicubic ", done.out, flags=re.M)
    assert setting
    for words in ("psnr_y", "skipped tiny.png: 11 x 40", "skipped notes.txt: not a picture", "not measured: lpips: "):
        assert words in done.out
    lines = list(csv.DictReader((tmp_path / "new/t.csv").open(encoding="utf-8")))
    means = {line["setting"]: float(line["psnr_y"]) for line in lines if line["picture"] == "mean"}
    files = ("a.png", "c.png", "deep/b.webp")
    assert means["bicubic"] == pytest.approx(np.mean([expected(folder / name, bicubic)["psnr_y"] for name in files]))
    assert means[f"{setting[1]}, seed 0"] == pytest.approx(
        np.mean([expected(folder / name, nearest)["psnr_y"] for name in files])
    )
    assert r"\textbf" in (tmp_path / "t.tex").read_text(encoding="utf-8")
    rows = json.loads(cli("score", "a", "--json", "--no-perceptual", "--on", str(folder), str(folder / "deep")).out)
    assert not {"vgg16_hed", "lpips"} & set(rows[0])
    assert {row["data"] for row in rows} == {"own", "deep"}


@pytest.mark.usefixtures("network")
def test_what_does_not_go_together_is_refused(run, cli, tmp_path):
    for words in (["--csv", "x"], ["--latex", "x"]):
        done = cli("score", "a", *words)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert "give --on FOLDER" in done.err
    done = cli("score", "a", "--on", str(tmp_path / "nowhere"))
    assert done.status == 2
    assert "is no folder" in done.err


# -- published rows, where a folder of benchmarks is named -------------------------------------------------------------

if os.environ.get("MVM_SR_BENCHMARKS"):

    def test_set5_from_its_files():
        found = score_on({"nearest": nearest}, Path(os.environ["MVM_SR_BENCHMARKS"], "set5"), perceptual=False)
        means = superres_means(found.rows).set_index("setting")
        assert means.loc["bicubic", "pictures"] == 5
        assert means.loc["bicubic", "psnr_y"] == pytest.approx(28.42, abs=0.01)
        assert means.loc["nearest", "psnr_y"] < means.loc["bicubic", "psnr_y"]
