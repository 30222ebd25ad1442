"""Figures for papers: true widths, embedded fonts, the run's own numbers, the same bytes again, and clear refusals."""

import csv
import io
import json
import re
import shutil
import string
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from safetensors.numpy import load_file, save_file
from trainers import few_scored, small_config, small_held_out, small_pairs, write_cloud

from mvm.data.cache import image_folder
from mvm.errors import ConfigError, RunError
from mvm.figures import FIGURES, NoFigure, Selection, data, latex, render
from mvm.figures.drawing import wrapped
from mvm.figures.export import bundle, encoded, export, rebuild
from mvm.figures.moving import MOVING
from mvm.figures.supplement import supplement
from mvm.figures.venues import VENUES, styled
from mvm.files import append_line
from mvm.look.glossary import HOW_TO_READ
from mvm.look.palette import FAKE, REAL
from mvm.networks.resnet import ResNetGenerator
from mvm.runs.evaluate import load_generator, training_gallery
from mvm.runs.fork import fork
from mvm.runs.layout import frame_path
from mvm.runs.recorder import train
from mvm.runs.run import Run
from mvm.scoring.features import FactorRegressor, PixelPCA
from mvm.scoring.images import FACTOR_SCORES
from mvm.studies.compare import quantities
from mvm.training.experiment import view_noise

WIDTHS = {  # inches, from the style files: a column, and the whole text
    "neurips": (5.5, 5.5),
    "icml": (3.25, 6.75),
    "iclr": (5.5, 5.5),
    "cvpr": (237.13594 / 72.27, 496.85625 / 72.27),
    "eccv": (12.2 / 2.54, 12.2 / 2.54),
    "tmlr": (6.5, 6.5),
}
STEPS = 40
LAYERS = ("forces", "metric", "likelihood", "modes", "honesty")
OF_SWEEPS = ("heatmap", "parallel", "best", "importance")
PIXELS = ("samples", "lens", *LAYERS, "sheet", "nearest", "walk", "upscaled")  # all other figures are vectors
NO_TABLE = ("samples", "loss", "forces", "metric", "likelihood", "modes", "sheet", "nearest", "walk", "upscaled",
            "parallel")  # fmt: skip
SAYS = {
    "heatmap": "descriptors",
    "parallel": "descriptors",
    "best": "batch 16",
    "importance": "share of the variance",
    "lens": "death (radius)",
    "density": "arc length",
    "forces": "centroid ×",
    "metric": "steps of",
    "likelihood": "log density",
    "modes": "eigenvector 2",
    "honesty": "trustworthiness",
    "samples": "both",
    "batch": "batch size",
    "eigenvalues": "before training",
    "scores": "real against real",
    "sheet": "real",
    "nearest": "generated",
    "walk": "from one noise to another",
    "factors": "hair length",
    "upscaled": "bicubic",
    "similarity": "lower is better",
    "settings": "Pretrained",
    "ablation": "cloud.csv",
}


def trained(folder: Path, name: str, **fields) -> Run:
    """A run of `STEPS` steps with a made-up UMAP frame at its end: a real one takes seconds to compile."""
    cloud = folder / "cloud.csv"
    if not cloud.exists():
        write_cloud(cloud)
    run = Run.create(small_config(cloud, steps=STEPS, **fields), path=folder / name)
    with few_scored():
        for _ in train(run):
            pass
    shape = (len(run.config.members), 2 * run.config.view_points, 2)
    frame_path(run.path, STEPS).parent.mkdir()
    np.save(frame_path(run.path, STEPS), np.random.default_rng(0).normal(size=shape).astype(np.float32))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Run]:
    """Two variants by two seeds, at two batch sizes."""
    folder = tmp_path_factory.mktemp("runs")
    return [trained(folder, f"batch{batch}", batch=batch, seeds=(0, 1)) for batch in (16, 32)]


@pytest.fixture
def own(runs, tmp_path) -> Run:
    """A copy to spoil."""
    return Run(Path(shutil.copytree(runs[0].path, tmp_path / "own")))


@pytest.fixture(scope="module")
def forked(runs) -> Run:
    """The first of them, rewound to step 20 and trained on without the centroid."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVM_CHECKPOINTS", str(runs[0].path.parent))
        run = fork(runs[0], 20, {"weights.centroid": 0})
    for _ in train(run):
        pass
    return run


@pytest.fixture(scope="module")
def pictures(runs) -> Run:
    """A run on points made to look like one on pictures: training one takes too long here."""
    folder = runs[0].path.parent / "pictures"
    run = Run(Path(shutil.copytree(runs[0].path, folder)))
    as_pictures(run)
    rows = json.loads((folder / "scores.json").read_text())
    factors = [key for key in FACTOR_SCORES if key != "factor_mean"]
    for number, row in enumerate(rows):
        row |= {key: 0.3 + 0.05 * number + 0.01 * place for place, key in enumerate(factors)}
        row |= {"factor_mean": 0.4} | {f"{key}_floor": 0.95 for key in FACTOR_SCORES}
    (folder / "scores.json").write_text(json.dumps(rows))
    return Run(folder)


def as_pictures(run: Run) -> np.ndarray:
    """Change a run's files so; returns the fakes."""
    values = json.loads((run.path / "config.json").read_text()) | {"data": "faces", "size": 8, "points": 64}
    values["network"]["channels"] = 4
    (run.path / "config.json").write_text(json.dumps(values))
    random = np.random.default_rng(0)
    np.save(run.path / "real.npy", random.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8))
    weights, fakes = {"step": np.array(STEPS)}, np.empty((4, 16, 8, 8, 3), dtype=np.uint8)
    for member in range(4):
        generator = ResNetGenerator(8, noise_dim=values["network"]["noise_dim"], channels=4)
        for name, value in generator.state_dict().items():
            drawn = np.asarray(random.normal(size=value.shape) * 0.3, dtype=np.float32)
            weights[f"average.members.{member}.{name}"] = np.abs(drawn) if name.endswith("var") else drawn
        save_file(weights, run.kept_path(STEPS))
        made = load_generator(Run(run.path), member, step=STEPS)(view_noise(16, values["network"]["noise_dim"]))
        fakes[member] = made.numpy()
    arrays = {
        name: array for name, array in load_file(run.snapshot_path(STEPS)).items() if name not in ("real", "grid")
    }
    save_file(arrays | {"fake": fakes, "raw": fakes[:, :4].copy()}, run.snapshot_path(STEPS))
    for name in ("scores.json", "scalars.jsonl"):  # pictures are scored in their own units
        text = (run.path / name).read_text()
        (run.path / name).write_text(re.sub('"coordinates": ?"standardised"', '"coordinates":"own"', text))
    return fakes


