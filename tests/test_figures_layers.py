"""The Lab's layers as figures: their numbers against a naive computation, and one line where there are none."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from test_figures import STEPS, table, trained

from mvm.figures import FIGURES, NoFigure, data, latex, render
from mvm.figures.export import bundle, encoded, export, rebuild
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.geometry.neighbourhoods import continuity, trustworthiness
from mvm.geometry.pullback import log_volume, pull_back
from mvm.geometry.spectrum import eigenpairs
from mvm.look.scales import limits
from mvm.runs.layout import frame_path
from mvm.runs.run import Run
from mvm.studies.model_density import SHARES, level_curves, levels
from mvm.training.experiment import Experiment

LAYERS = [name for name, definition in FIGURES.items() if definition.draw.__module__ == "mvm.figures.layers"]
LAYERS.remove("likelihood")  # of other methods


@pytest.fixture(scope="module")
def ring(tmp_path_factory) -> Run:
    """Two variants by two seeds, of a person's own points."""
    return trained(tmp_path_factory.mktemp("layers"), "ring", seeds=(0, 1))


@pytest.fixture(scope="module")
def roll(tmp_path_factory) -> Run:
    """Of points in space."""
    folder = tmp_path_factory.mktemp("layers")
    np.savetxt(folder / "cloud.csv", np.random.default_rng(0).normal(size=(120, 3)) * [9, 4, 1], delimiter=",")
    return trained(folder, "roll")


@pytest.fixture
def own(ring, tmp_path) -> Run:
    """A copy to spoil."""
    return Run(Path(shutil.copytree(ring.path, tmp_path / "own")))


def experiment_of(run: Run, step: int) -> Experiment:
    """The training as it was, read by what resumes it and by nothing of the learned metric."""
    experiment = Experiment(run.config, run.data)
    experiment.load(run.checkpoint() if step == STEPS else run.checkpoint(step=step))
    return experiment


def embedding(run: Run, variant: str, seed: int, points: torch.Tensor, step: int = STEPS) -> torch.Tensor:
    """g_w of points in own units, differentiable."""
    experiment, member = experiment_of(run, step), run.config.members.index((variant, seed))
    x = (points - run.data.mean) / run.data.scale
    stacked = x[None].expand(len(run.config.members), *x.shape)
    return experiment.method.embed(stacked)[member]


@pytest.mark.parametrize("which", ["ring", "roll"])
def test_forces_are_the_gaps_negative_slopes_in_training_units(which, request):
    run = request.getfixturevalue(which)
    rows = data("forces", [run])
    held, dims = load_file(run.snapshot_path(STEPS)), run.data.dim
    for member, (variant, seed) in enumerate(run.config.members):
        if seed:
            continue
        real, fake = torch.from_numpy(held["real"]), torch.from_numpy(held["fake"][member]).requires_grad_()
        part = rows[(rows["variant"] == variant) & (rows["kind"] == "force")]
        assert part["term"].unique().tolist() == descriptors_of(variant)
        for term in descriptors_of(variant):
            gap = DESCRIPTORS[term].gap(embedding(run, variant, seed, real), embedding(run, variant, seed, fake))
            (slope,) = torch.autograd.grad(gap, fake)
            wanted = -slope * run.data.scale**2  # once for the chain rule, once for the step itself
            found = part.loc[part["term"] == term, [f"d{axis + 1}" for axis in range(dims)]].to_numpy()
            np.testing.assert_allclose(found, wanted[: len(found)], rtol=1e-3, atol=1e-6 * wanted.abs().max())
            assert len(found) == min(128, len(fake))


def test_arrows_are_as_long_as_the_legend_says(ring):
    figure, rows = render("forces", [ring]), data("forces", [ring])
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    for term, part in rows.groupby("term"):
        (factor,) = part["factor"].unique()
        assert f"{DESCRIPTORS[term].title.lower()} × {factor:.0f}" in said
    part = rows[(rows["variant"] == "centroid") & (rows["kind"] == "force")]
    (arrows,) = [found for found in figure.axes[0].collections if hasattr(found, "U")]
    np.testing.assert_allclose(arrows.U, part["d1"] * part["factor"], rtol=1e-6)
    np.testing.assert_allclose(arrows.V, part["d2"] * part["factor"], rtol=1e-6)


