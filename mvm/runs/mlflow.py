"""Finished runs into MLflow: one of its runs for each member of the variant axis.

    params      the config by dotted name, variant, seed
    metrics     what was recorded at each step; quick/… and final/… scores
    tags        run, method, device, variant, seed, fingerprint
    artifact    config.json

What has been exported is known by the fingerprint of the run's config and records, so that no second time makes a
duplicate; what a killed export has left is made anew. MLflow is optional: `pip install mlflow-skinny`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mvm.config import Config
from mvm.errors import ConfigError, RunError
from mvm.runs import layout
from mvm.runs.events import times, training_device
from mvm.runs.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["EXPERIMENT", "Exported", "export"]

EXPERIMENT = "mvm"
ENDED = ("finished", "diverged")
METRICS_AT_ONCE, PARAMS_AT_ONCE, LONGEST_PARAM = 1000, 100, 6000  # limits of MLflow
SETTINGS = {  # before it is imported
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is not there is reported within seconds
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a folder that was asked for by --uri is meant
}


@dataclass(frozen=True)
class Exported:
    """Members by run name.

    Attributes:
        made: how many were exported.
        known: how many were there already.
    """

    made: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)


def export(
    runs: list[Run],
    *,
    uri: str | None = None,
    experiment: str = EXPERIMENT,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write runs into an MLflow store.

    Args:
        runs: which; all must have ended.
        uri: of the store, such as http://localhost:5000 or file:FOLDER; MLflow's own choice when None.
        experiment: name of the MLflow experiment, made if need be.
        on_progress: called with the members done and in all.

    Raises:
        ConfigError: MLflow is not installed, or its store cannot be used.
        RunError: a run has not ended.
    """
    for run in runs:
        if (state := run.status().state) not in ENDED:
            raise RunError(f"run: {run.name} is {state}; export it when it is finished")
    total, done, exported = sum(len(run.config.members) for run in runs), 0, Exported()
    with _client(uri) as client:
        found = client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else client.create_experiment(experiment)
        for run in runs:
            mark = _fingerprint(run)
            there = _there(client, place, mark)
            exported.made[run.name] = exported.known[run.name] = 0
            for member, named in enumerate(run.config.members):
                if named in there:
                    exported.known[run.name] += 1
                else:
                    _export_member(client, place, run, member, mark)
                    exported.made[run.name] += 1
                done += 1
                on_progress(done, total)
    return exported


@contextlib.contextmanager
def _client(uri: str | None) -> Iterator[MlflowClient]:
    """MLflow's client, whose errors become one line."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise ConfigError("mlflow: is not installed; `pip install mlflow-skinny`") from None
    try:
        yield MlflowClient(uri)
    except MlflowException as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        where = uri or os.environ.get("MLFLOW_TRACKING_URI", "the default store")
        raise ConfigError(f"mlflow: {where}: {reason}; give --uri http://HOST:PORT or file:FOLDER") from None


def _fingerprint(run: Run) -> str:
    """Of what was asked and what happened: the same after renaming, another one if it is trained again."""
    content = b"".join((run.path / name).read_bytes() for name in (layout.CONFIG, layout.RECORDS))
    return hashlib.sha256(content).hexdigest()[:32]


def _there(client: MlflowClient, place: str, mark: str) -> set[tuple[str, int]]:
    """(variant, seed) of the members that are exported already; halves are removed."""
    there = set()
    for found in client.search_runs([place], filter_string=f"tags.fingerprint = '{mark}'", max_results=10_000):
        if found.info.status == "FINISHED":
            there.add((found.data.tags["variant"], int(found.data.tags["seed"])))
        else:
            client.delete_run(found.info.run_id)
    return there


def _export_member(client: MlflowClient, place: str, run: Run, member: int, mark: str) -> None:
    from mlflow.entities import Metric, Param

    variant, seed = run.config.members[member]
    records = run.records.poll()
    clock = times(records.events)
    began, ended = (1000 * int(clock[0]), 1000 * int(clock[-1])) if clock else (0, 0)
    device = training_device(records.events) or "unknown"
    tags = {"run": run.name, "method": run.config.method, "device": device, "variant": variant, "seed": str(seed)}
    title = f"{run.name} {variant} seed {seed}"
    made = client.create_run(place, start_time=began, run_name=title, tags=tags | {"fingerprint": mark}).info.run_id
    params = [Param(name, value) for name, value in _params(run.config, variant, seed).items()]
    for at in range(0, len(params), PARAMS_AT_ONCE):
        client.log_batch(made, params=params[at : at + PARAMS_AT_ONCE])
    metrics = [
        Metric(name, value, began + int(1000 * seconds), step) for name, value, seconds, step in _metrics(run, member)
    ]
    for at in range(0, len(metrics), METRICS_AT_ONCE):
        client.log_batch(made, metrics=metrics[at : at + METRICS_AT_ONCE])
    client.log_artifact(made, str(run.path / layout.CONFIG))
    client.set_terminated(made, "FINISHED", end_time=ended)


def _params(config: Config, variant: str, seed: int) -> dict[str, str]:
    """The config by dotted name, without the settings of methods that it does not use."""
    settings = {name: _shown(value)[:LONGEST_PARAM] for name, value in config.flat(used=True).items()}
    return settings | {"variant": variant, "seed": str(seed)}


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _metrics(run: Run, member: int) -> Iterator[tuple[str, float, float, int]]:
    """(name, value, seconds of training, step) of all that is known of one member; what has no number is left out."""
    records, seconds = run.records.poll(), {}
    for record in records.scalars:
        seconds[record["step"]] = record["seconds"]
        for name, value in record.items():
            yield from _known(name, value[member] if isinstance(value, list) else value, record, seconds)
    for record in run.quick_scores:
        for name, value in record["scores"][member].items():
            yield from _known(f"quick/{name}", value, record, seconds)
    for name, value in ((run.scores() or [{}] * len(run.config.members))[member]).items():
        yield from _known(f"final/{name}", value, {"step": records.step}, seconds)


def _known(
    name: str, value: Any, record: dict[str, Any], seconds: dict[int, float]
) -> Iterator[tuple[str, float, float, int]]:
    if name not in SKIPPED and isinstance(value, int | float):
        yield name, float(value), seconds.get(record["step"], 0.0), record["step"]


SKIPPED = ("step", "final/seed", "final/step", "final/n")