@pytest.fixture(scope="module")
def photographs(runs) -> Run:
    """A run of super-resolution."""
    run = Run.create(small_pairs(variants=("centroid", "both")), path=runs[0].path.parent / "photographs")
    with small_held_out():
        for _ in train(run):
            pass
    return run


@pytest.fixture(scope="module")
def moons(runs) -> Run:
    """A run on a toy manifold of two components."""
    return trained(runs[0].path.parent, "moons", data="moons")


@pytest.fixture(scope="module")
def flow(runs) -> Run:
    """A run of a method with a density."""
    return trained(runs[0].path.parent, "flow", method="normalizing_flow", variants=("normalizing_flow",))


@pytest.fixture(scope="module")
def cases(runs, forked, pictures, photographs, moons, flow) -> dict[str, list[Run]]:
    """The runs that each figure takes."""
    alone = {"batch": runs, "branches": [runs[0], forked]} | dict.fromkeys(OF_SWEEPS, runs)
    alone |= {"density": [moons], "likelihood": [flow]}
    alone |= {name: [pictures] for name in ("sheet", "nearest", "walk", "factors")}
    alone |= {name: [photographs] for name in ("upscaled", "similarity", "settings")}
    return {name: alone.get(name, runs[:1]) for name in FIGURES}


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def lines(run: Run) -> list[dict]:
    """scalars.jsonl, read by nothing of ours."""
    return [json.loads(line) for line in (run.path / "scalars.jsonl").read_text().splitlines()]


def pdf_width(content: bytes) -> float:
    return float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", content).group(1)) / 72


def page(content: bytes) -> bytes:
    """The drawing commands of a PDF."""
    parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    found = []
    for part in parts:
        try:
            found.append(zlib.decompress(part))
        except zlib.error:
            continue
    return max(found, key=lambda text: len(re.findall(rb"\n[\d.-]+ [\d.-]+ l\b", text)))