def test_the_field_is_the_pull_back_on_a_grid_and_ellipses_are_its_steps(ring):
    rows = table(bundle(["metric"], [ring], formats=["svg"], seed=1).files["metric.csv"])
    for variant in ("centroid", "both"):
        for kind, count in (("field", 64**2), ("ellipse", 9**2)):
            part = [row for row in rows if (row["variant"], row["kind"]) == (variant, kind)]
            assert len(part) == count
            places = torch.tensor([[float(row["x1"]), float(row["x2"])] for row in part])
            metric = pull_back(places, lambda x, variant=variant: embedding(ring, variant, 1, x))
            volume = [float(row["log_volume"]) for row in part]
            np.testing.assert_allclose(volume, log_volume(metric), atol=2e-3)
        spacing = places[1, 0] - places[0, 0]
        for row, own in zip(part, metric.numpy(), strict=True):
            for name in "ab":  # a step along either half-axis has the length that is said, unless it is cut
                axis = np.array([float(row[f"{name}1"]), float(row[f"{name}2"])])
                length = np.sqrt(axis @ own @ axis)
                if np.linalg.norm(axis) < 0.479 * spacing:
                    np.testing.assert_allclose(length, float(row["step_length"]), rtol=5e-3)
                else:
                    assert length <= float(row["step_length"]) * 1.005


@pytest.mark.parametrize("rank", [2, 5])
def test_a_mode_is_an_eigenvector_of_the_reals(ring, rank):
    rows, held = data("modes", [ring], seed=1, rank=rank), load_file(ring.snapshot_path(STEPS))
    for variant, member in (("centroid", 1), ("both", 3)):
        pairs = eigenpairs(torch.from_numpy(held["real_embedding"][member]), k=rank)
        part = rows[rows["variant"] == variant]
        np.testing.assert_allclose(part["eigenvalue"], pairs.values[rank - 1], rtol=1e-5)
        entries = part.loc[part["kind"] == "real", "entry"].to_numpy()
        np.testing.assert_allclose(entries, pairs.vectors[:, rank - 1] * len(entries) ** 0.5, atol=1e-4)
        np.testing.assert_allclose((entries**2).mean(), 1, rtol=1e-4)
    titles = [axes.get_title() for axes in render("modes", [ring], rank=rank).axes]
    assert any(rf"$\lambda_{{{rank}}}=" in title for title in titles)


def test_trust_is_that_of_the_frame(ring):
    rows, held = data("honesty", [ring]), load_file(ring.snapshot_path(STEPS))
    frame = torch.from_numpy(np.load(frame_path(ring.path, STEPS)))
    for variant, member in (("centroid", 0), ("both", 2)):
        points = torch.from_numpy(np.concatenate([held[f"{kind}_embedding"][member] for kind in ("real", "fake")]))
        part = rows[rows["variant"] == variant]
        for name, score in (("trustworthiness", trustworthiness), ("continuity", continuity)):
            wanted = score(points, frame[member], k=15)
            np.testing.assert_allclose(part[name], wanted)
            assert f"{wanted.mean():.3f}" in latex("honesty", [ring])
    titles = [axes.get_title() for axes in render("honesty", [ring]).axes]
    assert f"both\nmean {part['trustworthiness'].mean():.3f}" in titles


@pytest.mark.parametrize("dim", [2, 3])
def test_a_density_is_that_of_the_training_at_the_points_and_on_a_grid(dim, tmp_path):
    points = np.random.default_rng(0).normal(size=(120, dim)) * [4, 1, 9][:dim] + 5
    np.savetxt(tmp_path / "cloud.csv", points, delimiter=",")
    run = trained(tmp_path, "flow", method="normalizing_flow", variants=("normalizing_flow",), seeds=(0, 1))
    made = bundle(["likelihood"], [run], formats=["svg"], seed=1).files
    rows, snapshot = table(made["likelihood.csv"]), run.snapshot(STEPS)
    assert "log density (nats)" in made["likelihood.svg"].decode()
    assert ("% of samples" in made["likelihood.svg"].decode()) == (dim == 2)
    experiment = experiment_of(run, STEPS)
    held = {"real": snapshot["real"], "fake": snapshot["fake"][1]}
    x0, x1 = held["real"].min(0), held["real"].max(0)
    reach = 1.35 * (x1 - x0).max() / 2
    for kind in ("real", "fake", "field"):
        part = [row for row in rows if row["kind"] == kind]
        at = np.array([[float(row[f"x{d}"]) for d in range(1, dim + 1)] for row in part])
        if kind == "field":
            np.testing.assert_allclose([at.min(0), at.max(0)], [(x0 + x1) / 2 + s * reach * 95 / 96 for s in (-1, 1)])
        else:
            np.testing.assert_allclose(at, held[kind], rtol=1e-6)
        x = (torch.from_numpy(at).float() - run.data.mean) / run.data.scale
        wanted = experiment.log_density(x)[1]
        np.testing.assert_allclose([float(row["log_density"]) for row in part], wanted, rtol=1e-3, atol=1e-3)
        if dim == 3 and kind == "fake":
            break


