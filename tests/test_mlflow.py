"""Finished runs in MLflow: what arrives there is what the run has on disk, once."""

import sys

import pytest

from mvm.files import append_line


@pytest.fixture
def store(tmp_path):
    """A store in a folder, and its address."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is optional")
    return lambda: mlflow.MlflowClient(f"file:{tmp_path / 'store'}"), f"file:{tmp_path / 'store'}"


def exported(client, name="mvm"):
    found = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return {(run.data.tags["variant"], int(run.data.tags["seed"])): run for run in found}


def test_what_arrives_is_what_the_run_has(cli, make, store):
    client, uri = store
    run = make("a", steps=40, seeds=(0, 7), device="cpu")
    assert cli("train", "--run", str(run.path)).status == 0
    result = cli("mlflow", "a", "--uri", uri)
    assert (result.status, result.err) == (0, "")
    assert result.out == "a: 4 of 4 networks, in experiment mvm\n"
    there = exported(client())
    assert set(there) == set(run.config.members)
    records = run.records.poll()
    for member, named in enumerate(run.config.members):
        got = there[named]
        assert got.info.status == "FINISHED"
        assert {"run": "a", "method": "mvm", "device": "CPU"}.items() <= got.data.tags.items()
        expected = {"variant": named[0], "seed": str(named[1]), "network.width": "8", "batch": "16", "seeds": "0 7"}
        assert expected.items() <= got.data.params.items()
        assert not [name for name in got.data.params if name.startswith("wgan")]
        for key in ("d_c", "d_g", "d_H", "generator_loss", "metric_loss"):
            points = sorted(client().get_metric_history(got.info.run_id, key), key=lambda point: point.step)
            kept = [record for record in records.scalars if key in record]
            assert len(kept) >= 4
            assert [(point.step, point.value) for point in points] == [(r["step"], r[key][member]) for r in kept]
            elapsed = [int(1000 * record["seconds"]) for record in kept]
            assert [point.timestamp - points[0].timestamp for point in points] == [ms - elapsed[0] for ms in elapsed]
        quick = client().get_metric_history(got.info.run_id, "quick/w2")
        assert {point.step: point.value for point in quick} == {
            record["step"]: record["scores"][member]["w2"] for record in records.scores
        }
        final = {name[6:]: value for name, value in got.data.metrics.items() if name.startswith("final/")}
        scores = run.scores()[member]
        unscored = ("variant", "seed", "step", "n", "coordinates")
        assert final == {name: value for name, value in scores.items() if value is not None and name not in unscored}
        assert {"w2", "w2_floor", "recall"} <= set(final)
        assert [file.path for file in client().list_artifacts(got.info.run_id)] == ["config.json"]


def test_a_second_time_makes_no_duplicate_and_a_half_is_made_anew(cli, make, store):
    client, uri = store
    run = make("a", steps=10)
    assert cli("train", "--run", str(run.path)).status == 0
    cli("mlflow", "a", "--uri", uri, "--experiment", "mine")
    first = {named: got.info.run_id for named, got in exported(client(), "mine").items()}
    run.path.rename(run.path.with_name("b"))
    assert cli("mlflow", "b", "--uri", uri, "--experiment", "mine").out == (
        "b: 2 of 2 networks there already, in experiment mine\n"
    )
    assert {named: got.info.run_id for named, got in exported(client(), "mine").items()} == first
    client().update_run(first["both", 0], "RUNNING")  # as a killed export leaves it
    assert "b: 1 of 2 networks, 1 there already" in cli("mlflow", "b", "--uri", uri, "--experiment", "mine").out
    again = {named: got.info.run_id for named, got in exported(client(), "mine").items()}
    assert again["centroid", 0] == first["centroid", 0]
    assert again["both", 0] != first["both", 0]


def test_a_store_that_is_not_there_is_one_line(cli, make, store):
    run = make("a", steps=10)
    append_line(run.path / "scalars.jsonl", {"step": 10, "event": "finished", "time": 1.0})
    result = cli("mlflow", "a", "--uri", "nonsense://x")
    assert result.status == 2
    assert result.err.startswith("mvm: mlflow: nonsense://x: ")
    assert result.err.count("\n") == 1
    assert "give --uri" in result.err


def test_without_mlflow_it_says_what_to_install(cli, make, monkeypatch):
    run = make("a", steps=10)
    append_line(run.path / "scalars.jsonl", {"step": 10, "event": "finished", "time": 1.0})
    monkeypatch.setitem(sys.modules, "mlflow", None)
    result = cli("mlflow", "a")
    assert (result.status, result.err) == (2, "mvm: mlflow: is not installed; `pip install mlflow-skinny`\n")


def test_a_run_that_has_not_ended_is_refused(cli, make):
    make("a")
    assert cli("mlflow", "a").err == "mvm: run: a is new; export it when it is finished\n"
