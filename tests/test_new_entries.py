"""A new method, of three players, and a new kind of data: some classes, and one line in a registry.

They stand in `new_entries`. Its process runs the commands as a user would.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

SMALL = ("--steps", "200", "--batch", "16", "--seeds", "0", "5", "--points", "400", "--view-points", "16")
SMALL += ("--network.width", "8", "--network.depth", "2", "--device", "cpu", "--checkpoints", "10")


class Result(NamedTuple):
    """Exit status of a command, and what it printed."""

    status: int
    out: str
    err: str


Call = Callable[..., Any]
Mvm = Callable[..., Result]


# -- in the process of the new entries ---------------------------------------------------------------------------------


def begin(folder: Path) -> None:
    """Fill the registries, then import everything that is made from them."""
    assert "mvm.config" not in sys.modules, "this module must not import it: its flags would lack the new entries"
    os.environ["MVM_CHECKPOINTS"] = str(folder)
    importlib.import_module("tests.new_entries")


def command(*arguments: str) -> Result:
    """Run `python -m mvm ARGUMENTS`."""
    from mvm.__main__ import main

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main(list(arguments))
        except SystemExit as leaving:
            status = leaving.code
    return Result(status, out.getvalue(), err.getvalue())


def break_off(like: str, name: str, step: int) -> None:
    """Train a new run with the settings of another one, and leave after this step as a killed trainer does."""
    from mvm.runs.recorder import train
    from mvm.runs.run import Run

    steps = train(Run.create(Run.named(like).config, name=name))
    while next(steps).number < step:
        pass
    steps.close()


def saved(name: str) -> dict[str, Any]:
    """What a run has on disk, and 5 fakes of its loaded generator."""
    import mvm
    from mvm.runs.run import Run

    run = Run.named(name)
    records = run.records.poll()
    return {
        "kind": run.config.kind,
        "events": [event.event for event in records.events],
        "records": [record for record in records.scalars if record["step"]],
        "quick_scores": records.scores,
        "snapshot": run.snapshot(run.config.steps),
        "checkpoint": {key: tensor.numpy() for key, tensor in run.checkpoint().items()},
        "scores": run.scores(),
        "real": run.real_view(),
        "loaded": mvm.load(run.path).sample(5, seed=3).numpy(),
    }


def answers(name: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets of n new inputs, and what a run's generator makes of these inputs."""
    import mvm
    from tests.new_entries import Waves

    fresh = Waves(n, seed=9)
    return fresh.train.numpy(), mvm.load(name).generator(fresh.inputs).numpy()


def lines_of_entries() -> dict[str, int]:
    """Lines of code of the method and of the kind, without blank ones."""
    from tests import new_entries

    def lines(name: str) -> int:
        return sum(1 for line in inspect.getsource(getattr(new_entries, name)).splitlines() if line.strip())

    parts = {"method": ("AAESettings", "AAE"), "kind": ("Waves", "Spread", "Sequences")}
    return {what: sum(map(lines, names)) for what, names in parts.items()}


# -- in this process ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """Call a function in the process of the new entries."""
    folder = tmp_path_factory.mktemp("runs")
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=begin, initargs=(folder,)) as process:
        yield lambda function, *arguments: process.submit(function, *arguments).result()


@pytest.fixture(scope="module")
def mvm(there: Call) -> Mvm:
    """Run a command that succeeds."""

    def run(*arguments: str) -> Result:
        done = there(command, *arguments)
        assert done.status == 0, done.err
        return done

    return run


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A person's own CSV: without ground truth, so that scores cost little."""
    from trainers import write_cloud

    return str(write_cloud(tmp_path_factory.mktemp("data") / "ring.csv"))


@pytest.fixture(scope="module")
def autoencoder(there: Call, mvm: Mvm, ring: str) -> dict[str, Any]:
    """A trained run of the method with three players."""
    mvm("train", "--data", ring, "--method", "aae", "--aae.prior", "0.2", *SMALL, "--name", "whole")
    return there(saved, "whole")


def falls(records: list[dict[str, Any]], term: str) -> bool:
    """Whether every member's term at the end is less than half of what it was at the beginning, in means of 5."""
    values = np.array([record[term] for record in records])
    return bool((values[-5:].mean(0) < values[:5].mean(0) / 2).all())


def test_each_is_under_40_lines(there: Call) -> None:
    assert "tests.new_entries" not in sys.modules, "the registries of this process stay as they are"
    lines = there(lines_of_entries)
    assert all(0 < count < 40 for count in lines.values()), lines