def test_level_curves_hold_their_shares_of_the_fakes(tmp_path):
    """Of a Gaussian, the curve of share s is the circle of radius √(−2 ln(1 − s)), here by a million points."""
    radius = np.random.default_rng(0).rayleigh(size=1_000_000)
    at = levels(-(radius**2) / 2)
    np.testing.assert_allclose(at, np.sort(np.log(1 - np.array(SHARES))), atol=0.02)
    x = np.linspace(-4, 4, 201)[:-1] + 0.02
    values = -(x[None] ** 2 + x[::-1, None] ** 2) / 2
    for line, level in zip(level_curves(values, ((-4, 4), (-4, 4)), at), at, strict=True):
        np.testing.assert_allclose(np.linalg.norm(line, axis=1), (-2 * level) ** 0.5, atol=2e-3)


def test_an_earlier_metric_is_taken_and_said(own):
    own.kept_path(30).unlink()
    rows = data("metric", [own], step=30)
    assert set(rows["step"]) == {30}
    assert set(rows["metric_step"]) == {20} == {own.kept_step(30)}
    assert "metric of step 20" in render("metric", [own], step=30).axes[0].get_xlabel()


def test_what_a_figure_cannot_show_is_one_line(own, roll):
    with pytest.raises(NoFigure, match="metric: roll's points have 3 dimensions"):
        data("metric", [roll])
    flow = own.path / "config.json"
    values = own.config.model_copy(update={"method": "flow_matching", "variants": ("flow_matching",)})
    before = flow.read_text()
    flow.write_text(values.model_dump_json())
    with pytest.raises(NoFigure, match=r"metric: own is of .*, which learns no metric"):
        data("metric", [Run(own.path)])
    with pytest.raises(NoFigure, match=r"forces: own is of .*, which matches no descriptors"):
        data("forces", [Run(own.path)])
    flow.write_text(before)
    with pytest.raises(NoFigure, match=r"likelihood: own is of .*, which has no density"):
        data("likelihood", [own])
    frame_path(own.path, STEPS).unlink()
    for name in ("modes", "honesty"):
        with pytest.raises(NoFigure, match=f"{name}: own has no UMAP frame of step 40 yet"):
            data(name, [own], project=False)
    for damage, words in ((lambda path: path.write_bytes(b"?"), "is damaged"), (Path.unlink, "has no checkpoint yet")):
        for path in (*(own.kept_path(step) for step in own.checkpoint_steps()), own.path / "checkpoint.safetensors"):
            damage(path)
        with pytest.raises(NoFigure, match=rf"forces: own.*{words}") as said:
            data("forces", [own])
        assert "\n" not in str(said.value)


def test_points_that_are_gone_are_one_line(own):
    (own.path / "data.npy").unlink()
    values = own.config.model_copy(update={"data": str(own.path / "gone.csv")})
    (own.path / "config.json").write_text(values.model_dump_json())
    with pytest.raises(NoFigure, match=r"metric: data: no file .*gone\.csv"):
        data("metric", [Run(own.path)])


def test_a_diverged_generator_leaves_its_panel_without_values(own):
    held = load_file(own.snapshot_path(STEPS))
    for name in ("fake", "fake_embedding", "real_embedding"):
        held[name][:2] = np.nan
    save_file(held, own.snapshot_path(STEPS))
    for name in LAYERS:
        assert encoded(render(name, [own], venue="icml"), "png", venue="icml", dpi=36)


def test_they_are_rebuilt_in_the_same_bytes_and_see_another_checkpoint(own, tmp_path):
    out, said = tmp_path / "paper", []
    export(LAYERS, [own], out=out, formats=["png"], dpi=36)
    assert rebuild(out, say=said.append) == 0, said
    assert len(said) == 2 * len(LAYERS) + 1
    kept = own.kept_path(STEPS)
    path = kept if kept.exists() else own.path / "checkpoint.safetensors"
    save_file(load_file(path), path, {"touched": "yes"})
    said.clear()
    assert rebuild(out, say=said.append) == 2
    assert sum("the run has changed since" in line and "checkpoint" in line for line in said) == 2


def test_limits_leave_out_the_ends():
    assert limits([np.arange(101.0), np.array([np.nan, np.inf])], cut=0.1) == (10.0, 90.0)
    assert limits([np.array([-4.0, 1.0])], symmetric=True, cut=0) == (-4.0, 4.0)
    assert limits([np.ones(3)]) == (0.5, 1.5)