def faults_of(figure, venue: str) -> list[str]:
    """What a reader would complain about in the layout of a figure that was drawn, in words."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    with styled(VENUES[venue]):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer, (width, height) = canvas.get_renderer(), canvas.get_width_height()
        hidden = set()  # labels of ticks outside of their axis are never drawn
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
        texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text not in hidden]
        legends = [each.get_window_extent(renderer).height / height for each in figure.legends]
    faults = [f"a legend of {share:.0%} of the height" for share in legends if share > 0.25]
    for place, (text, box) in enumerate(boxes):
        if min(box.x0, box.y0) < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            faults.append(f"{text!r} leaves the page")
        for other, its in boxes[:place]:
            if min(box.x1, its.x1) - max(box.x0, its.x0) > 1 and min(box.y1, its.y1) - max(box.y0, its.y0) > 1:
                faults.append(f"{text!r} lies on {other!r}")
    return faults


# -- files -------------------------------------------------------------------------------------------------------------


def test_venues_have_the_widths_of_their_style_files_and_sizes_that_can_be_read():
    assert list(VENUES) == list(WIDTHS)
    for name, venue in VENUES.items():
        np.testing.assert_allclose((venue.column, venue.page), WIDTHS[name], rtol=1e-5)
        sizes = {
            key: size for key, size in venue.style().items() if key.endswith(("font.size", "labelsize", "fontsize"))
        }
        assert len(sizes) >= 5
        assert 7 <= min(sizes.values()) <= max(sizes.values()) <= 10


@pytest.mark.parametrize(
    ("name", "venue"),
    [("spectrum", venue) for venue in WIDTHS if venue != "icml"] + [(name, "icml") for name in FIGURES],
)
def test_a_pdf_is_as_wide_as_the_column_with_truetype_fonts_and_vector_axes(name, venue, cases):
    content = bundle([name], cases[name], venue=venue).files[f"{name}.pdf"]
    np.testing.assert_allclose(pdf_width(content), WIDTHS[venue][0], atol=0.003)
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"STIXGeneral" in content
    assert b"CreationDate" not in content
    assert (b"/Subtype /Image" in content) == (name in PIXELS)  # points are pixels, and nothing else is
    if name not in (
        *LAYERS,
        "sheet",
        "nearest",
        "walk",
        "ablation",
        "upscaled",
        "settings",
        *OF_SWEEPS,
    ):  # which have no ticks
        assert len(re.findall(rb"\bl\b", page(content))) > 20  # frames, and as many ticks as the numbers ask for


@pytest.mark.parametrize(("venue", "wide"), [("icml", False), ("neurips", False), ("cvpr", True)])
@pytest.mark.parametrize("name", FIGURES)
def test_texts_lie_apart_and_on_the_page_beside_a_small_legend(name, venue, wide, cases):
    assert faults_of(render(name, cases[name], venue=venue, wide=wide), venue) == []


@pytest.mark.parametrize("name", ["curves", "distances", "spectrum", "scores", "forces"])
def test_many_series_with_long_labels_lie_apart_too(name, runs, forked):
    assert faults_of(render(name, [*runs, forked], venue="icml"), "icml") == []


@pytest.mark.parametrize("name", FIGURES)
def test_an_svg_is_as_wide_as_the_column_and_its_text_is_text(name, cases):
    content = bundle([name], cases[name], venue="cvpr", formats=["svg"]).files[f"{name}.svg"].decode()
    width = float(re.search(r'<svg [^>]*width="([\d.]+)pt"', content).group(1)) / 72
    np.testing.assert_allclose(width, WIDTHS["cvpr"][0], atol=1e-4)
    assert "STIXGeneral, 'STIX Two Text', 'Times New Roman', Times, serif" in content
    assert "<dc:date>" not in content
    assert ("<image" in content) == ("data:image/png" in content) == (name in PIXELS)
    assert SAYS.get(name, "training step") in content


@pytest.mark.parametrize("venue", ["icml", "cvpr", "eccv"])
def test_wide_goes_across_the_page(venue, runs):
    figure = render("samples", runs[:1], venue=venue, wide=True)
    np.testing.assert_allclose(pdf_width(encoded(figure, "pdf", venue=venue)), WIDTHS[venue][1], atol=0.003)


@pytest.mark.parametrize("dpi", [72, 300, 450])
def test_a_png_has_its_width_in_dots_on_white_paper_in_the_screens_colours(dpi, runs):
    content = bundle(["samples"], runs[:1], venue="icml", formats=["png"], dpi=dpi).files["samples.png"]
    image = Image.open(io.BytesIO(content))
    assert image.width == int(3.25 * dpi)
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    assert (pixels == 255).all(1).mean() > 0.5
    if dpi >= 300:
        for colour in (REAL, FAKE):  # of points, which are a little transparent: of the legend's dots, which are not
            wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert (pixels == wanted).all(1).any()


@pytest.mark.parametrize("dark", [{"axes.facecolor": "black", "font.size": 30, "savefig.dpi": 50}])
def test_what_else_matplotlib_is_set_to_does_not_matter(dark, runs):
    import matplotlib

    before = bundle(["samples"], runs[:1], formats=["pdf", "png"])
    with matplotlib.rc_context(dark):
        assert bundle(["samples"], runs[:1], formats=["pdf", "png"]).files == before.files
        assert matplotlib.rcParams["font.size"] == 30


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_the_spectrum_is_that_of_every_snapshot(runs):
    rows = table(bundle(["spectrum"], runs[:1], formats=["svg"], form="mds").files["spectrum.csv"])
    members = runs[0].config.members
    assert len(rows) == 4 * 5 * 10
    for step in range(0, STEPS + 1, 10):
        held = load_file(runs[0].path / "snapshots" / f"{step:08d}.safetensors")["spectrum_mds"]
        for row in (row for row in rows if row["step"] == str(step)):
            member = members.index((row["variant"], int(row["seed"])))
            assert np.float32(row["eigenvalue"]) == held[member, int(row["rank"]) - 1]


def test_distances_are_those_of_the_records(runs):
    rows = table(bundle(["distances"], runs[:1], formats=["svg"]).files["distances.csv"])
    members = runs[0].config.members
    records = {record["step"]: record for record in lines(runs[0]) if "d_c" in record}
    assert len(rows) == len(members) * len(records)
    for row in rows:
        member = members.index((row["variant"], int(row["seed"])))
        for gap in ("d_c", "d_g", "d_H"):
            np.testing.assert_allclose(float(row[gap]), records[int(row["step"])][gap][member], rtol=1e-8)


def test_a_line_is_the_seeds_median_and_its_band_their_quartiles(runs):
    figure = render("distances", runs[:1])
    axes = figure.axes[0]
    members = runs[0].config.members
    records = [record for record in lines(runs[0]) if "d_c" in record]
    both = [[record["d_c"][m] for m, (variant, _) in enumerate(members) if variant == "both"] for record in records]
    (line,) = [line for line in axes.lines if line.get_label() == "both"]
    np.testing.assert_allclose(line.get_ydata(), np.median(both, axis=1), rtol=1e-6)
    low, high = np.quantile(both, [0.25, 0.75], axis=1)
    corners = axes.collections[1].get_paths()[0].vertices[:, 1]
    for value in (*low, *high):
        assert np.isclose(corners, value, rtol=1e-6).any()
    (fill,) = axes.collections[1].get_facecolor()
    assert tuple(fill[:3]) == to_rgb(line.get_color())
    assert 0 < fill[3] < 0.5, "the line and the grid shine through"


def test_samples_are_the_last_snapshots_with_its_frame(runs):
    rows = table(bundle(["samples"], runs[:1], formats=["svg"], seed=1).files["samples.csv"])
    snapshot, frame = load_file(runs[0].snapshot_path(STEPS)), np.load(frame_path(runs[0].path, STEPS))
    members, half = runs[0].config.members, runs[0].config.view_points
    assert len(rows) == 2 * 2 * half
    for row in rows:
        assert row["seed"] == "1"
        member, point = members.index((row["variant"], 1)), int(row["point"])
        fake = row["kind"] == "fake"
        held = snapshot["fake"][member, point] if fake else snapshot["real"][point]
        assert [np.float32(row["x1"]), np.float32(row["x2"])] == held.tolist()
        umap = frame[member, point + half * fake]
        assert [np.float32(row["umap1"]), np.float32(row["umap2"])] == umap.tolist()


def test_batch_sizes_have_their_runs_scores_and_times(runs):
    rows = table(bundle(["batch"], runs[::-1], formats=["svg"]).files["batch.csv"])
    assert [row["batch"] for row in rows] == ["16"] * 4 + ["32"] * 4
    for row in rows:
        run = runs[0] if row["batch"] == "16" else runs[1]
        (score,) = [s for s in run.scores() if (s["variant"], str(s["seed"])) == (row["variant"], row["seed"])]
        np.testing.assert_allclose(float(row["value"]), score["w2_ratio"], rtol=1e-8)
        last = [record for record in lines(run) if "seconds" in record][-1]
        epoch = last["seconds"] / last["step"] * len(run.data.train) / run.config.batch
        np.testing.assert_allclose(float(row["seconds_per_epoch"]), epoch, rtol=1e-8)


def test_figures_of_a_sweep_pool_seeds_as_pandas_does(runs):
    """Each over an own reading of the files: medians of the seeds, and of all but one setting."""
    rows = pd.DataFrame([
        {"batch": str(json.loads((run.path / "config.json").read_text())["batch"])} | score
        for run in runs
        for score in json.loads((run.path / "scores.json").read_text())
    ])  # fmt: skip
    rows["variant"] = rows["variant"].replace({"centroid": "centroid only"})
    for key in ("w2_ratio", "coverage"):
        options = {} if key == "w2_ratio" else {"quantity": key}
        heat = data("heatmap", runs, over=["batch"], **options)
        assert set(heat["columns"]) == {"batch"}
        assert set(heat["rows"]) == {"descriptors"}
        medians = rows.groupby(["variant", "batch"])[key].median()
        assert {(row.what, row.data): row.median for row in heat.itertuples()} == pytest.approx(medians.to_dict())
        best = data("best", runs, **options)
        distance = (rows[key] - (0 if key == "w2_ratio" else rows["coverage_floor"])).abs()
        order = distance.groupby([rows["variant"], rows["batch"]]).median().sort_values(kind="stable")
        assert [*zip(best["descriptors"], best["batch"], strict=True)] == list(order.index)
        assert [*best["median"]] == pytest.approx([medians[at] for at in order.index])
        shares = data("importance", runs, **options).set_index("setting")["share"]
        for column, setting in (("batch", "batch"), ("variant", "descriptors")):
            means = rows.groupby(column)[key].transform("mean")
            assert shares[setting] == pytest.approx(means.var(ddof=0) / rows[key].var(ddof=0))
        lines = data("parallel", runs, **options)
        assert sorted(lines["value"]) == pytest.approx(sorted(rows[key]))
    with pytest.raises(NoFigure, match="heatmap: these trainings do not differ in steps; they do in batch, variants"):
        data("heatmap", runs, over=["steps"])
    with pytest.raises(NoFigure, match="best: no final scores have 'd_c'; they have w2_ratio, "):
        data("best", runs, quantity="d_c")


def test_tables_are_booktabs_with_the_right_numbers(runs, cases):
    for name in FIGURES:
        text = latex(name, cases[name])
        assert (text is None) == (name in NO_TABLE)
        if text is None:
            continue
        assert set(text) <= {*string.printable, "é", "×", "–"}
        for rule in (
            r"\toprule",
            r"\midrule",
            r"\bottomrule",
            r"\begin{table}",
            r"\end{table}",
            r"\caption{",
            r"\label{",
        ):
            assert text.count(rule) >= 1, (name, rule)
        assert text.count("{") == text.count("}")
        assert text.count("$") % 2 == 0
        columns = len(re.search(r"\\begin{tabular}{([lr]+)}", text).group(1))
        body = [line for line in text.splitlines() if line.endswith(r"\\")]
        for line in body:
            spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn{(\d+)}", line))
            assert line.count("&") + 1 + spans == columns, line
    rows = data("batch", runs)
    for variant, title in (("centroid", "centroid only"), ("both", "both")):
        part = rows[rows["variant"] == variant].groupby("batch")["value"].median()
        block = latex("batch", runs).split(f"{{{title}}}")[1].split(r"\midrule")[0]
        cells = [float(cell) for cell in re.search(r"baseline & (.*?) \\\\", block).group(1).split(" & ")]
        np.testing.assert_allclose(cells, part, rtol=0.006)
        assert "2/2 & 2/2" in block


def test_runs_that_differ_in_seeds_alone_are_pooled(runs, tmp_path):
    other = trained(tmp_path, "other", seeds=(2,), data=runs[0].config.data)
    pooled = data("distances", [runs[0], other])
    assert sorted(pooled["series"].unique()) == ["both", "centroid only"]
    assert sorted(pooled["seed"].unique()) == [0, 1, 2]
    apart = data("distances", runs)["series"].unique().tolist()
    assert apart == ["centroid only, batch 16", "both, batch 16", "centroid only, batch 32", "both, batch 32"]


def test_an_earlier_step_is_what_the_run_held_then(runs, own):
    files = bundle(["spectrum", "distances"], [own], step=25, formats=["svg"]).files
    assert max(int(row["step"]) for row in table(files["spectrum.csv"])) == 20
    assert json.loads(files["distances.recipe.json"])["runs"][0]["step"] == 20


@pytest.mark.parametrize("name", ["curves", "scores", "samples"])
def test_weights_that_were_moved_are_in_every_label_or_its_footnote(own, name):
    """Up to the shown step: what was moved later had not trained it."""
    for serial, step in enumerate((5, 15, 25), 1):
        told = {"step": step, "event": "weights", "weights": {"diameter": 1 + serial / 4}, "serial": serial}
        append_line(own.path / "scalars.jsonl", told)

    def series(step: int) -> list[str]:
        found = data(name, [own], step=step)
        return list(found["series"].unique()) if "series" in found else sorted(found["variant"].unique())

    def drawn(step: int) -> str:
        return encoded(render(name, [own], step=step), "svg", venue="neurips").decode()

    early, late = "both, 2-diameter × 1 → 1.25 at 5", "both: 2-diameter × 1 → 1.25 at 5 → 1.5 at 15 → 1.75 at 25"
    assert early in series(10)
    assert "both†" in series(STEPS)
    assert "centroid only" in series(STEPS)
    assert "†" not in drawn(10)
    assert all(word in drawn(STEPS) for word in ("both†", "† both: 2-diameter × 1"))
    assert [each.note for each in Selection.of([own]).series()] == ["", late]
    if text := latex(name, [own]):
        assert text.count(r"\textdagger{} both: 2-diameter × 1 $\rightarrow$ 1.25 at 5 $\rightarrow$") == 1


def test_points_beyond_three_dimensions_lie_on_the_reals_main_axes(tmp_path):
    cloud = tmp_path / "cloud.csv"
    np.savetxt(cloud, np.random.default_rng(0).normal(size=(200, 5)) * [9, 4, 1, 1, 1], delimiter=",")
    rows = data("samples", [trained(tmp_path, "five")])
    assert "x1" not in rows
    real = rows[(rows["kind"] == "real") & (rows["variant"] == "both")]
    own = load_file(tmp_path / "five" / "snapshots" / f"{STEPS:08d}.safetensors")["real"]
    wanted = np.linalg.svd(own - own.mean(0), compute_uv=False)[:2]
    np.testing.assert_allclose(np.linalg.norm(real[["plane1", "plane2"]], axis=0), wanted, rtol=1e-4)


def test_pictures_have_contact_sheets_in_place_of_clouds(own):
    fakes = as_pictures(own)
    figure = render("samples", [Run(own.path)])
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(shown) == 2
    np.testing.assert_array_equal(shown[0][:8, :8], fakes[0, 0])
    np.testing.assert_array_equal(shown[1][:8, 9:17], fakes[2, 1])
    assert "x1" not in data("samples", [Run(own.path)])


def test_a_sheet_has_the_reals_beside_each_series_fakes(pictures):
    rows = data("sheet", [pictures], seed=1)
    fakes, reals = load_file(pictures.snapshot_path(STEPS))["fake"], np.load(pictures.path / "real.npy")
    assert len(rows) == 2 * 2 * 16
    for variant, member in (("centroid", 1), ("both", 3)):
        for kind, shown in (("real", reals), ("generated", fakes[member])):
            colours = rows[(rows["variant"] == variant) & (rows["kind"] == kind)][["red", "green", "blue"]]
            np.testing.assert_allclose(colours, shown.mean((1, 2)) / 255, rtol=1e-12)
    panels = [axes.images[0].get_array() for axes in render("sheet", [pictures], seed=1).axes]
    for panel, first in zip(panels, (reals[0], fakes[1, 0], fakes[3, 0]), strict=True):
        np.testing.assert_array_equal(panel[:8, :8], first)


def test_a_supplement_of_photographs_is_read_as_pairs(photographs):
    (reading,) = re.findall(rb'"reading":(\{.*?\})', supplement(Selection.of([photographs], project=False)))
    said = json.loads(reading)
    keys = {"data": "upscaled", "gaps": "pair_gaps", "scores": "pair_scores"}
    assert {name: said[name] for name in keys} == {name: HOW_TO_READ[key] for name, key in keys.items()}
    assert "d_p" in said["gaps"]


def test_a_supplement_of_photographs_shows_what_they_are_compared_with_once(photographs):
    page = supplement(Selection.of([photographs], project=False)).decode()
    found = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [curve["label"].split(",")[0] for curve in found["curves"] if curve["gap"]] == ["d_c", "d_g", "d_H", "d_p"]
    *trained, interpolated, original = found["columns"]
    assert [interpolated["title"], original["title"]] == ["bicubic", "original"]
    for still in (interpolated, original):
        assert (len(still["pictures"]), still["at"], still["scores"]) == (1, [0] * len(found["steps"]), [""])
    assert all(len(column["pictures"]) == len(column["shots"]) for column in trained)
    assert len({*original["pictures"], *interpolated["pictures"], trained[0]["pictures"][0]}) == 3


def test_the_nearest_are_those_of_a_search_through_all_training_pictures(pictures):
    rows = data("nearest", [pictures], seed=1)
    fakes, gallery = load_file(pictures.snapshot_path(STEPS))["fake"], training_gallery(pictures.config)
    see = FactorRegressor()
    train = see(gallery.images).double().numpy()
    assert len(train) == 64
    shown = [axes.images[0].get_array() for axes in render("nearest", [pictures], seed=1).axes]
    for number, (variant, member) in enumerate((("centroid", 1), ("both", 3))):
        part = rows[rows["variant"] == variant]
        assert len(part) == 6 * 5
        for fake in range(6):
            found = part[part["generated"] == fake]
            own = see(torch.from_numpy(fakes[member, fake : fake + 1])).double().numpy()[0]
            far = np.array([np.sqrt(((own - other) ** 2).sum()) for other in train])
            wanted = np.argsort(far)[:5]
            assert found["rank"].tolist() == [1, 2, 3, 4, 5]
            assert found["training"].tolist() == wanted.tolist()
            np.testing.assert_allclose(found["distance"], far[wanted], rtol=1e-4)
            np.testing.assert_array_equal(shown[number][9 * fake : 9 * fake + 8, :8], fakes[member, fake])
            for rank, of in enumerate(wanted):
                left = 8 + 8 // 3 + 9 * rank
                near = shown[number][9 * fake : 9 * fake + 8, left : left + 8]
                np.testing.assert_array_equal(near, gallery.images[of])


def test_a_walk_leads_from_fake_to_fake_by_the_kept_checkpoint(pictures):
    rows = data("walk", [pictures])
    fakes = load_file(pictures.snapshot_path(STEPS))["fake"].astype(float)
    assert len(rows) == 2 * 3 * 9
    assert set(rows["checkpoint"]) == {STEPS}
    panels = [axes.images[0].get_array().astype(float) for axes in render("walk", [pictures]).axes]
    for number, (variant, member) in enumerate((("centroid", 0), ("both", 2))):
        part = rows[rows["variant"] == variant]
        for row in range(3):
            line = part[part["row"] == row]
            np.testing.assert_allclose(line["place"], np.arange(9) / 8)
            assert {*line["from"], *line["to"]} == {2 * row, 2 * row + 1}
            for place, noise in ((0, 2 * row), (8, 2 * row + 1)):
                top, left = 9 * row, 9 * place
                np.testing.assert_allclose(panels[number][top : top + 8, left : left + 8], fakes[member, noise], atol=1)
                means = line[["red", "green", "blue"]].iloc[place] * 255
                np.testing.assert_allclose(means, fakes[member, noise].mean((0, 1)), atol=1)


def test_without_a_kept_checkpoint_one_line_says_so(own):
    as_pictures(own)
    for path in (own.path / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(NoFigure, match="walk: own has kept no checkpoint up to step 40"):
        render("walk", [Run(own.path)])
    own.kept_path(STEPS).write_bytes(b"nonsense")
    with pytest.raises(NoFigure, match="walk: own checkpoint: "):
        render("walk", [Run(own.path)])


def test_the_nearest_in_a_cache_are_those_of_its_pixels_until_it_changes(own, tmp_path):
    fakes = as_pictures(own)
    values = json.loads((own.path / "config.json").read_text()) | {"data": "mine-8", "size": None}
    (own.path / "config.json").write_text(json.dumps(values))
    image_folder().mkdir(parents=True)
    cache = image_folder() / "mine-8.npy"
    images = np.random.default_rng(1).integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    np.save(cache, images)
    sidecar = {"source": "mine", "kind": "images", "size": 8, "crop": None, "count": 400, "splits": {"train": [0, 400]}}
    sidecar |= {"skipped": [], "converted": {}, "sha256": "1", "seconds": 1}
    cache.with_suffix(".json").write_text(json.dumps(sidecar))
    rows = data("nearest", [Run(own.path)])
    see = PixelPCA(torch.from_numpy(images[:360]), size=16)  # the last tenth is kept from training
    mirrored = images[:360, :, ::-1].copy()  # training mirrors half of its draws
    train, other, seen = (see(torch.from_numpy(x)).double().numpy() for x in (images[:360], mirrored, fakes[2]))
    for fake, part in rows[rows["variant"] == "both"].groupby("generated"):
        far = np.minimum(*(np.linalg.norm(seen[fake] - x, axis=1) for x in (train, other)))
        assert part["training"].tolist() == np.argsort(far)[:5].tolist()
        np.testing.assert_allclose(part["distance"], np.sort(far)[:5], rtol=1e-4)

    export(["nearest"], [own := Run(own.path)], out=tmp_path / "paper")
    said: list[str] = []
    assert rebuild(tmp_path / "paper", say=said.append) == 0, said
    cache.with_suffix(".json").write_text(json.dumps(sidecar | {"sha256": "2"}))
    assert rebuild(tmp_path / "paper", say=said.append) == 2
    assert said[-1] == "nearest: the run has changed since: own/training pictures; nothing is rebuilt of it"
    cache.unlink()
    with pytest.raises(NoFigure, match="nearest: own's training pictures are gone: data: unknown 'mine-8'") as error:
        render("nearest", [own])
    assert "\n" not in str(error.value)


def test_eigenvalues_are_those_of_the_first_and_the_shown_snapshot(runs):
    rows = data("eigenvalues", runs[:1], step=25)
    first, last = (load_file(runs[0].snapshot_path(step))["spectrum_distance"] for step in (0, 20))
    assert set(rows["step"]) == {20}
    for place, (_, part) in enumerate(rows.groupby(["variant", "seed"], sort=False)):
        member = runs[0].config.members.index((part["variant"].iloc[0], part["seed"].iloc[0]))
        assert place == member
        np.testing.assert_array_equal(part["before"], first[member])
        np.testing.assert_array_equal(part["now"], last[member])


@pytest.mark.parametrize("name", ["spectrum", "eigenvalues"])
def test_the_axis_of_eigenvalues_says_that_it_has_no_signs(runs, name):
    column = {"spectrum": "eigenvalue", "eigenvalues": "now"}[name]
    assert (data(name, runs[:1])[column] < 0).any()
    figure = render(name, runs[:1])
    assert figure.get_supylabel() == "eigenvalue magnitude, $D$ / mean $D$"
    assert min(np.nanmin(line.get_ydata()) for axes in figure.axes for line in axes.get_lines()) > 0


def test_scores_and_factors_are_those_of_the_run_beside_their_floors(runs, pictures):
    rows, scored = data("scores", runs[:1]), json.loads((runs[0].path / "scores.json").read_text())
    assert {"w2", "precision", "coverage", "c2st"} <= set(rows["score"])
    for _, row in rows.iterrows():
        (own,) = [s for s in scored if (s["variant"], s["seed"]) == (row["variant"], row["seed"])]
        assert row["value"] == own[row["score"]]
        assert row["over_floor"] == own[row["score"]] / own[f"{row['score']}_floor"]
    both = rows[(rows["variant"] == "both") & (rows["score"] == "w2")]["value"]
    low, middle, high = np.quantile(both, [0.25, 0.5, 0.75])
    cells = re.search(r"\$W_2\$ .*? & (\S+) \[(\S+), (\S+)\] \\\\", latex("scores", runs[:1])).groups()
    np.testing.assert_allclose([float(cell) for cell in cells], [middle, low, high], rtol=0.006)
    early = data("scores", runs[:1], step=25)
    assert set(early["step"]) == {20}, "those that were known then"
    factors = data("factors", [pictures])
    assert factors.groupby("factor")["overlap"].first()["skin"] == 0.3
    assert len(factors) == 4 * 13


def test_a_title_without_spaces_is_cut_to_its_panel_but_a_formula_never():
    assert max(map(len, wrapped("a-run-of-" + "x" * 60, 1.4, 8).split("\n"))) <= 27
    assert wrapped("$10 and $20", 1.4, 8) == r"\$10 and \$20"


def test_a_score_of_zero_lies_at_the_left_edge(own):
    rows = json.loads((own.path / "scores.json").read_text())
    for row in rows:
        row["recall"] = 0.0 if row["variant"] == "both" else 0.5
    (own.path / "scores.json").write_text(json.dumps(rows))
    axes = render("scores", [own]).axes[0]
    edge = [line for line in axes.lines if line.get_marker() == "<"]
    assert [line.get_xdata().tolist() for line in edge] == [[axes.get_xlim()[0]]]


def test_what_diverged_from_the_start_has_no_scores_to_draw(own):
    rows = json.loads((own.path / "scores.json").read_text())
    none = [
        {
            key: value if key.endswith("_floor") or key in ("variant", "seed", "step", "n", "coordinates") else None
            for key, value in row.items()
        }
        for row in rows
    ]
    (own.path / "scores.json").write_text(json.dumps(none))
    with pytest.raises(NoFigure, match="every generator of these runs diverged"):
        render("scores", [own])
    half = [row if number else none[0] for number, row in enumerate(rows)]
    (own.path / "scores.json").write_text(json.dumps(half))
    rows = data("scores", [own])
    assert rows[rows["value"].notna()].groupby("variant")["seed"].unique().map(list).to_dict() == {
        "centroid": [1],
        "both": [0, 1],
    }
    (axes,) = render("scores", [own]).axes
    assert axes.has_data()
    records = [record | {key: [None] * 4 for key in record if key.endswith("_loss")} for record in lines(own)]
    (own.path / "scalars.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(NoFigure, match="no loss to draw"):
        render("loss", [Run(own.path)])


def test_density_is_that_of_the_snapshots_fakes(moons):
    rows = data("density", [moons])
    fake = load_file(moons.snapshot_path(STEPS))["fake"]
    for variant, member in (("centroid", 0), ("both", 1)):
        part = rows[rows["variant"] == variant]
        assert list(part["component"].unique()) == ["upper moon", "lower moon"]
        near = round(len(fake[member]) * (1 - part["off_manifold"].iloc[0]))
        assert part["count"].sum() == near
        below = part[part["count"] < part["low"]]
        np.testing.assert_allclose(part["missed"], below["expected"].sum() / len(fake[member]))
    assert render("density", [moons]).axes[0].get_ylim()[1] <= 4


def test_losses_are_those_of_the_records(runs):
    rows = data("loss", runs[:1])
    records = {record["step"]: record for record in lines(runs[0]) if "generator_loss" in record}
    assert len(rows) == len(records) * 4
    for _, row in rows.iterrows():
        member = runs[0].config.members.index((row["variant"], row["seed"]))
        for name in ("generator", "metric"):
            assert row[name] == records[row["step"]][f"{name}_loss"][member]


def test_curves_are_medians_and_quartiles_of_what_was_recorded(runs):
    rows = data("curves", runs[:1], quantity="coverage", axis="examples", step=25)
    records = [record for record in lines(runs[0]) if "scores" in record and record["step"] <= 20]
    part = rows[rows["series"] == "both"]
    assert part["x"].tolist() == [record["step"] * 16 for record in records]
    values = [[record["scores"][member]["coverage"] for member in (2, 3)] for record in records]
    for column, quantile in (("low", 0.25), ("median", 0.5), ("high", 0.75)):
        np.testing.assert_allclose(part[column], np.quantile(values, quantile, axis=1), rtol=1e-12)
    assert set(rows["seeds"]) == {2}
    assert set(data("curves", runs[:1])["quantity"]) == {"w2_ratio"}
    with pytest.raises(NoFigure, match="recorded less than twice"):
        data("curves", runs[:1], step=8)


def test_the_ablation_matrix_is_of_the_last_scores(runs):
    rows = data("ablation", runs)
    assert len(rows) == 2 * len(runs)
    for run in runs:
        for variant, title in (("centroid", "centroid only"), ("both", "both")):
            held = [s["w2_ratio"] for s in run.scores() if s["variant"] == variant]
            cell = rows[rows["what"] == f"{title}, batch {run.config.batch}"].iloc[0]
            found = [cell["median"], cell["low"], cell["high"], cell["n"]]
            np.testing.assert_allclose(found, [np.median(held), min(held), max(held), 2])


def test_branches_are_as_far_apart_as_their_fakes(runs, forked):
    rows = data("branches", [forked, runs[0]])
    assert set(rows["forked_at"]) == {20}
    assert (rows[rows["step"] <= 20]["distance"] == 0).all()
    real = load_file(runs[0].snapshot_path(0))["real"]
    unit = np.mean((real[:, None] - real[None]) ** 2 * 2) ** 0.5  # two coordinates
    last = rows[rows["step"] == STEPS].set_index(["variant", "seed"])["distance"]
    ours, theirs = (load_file(run.snapshot_path(STEPS))["fake"] for run in (runs[0], forked))
    for member, key in enumerate(runs[0].config.members):
        np.testing.assert_allclose(last[key], np.linalg.norm(ours - theirs, axis=-1)[member].mean() / unit, rtol=1e-4)
    assert last["centroid", 0] > 0


# -- the same again ----------------------------------------------------------------------------------------------------


def test_another_process_makes_the_same_bytes_and_sees_a_changed_run(own, tmp_path):
    out = tmp_path / "paper"
    export(["samples", "distances"], [own], out=out, formats=["pdf", "svg"], venue="cvpr")
    command = [sys.executable, str(out / "rebuild.py")]
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    files = {path.name for path in out.iterdir() if path.suffix in (".pdf", ".svg", ".csv", ".tex")}
    assert len(files) == 2 * 3 + 1
    assert again.stdout.count("the same bytes") == len(files)
    for name in files:
        assert (out / "rebuilt" / name).read_bytes() == (out / name).read_bytes()

    append_line(own.path / "scalars.jsonl", {"step": STEPS + 10, "d_c": [1] * 4, "d_g": [1] * 4, "d_H": [1] * 4})
    append_line(own.path / "scalars.jsonl", {"step": STEPS, "event": "resumed", "time": 0})
    said: list[str] = []
    assert rebuild(out, say=said.append) == 0, said  # the run went on, and what it held at the step is the same
    own.snapshot_path(STEPS).write_bytes(own.snapshot_path(0).read_bytes())
    said.clear()
    assert rebuild(out, say=said.append) == 2
    assert (
        f"samples: the run has changed since: own/snapshots/{STEPS:08d}.safetensors; nothing is rebuilt of it" in said
    )
    assert "rebuilt/distances.pdf: the same bytes" in said


def test_each_figure_is_rebuilt_from_its_recipe_in_the_same_bytes(cases, tmp_path):
    for name in ("eigenvalues", "scores", "loss", "sheet", "nearest", "walk", "factors", "ablation", "branches"):
        export([name], cases[name], out=tmp_path, formats=["png"], dpi=36)
    export(["curves"], cases["curves"], out=tmp_path, formats=["png"], dpi=36, quantity="recall", axis="share")
    said: list[str] = []
    assert rebuild(tmp_path, say=said.append) == 0, said
    assert len(said) == 10 * 2 + 6


def test_replaced_texts_stay_in_the_recipe(cli, runs, tmp_path):
    words = ["--text", "both=ours, with a name that is far too long for one line of a narrow column of this paper"]
    words += ["--text", "training step=step $t$"]
    asked = [
        "export",
        str(runs[0].path),
        "--figure",
        "curves",
        "--venue",
        "cvpr",
        "--format",
        "svg",
        "--quantity",
        "d_c",
    ]
    done = cli(*asked, "--out", str(tmp_path / "paper"), *words)
    assert (done.status, done.err) == (0, "")
    drawn = (tmp_path / "paper" / "curves.svg").read_text()
    assert "ours, with a name" in drawn
    assert ">both<" not in drawn
    assert re.search(r"^    ours, with a name [^&]* & ", (tmp_path / "paper" / "curves.tex").read_text(), re.MULTILINE)
    assert not re.search(r"^    both & ", (tmp_path / "paper" / "curves.tex").read_text(), re.MULTILINE)
    assert rebuild(tmp_path / "paper", say=lambda line: None) == 0
    for bad, says in (
        ("both", "--text: give OLD=NEW, such as 'both=ours', got 'both'"),
        ("all=ours", "text: there is no 'all' to replace; the texts are: 'training step', "),
        ("both=$x", "text: '$x' for 'both' has a formula without an end; a dollar sign is \\$"),
        (r"both=$\nothing$", "has a formula that cannot be read"),
    ):
        done = cli(*asked, "--out", str(tmp_path / "none"), "--text", bad)
        assert done.status == 2
        assert says in done.err


def test_a_moved_run_is_named(own, tmp_path):
    export(["samples"], [own], out=tmp_path / "paper")
    moved = tmp_path / "elsewhere" / "own"
    moved.parent.mkdir()
    own.path.rename(moved)
    said: list[str] = []
    assert rebuild(tmp_path / "paper", say=said.append) == 2
    assert len(said) == 1
    assert "name its folder: python rebuild.py own" in said[0]
    said.clear()
    assert rebuild(tmp_path / "paper", [str(moved)], say=said.append) == 0, said
    renamed = moved.rename(moved.with_name("another"))
    assert rebuild(tmp_path / "paper", [str(renamed)], say=said.append) == 0, said
    (tmp_path / "paper" / "samples.recipe.json").write_text("{")
    assert rebuild(tmp_path / "paper", say=said.append) == 2
    assert rebuild(tmp_path, say=said.append) == 2
    assert "no recipe" in said[-1]


def test_of_several_figures_those_that_cannot_be_are_named_and_the_others_made(cli, runs, tmp_path):
    step = runs[0].snapshot_steps()[-1]
    done = cli(
        "export", str(runs[0].path), "--out", str(tmp_path), "--figure", "samples", "sheet", "--step", str(step + 1000)
    )
    assert (done.status, done.err) == (2, "mvm: figure: these runs do not give sheet; the others are made\n")
    assert f"{runs[0].name} is shown at step {step:,}: it has nothing of step {step + 1000:,}" in done.out
    assert "skipped sheet: " in done.out
    assert (tmp_path / "samples.pdf").exists()


def test_a_zip_has_it_all_and_the_same_bytes_twice(cli, runs, tmp_path):
    first, second = tmp_path / "a.zip", tmp_path / "deep" / "b.zip"
    names = [str(run.path) for run in runs]
    for out in (first, second):
        done = cli("export", *names, "--out", str(out), "--figure", "samples", "batch")
        assert (done.status, done.err) == (0, "")
    assert first.read_bytes() == second.read_bytes()
    done = cli("export", *names, "--out", str(first), "--format", "png", "--dpi", "36")
    skipped = {"sheet", "nearest", "walk", "factors", "branches", "similarity", "upscaled", "settings", "density"}
    skipped |= {"likelihood"}
    assert {line.split()[1].rstrip(":") for line in done.out.splitlines() if "skipped" in line} == skipped
    assert "skipped branches: give two runs, one of them a fork of the other" in done.out
    assert "skipped sheet: batch16 is on points; give a run on pictures" in done.out
    with zipfile.ZipFile(first) as archive:
        kinds = ("png", "csv", "tex", "recipe.json")
        wanted = {f"{name}.{kind}" for name in set(FIGURES) - skipped for kind in kinds} | {"rebuild.py"}
        assert set(archive.namelist()) == wanted - {f"{name}.tex" for name in NO_TABLE}
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        recipe = json.loads(archive.read("batch.recipe.json"))
    assert [entry["config"]["batch"] for entry in recipe["runs"]] == [16, 32]
    assert list(tmp_path.glob(".*")) == []


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_writes_one_file_with_what_belongs_to_it(cli, runs, tmp_path):
    out = tmp_path / "fig7.svg"
    done = cli("export", str(runs[0].path), "--figure", "distances", "--venue", "cvpr", "--out", str(out))
    assert (done.status, done.err) == (0, "")
    names = {"fig7.svg", "fig7.csv", "fig7.tex", "fig7.recipe.json", "rebuild.py"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == names
    assert rebuild(tmp_path, say=lambda line: None) == 0


BAD = {
    "a figure": (
        ["--figure", "violin"],
        f"figure: unknown 'violin'; known: {', '.join([*FIGURES, *MOVING])}, all, sweep",
    ),
    "a venue": (["--venue", "vogue"], "venue: unknown 'vogue'; known: neurips, icml, iclr, cvpr, eccv, tmlr"),
    "a format": (["--format", "gif"], "format: unknown 'gif'; known: pdf, svg, png"),
    "dots": (["--dpi", "0"], "dpi: from 36 to 2400, got 0"),
    "a seed": (["--seed", "7"], "seed: no run has seed 7; known: 0, 1"),
    "a step": (["--step", "-1"], "run: batch16 has no snapshot up to step -1 yet; train it first"),
    "a form": (["--form", "fancy"], "form: unknown 'fancy'; known: distance, mds"),
    "an axis": (["--axis", "tilt"], "axis: unknown 'tilt'; known: step, share, seconds, examples"),
    "a rank": (["--rank", "11"], "rank: must be from 1 to 10, got 11"),
    "no fork": (["--figure", "branches"], "branches: give two runs, one of them a fork of the other"),
    "one batch": (["--figure", "batch"], "batch: all runs have batch 16; give runs of several batch sizes"),
    "an ending": (
        ["--out", "x.docx"],
        "out: x.docx must end in .zip, .pdf, .svg, .png, .mp4, .webm, .gif, .html, or be a folder",
    ),
    "one file for all": (["--out", "x.pdf"], "out: x.pdf takes one figure; give a folder or FILE.zip for all"),
    "two endings": (
        ["--figure", "samples", "--out", "x.pdf", "--format", "svg"],
        "out: x.pdf is no svg; leave --format out",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_use_gets_one_line(what, cli, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[what]
    done = cli("export", str(runs[0].path), "--out", str(tmp_path / "figures"), *arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err == f"mvm: {message}\n"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_quantity_gets_the_recorded_ones(cli, runs, tmp_path):
    done = cli("export", str(runs[0].path), "--figure", "curves", "--quantity", "joy", "--out", str(tmp_path / "x.pdf"))
    assert done.status == 2
    said = re.fullmatch("mvm: quantity: none of these runs records 'joy'; known: (.*)\n", done.err)
    assert said[1].split(", ") == list(quantities(runs[:1]))
    assert said[1].startswith("d_c, d_g, d_H, w2, ")


def test_an_untrained_run_and_a_damaged_snapshot_get_one_line(make, own, cli, tmp_path):
    make("fresh")
    done = cli("export", "fresh", "--out", str(tmp_path / "figures"))
    assert (done.status, done.err) == (2, "mvm: run: fresh has no snapshot yet; train it first\n")
    own.snapshot_path(STEPS).write_bytes(b"nonsense")
    done = cli("export", str(own.path), "--figure", "samples", "--out", str(tmp_path / "figures"))
    assert done.status == 2
    assert done.err == f"mvm: run: own's {STEPS:08d}.safetensors is damaged; choose another --step\n"


def test_a_missing_frame_is_made_once_or_named(own, monkeypatch):
    frame_path(own.path, STEPS).unlink()
    with pytest.raises(NoFigure, match="own has no UMAP frame of step 40 yet"):
        render("samples", [own], project=False)
    calls = []

    def flat(embeddings: np.ndarray, *, previous: np.ndarray | None = None) -> np.ndarray:
        calls.append(len(embeddings))
        return embeddings[:, :2].astype(np.float32)

    monkeypatch.setattr("mvm.runs.frames.project", flat)
    render("samples", [own])
    assert calls == [32] * 4
    render("samples", [own])
    assert len(calls) == 4


def test_a_diverged_generator_is_drawn_as_what_it_is(own):
    """Its points and its UMAP are no numbers; the other variant's are still shown."""
    held = load_file(own.snapshot_path(STEPS))
    held["fake"][:2] = np.nan
    save_file(held, own.snapshot_path(STEPS))
    frame = np.load(frame_path(own.path, STEPS))
    frame[:2] = np.nan
    np.save(frame_path(own.path, STEPS), frame)
    figure = render("samples", [own], venue="icml")
    assert "100 % outside" in {text.get_text() for axes in figure.axes for text in axes.texts}
    assert encoded(figure, "pdf", venue="icml").startswith(b"%PDF")


def test_the_help_of_export_names_every_figure(cli):
    assert {*FIGURES} <= {*re.findall(r"[a-z]+", cli("export", "--help").out)}


def test_errors_of_the_library_are_those_of_the_command(runs):
    with pytest.raises(ConfigError, match="venue"):
        render("samples", runs[:1], venue="vogue")
    with pytest.raises(ConfigError, match="figure"):
        data("violin", runs)
    with pytest.raises(RunError, match="no snapshot"):
        data("spectrum", runs[:1], step=-1)