def test_a_method_with_three_players_trains(autoencoder: dict[str, Any]) -> None:
    records, tensors = autoencoder["records"], autoencoder["checkpoint"]
    assert {key for key in records[-1] if key.endswith("_loss")} == {"encoder_loss", "decoder_loss", "critic_loss"}
    for term in ("reconstruction", "decoder_loss"):
        assert len(records[0][term]) == 2, "one value for each seed"
        assert falls(records, term)
    for player in ("encoder", "decoder", "critic"):
        assert tensors[f"{player}.updates"] == 200
        assert tensors[f"{player}.weights.0.exp_avg_sq"].any()
    layers = {f"{part}.{layer}" for part in ("weights", "biases") for layer in range(3)}
    averages = {key for key in tensors if key.startswith("average.")}
    assert averages == {f"average.decoder.{layer}" for layer in layers}, "of the player that is averaged alone"


def test_a_method_without_a_metric_shows_the_points_themselves(autoencoder: dict[str, Any]) -> None:
    """Its embeddings are the standardised points: those in own units, each column moved and scaled."""
    for side in ("real", "fake"):
        embedded, own = autoencoder["snapshot"][f"{side}_embedding"], autoencoder["snapshot"][side]
        assert embedded.shape == (2, 16, 2)
        for column in range(2):
            x, y = (points[..., column].ravel() for points in np.broadcast_arrays(embedded, own))
            assert np.corrcoef(x, y)[0, 1] == pytest.approx(1)


def test_its_training_resumes_exactly(there: Call, mvm: Mvm, autoencoder: dict[str, Any]) -> None:
    there(break_off, "whole", "broken", 130)
    mvm("resume", "broken")
    resumed = there(saved, "broken")
    assert resumed["events"][:2] == ["started", "resumed"]
    expected, found = autoencoder["checkpoint"], resumed["checkpoint"]
    assert expected.keys() == found.keys()
    assert [name for name in expected if not np.array_equal(expected[name], found[name])] == []


def test_it_is_scored_and_sampled(mvm: Mvm, autoencoder: dict[str, Any], tmp_path: Path) -> None:
    table = mvm("score", "whole", "-n", "16").out
    assert [line.split()[:2] for line in table.splitlines()[-2:]] == [["aae", "0"], ["aae", "5"]]
    assert [(row["variant"], row["seed"]) for row in autoencoder["scores"]] == [("aae", 0), ("aae", 5)]
    assert all(0 < row["w2_floor"] < row["w2"] for row in autoencoder["scores"])
    mvm("sample", "whole", "-n", "5", "--seed", "3", "--out", str(tmp_path / "made.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "made.npy"), autoencoder["loaded"])


def test_its_settings_are_flags_with_bounds(there: Call, mvm: Mvm) -> None:
    text = " ".join(mvm("train", "--help").out.split())
    assert "--aae.prior X weight of the encoder's loss against the critic of codes (0 to 10); default: 0.1" in text
    refused = there(command, "train", "--method", "aae", "--aae.prior", "11")
    assert (refused.status, refused.err) == (2, "mvm: aae.prior: must be at most 10 (got '11')\n")
    unknown = there(command, "train", "--method", "nope")
    assert (unknown.status, "'aae'" in unknown.err) == (2, True)


@pytest.mark.parametrize("method", ["mvm", "wgan_gp", "aae"])
def test_a_new_kind_of_data_is_trained_on(there: Call, mvm: Mvm, method: str, tmp_path: Path) -> None:
    refused = there(command, "train", "--data", "waves", "--method", "regression")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "regression has no networks for sequences" in refused.err

    variants = ("--variants", "both") if method == "mvm" else ()
    arguments = (*SMALL, *variants, "--steps", "20")
    done = mvm("train", "--data", "waves", "--method", method, *arguments, "--name", f"waves-{method}")
    assert "2 networks on waves" in done.out
    run = there(saved, f"waves-{method}")
    assert run["kind"] == "sequences"
    assert run["snapshot"]["real"].shape == run["real"].shape == (16, 8)
    assert run["snapshot"]["fake"].shape == (2, 16, 8)
    assert [record["step"] for record in run["quick_scores"]] == [10, 20]
    for row in run["scores"]:
        assert row["n"] == 2000
        assert 0 < row["spread_floor"] < row["spread"]
    scored = mvm("score", f"waves-{method}", "-n", "64").out
    assert "n = 64 sequences in each sample" in scored
    assert scored.splitlines()[-1].split()[0] == "spread"
    mvm("sample", f"waves-{method}", "-n", "5", "--seed", "3", "--out", str(tmp_path / "made.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "made.npy"), run["loaded"])
    assert run["loaded"].shape == (5, 8)


def test_a_method_learns_from_pairs(there: Call, mvm: Mvm) -> None:
    """Each input's own target is found, not just their law."""
    mvm("train", "--data", "paired_waves", "--method", "regression", *SMALL, "--name", "pairs")
    assert falls(there(saved, "pairs")["records"], "error")
    targets, made = there(answers, "pairs", 100)
    errors = np.linalg.norm(targets[:, None] - made, axis=-1)
    assert np.diag(errors).mean() < errors.mean() / 3
