"""Labels of what was trained: the one home of the names that legends, columns, tables and figures give to it.

    variant_label(run, "centroid")     "centroid only, centroid × 1 → 1.5 at 70": a weight that was moved at step 70
                                       "both, matches nothing": its weights are 0
    setting_label("batch", 32)         "batch 32"

What a label has no room for gets a mark and a footnote: "both†", "† both: centroid × 1 → 2 at 70 → 3 at 90 → 0 at 95".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvm.config import Config
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.look.palette import title_of
from mvm.methods import method_on
from mvm.runs.run import Run
from mvm.runs.weights import WeightFrom, weights_of

__all__ = [
    "MARK",
    "Label",
    "footnotes",
    "label_of_variant",
    "own_title",
    "setting_label",
    "trained_weights",
    "variant_label",
]

MARK = "†"
MOST_CHANGES = 2  # of a weight, said in a label
IDLE = "matches nothing"


@dataclass(frozen=True)
class Label:
    """A label and its footnote.

    Attributes:
        text: the label; it ends with `MARK` if there is a footnote.
        note: what the label has no room for; "" if it says all.
    """

    text: str
    note: str = ""


def own_title(config: Config, variant: str) -> str:
    """Name of a variant without its weights; on pairs with its discriminator, or its pretrained network."""
    return method_on(config.kind, config.method).label(title_of(variant), config.method_settings, config.pairs)


def trained_weights(run: Run) -> dict[str, tuple[WeightFrom, ...]]:
    """`weights_of` a run without changes after its last step, which have trained nothing yet."""
    last = run.records.poll().step
    return {name: (path[0], *(w for w in path[1:] if w.step < last)) for name, path in weights_of(run).items()}


def label_of_variant(run: Run, variant: str, *, said: Sequence[str] = (), words: Sequence[str] = ()) -> Label:
    """The label of a variant of a run.

    Args:
        run: that trained it.
        variant: one of its config.
        said: settings, by dotted name, that `words` say.
        words: further words of the label.
    """
    title, parts = own_title(run.config, variant), list(words)
    method, weights = method_on(run.config.kind, run.config.method), trained_weights(run)
    matched = descriptors_of(variant) if method.matches_descriptors else []
    paths = {name: weights[name] for name in [*matched, *method.terms(run.config.pairs)]}
    moved = {name: path for name, path in paths.items() if len(path) > 1}
    new = [setting_label(f"weights.{name}", path) for name, path in moved.items() if f"weights.{name}" not in said]
    fits = len(new) + len(parts) <= MOST_CHANGES and all(len(path) <= MOST_CHANGES + 1 for path in moved.values())
    note = "" if fits else "; ".join(_path_in_words(name, path) for name, path in moved.items())
    parts += new if fits else []
    parts += [IDLE] if matched and all(paths[name][-1].value == 0 for name in matched) else []
    return Label(", ".join([title, *parts]) + MARK * bool(note), note and f"{title}: {note}")


def variant_label(run: Run, variant: str) -> str:
    """Text of `label_of_variant`."""
    return label_of_variant(run, variant).text


def footnotes(labels: Iterable[Label]) -> str:
    """The footnotes of some labels in one line; "" without any."""
    notes = list(dict.fromkeys(label.note for label in labels if label.note))
    return f"{MARK} {'; '.join(notes)}" if notes else ""


def setting_label(key: str, value: Any) -> str:
    """A setting, by its dotted name, in a few words; of a weight its value, or its path from `weights_of`."""
    group, _, name = key.rpartition(".")
    if group == "weights":
        path = value if isinstance(value, tuple) else (WeightFrom(0, value),)
        if len(path) > MOST_CHANGES + 1:
            path = (path[0], path[-1])
        return _path_in_words(name, path)
    if key in ("data", "recipe"):
        return Path(str(value)).stem.replace("_", " ") + (" recipe" if key == "recipe" else "")
    return f"{name.replace('_', ' ')} {value}"


def _path_in_words(name: str, path: Sequence[WeightFrom]) -> str:
    """A weight over the training, such as centroid × 1 → 1.5 at 70."""
    title = DESCRIPTORS[name].title.lower() if name in DESCRIPTORS else name.replace("_", " ")
    first, *changes = path
    before = "unknown" if first.value is None else f"{first.value:g}"
    return " → ".join([f"{title} × {before}", *(f"{change.value:g} at {change.step:,}" for change in changes)])
