"""What the files of one run say, as the columns that the list of all runs keeps: `mvm.studies.index`."""

from __future__ import annotations

from typing import Any

from mvm.runs import layout
from mvm.runs.events import describe_lost_members, last_state_event, reason_of, times, training_device
from mvm.runs.history import Scores
from mvm.runs.records import last_records
from mvm.runs.run import Run
from mvm.studies.compare import beside, best_variant, data_title, quality
from mvm.studies.labels import own_title

__all__ = ["row_of"]


def row_of(run: Run) -> tuple[dict[str, Any], bool]:
    """The columns of a run by its files, and whether they hold until a file changes.

    Whether its trainer is alive is not among them. A file that could not be read at this moment may be readable at the
    next one, without a trace in its size and time.
    """
    config, records = run.config, last_records(run.path / layout.RECORDS, run.config.members)
    event = last_state_event(records.events)
    final = run.scores()
    made, note, run.records = run.origin, run.note, records
    scores = final or (run.quick_scores[-1]["scores"] if run.quick_scores else None)
    last = records.scalars[-1] if records.scalars else {"step": 0, "seconds": 0.0}
    row = {
        "step": records.step,
        "steps": config.steps,
        "data": config.data,
        "title": data_title(config.data),
        "method": config.method,
        "recipe": config.recipe,
        "variants": list(config.variants),
        "titles": [own_title(config, variant) for variant in config.variants],
        "seeds": list(config.seeds),
        "batch": config.batch,
        "kind": config.kind,
        "created": min(times(records.events), default=(run.path / layout.CONFIG).stat().st_mtime),
        "seconds": last["seconds"],
        "seconds_step": last["step"],
        "device": training_device(records.events),
        "note": note,
        "fork_of": made.place if made else None,
        "final": final is not None,
        "event": event.record() if event else None,
        "reason": reason_of(event),
        "lost": describe_lost_members(records.events, len(config.members)),
        "outdated": run.scores_are_outdated(),
        "damage": run.damage,
    }
    lasting = not any(isinstance(error, OSError) for error in (records.problem, *run.problems.values()))
    return row | _best(Scores(records.step, scores or [], config.members)), lasting


def _best(scores: Scores) -> dict[str, Any]:
    """Scores of the variant with the best quality, by the median over its seeds."""
    found = best_variant(scores)
    if found is None:
        return {"score": ""} | dict.fromkeys(("quality", "best", "coverage", "recall"))
    best, value = found
    others = {key: scores.of(beside(scores.rows[0], key), best) for key in ("coverage", "recall")}
    return {"score": quality(scores.rows[0])[0], "quality": value, "best": best} | others
