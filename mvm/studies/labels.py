"""Labels of what was trained: the one home of the names that legends, columns, tables and figures give to it.

    variant_label(run, "centroid")     "centroid only, centroid × 1 → 1.5 at 70": a weight that was moved at step 70
                                       "both, generator rate 0.003 → 0.001 at 70": the same of a rate
                                       "both, matches nothing": its weights are 0
                                       "both, generator rate 0.001": of a variant's own
    setting_label("batch", 32)         "batch 32"
    settings_in_words(made.changes)    "centroid × 0.5, γ 0.01": of a fork
    run_title(run)                     "Swiss roll · both descriptors · 21:15", or the name that a person gave it

What a label has no room for gets a mark and a footnote: "both†", "† both: centroid × 1 → 2 at 70 → 3 at 90 → 0 at 95".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mvm.config import Config
from mvm.data.kinds import kind_of
from mvm.geometry.descriptors import DESCRIPTORS, descriptors_of
from mvm.look.palette import title_of
from mvm.methods import METHODS, method_on
from mvm.runs.control import WEIGHTS
from mvm.runs.events import times
from mvm.runs.layout import CONFIG, is_fresh_name
from mvm.runs.run import Run
from mvm.runs.weights import WeightFrom, settings_of
from mvm.settings import setting_words
from mvm.variants import base_of, own_settings
from mvm.words import visible

__all__ = [
    "MARK",
    "Label",
    "acts",
    "footnotes",
    "grouped_titles",
    "label_of_variant",
    "own_title",
    "run_title",
    "setting_label",
    "setting_title",
    "settings_in_words",
    "started_at",
    "title_in_words",
    "trained_in_words",
    "trained_settings",
    "variant_label",
]

MARK = "†"
MOST_CHANGES = 2  # of a setting, said in a label
IDLE = "matches nothing"
MOST_TITLES = 3  # variants named in a run's title
RECIPES = {"paper": "paper's recipe", "published": "authors' code"}  # said in a run's title; the default is not


@dataclass(frozen=True)
class Label:
    """A label and its footnote.

    Attributes:
        text: the label; it ends with `MARK` if there is a footnote.
        note: what the label has no room for; "" if it says all.
    """

    text: str
    note: str = ""


def own_title(config: Config, variant: str, *, beside: Sequence[str] = ()) -> str:
    """Name of a variant with its own settings; on pairs with its discriminator, or its pretrained network.

    Args:
        config: of the run.
        variant: one of its variants.
        beside: variants from which it is told apart: what they all share is left out.
    """
    own = own_settings(variant)
    shared = {name for name in own if len({own_settings(each).get(name) for each in (variant, *beside)}) == 1}
    is_alike = bool(own) and len(beside) > 1 and len({base_of(each) for each in (variant, *beside)}) == 1
    words = [setting_label(name, value, config) for name, value in own.items() if not is_alike or name not in shared]
    return ", ".join([*([] if is_alike and words else [_base_title(config, variant)]), *words])


def grouped_titles(titles: Iterable[str]) -> list[str]:
    """Titles of variants, those that differ in their own settings only as one, such as "both with 6 settings"."""
    groups: dict[str, list[str]] = {}
    for title in titles:
        groups.setdefault(title.partition(", ")[0], []).append(title)
    return [f"{base} with {len(each)} settings" if len(each) > 1 else each[0] for base, each in groups.items()]


def _base_title(config: Config, variant: str) -> str:
    """`own_title` without the variant's own settings."""
    return method_on(config.kind, config.method).label(title_of(variant), config.method_settings, config.pairs)


def run_title(run: Run) -> str:
    """What a run is called: the name that a person gave it; else its data, what was trained, and when it began."""
    if not is_fresh_name(run.name):
        return visible(run.name)
    config = run.config
    titles = [own_title(config, variant) for variant in config.variants]
    data = kind_of(config.data).data_title(config.data)
    return title_in_words(trained_in_words(data, titles, config.recipe), started_at(run))


def trained_in_words(data: str, titles: Sequence[str], recipe: str) -> str:
    """Data and what was trained on them, such as Swiss roll · both descriptors.

    Args:
        data: title of the data.
        titles: of the variants, as from `own_title`.
        recipe: a name in the method's recipes.
    """
    if len(titles) == 1:
        trained = "both descriptors" if titles[0] == "both" else titles[0]
    else:
        words = grouped_titles(title.removesuffix(" only") for title in titles)
        trained = ", ".join(words[:MOST_TITLES]) + f" and {len(words) - MOST_TITLES} more" * (len(words) > MOST_TITLES)
    return visible(" · ".join(filter(None, (data, trained, RECIPES.get(recipe, "")))))


def title_in_words(trained: str, started: float, *, exact: bool = False) -> str:
    """`trained_in_words` and the local time at which it began, with the day if not today's; `exact`: with seconds."""
    when, now = datetime.fromtimestamp(started), datetime.now()
    day = "" if when.date() == now.date() else f"{when.day} {when:%b} {f'{when.year} ' * (when.year != now.year)}"
    return f"{trained} · {day}{when:%H:%M:%S}" if exact else f"{trained} · {day}{when:%H:%M}"


def started_at(run: Run) -> float:
    """When a run began, in seconds since the epoch."""
    return min(times(run.records.poll().events), default=0.0) or (run.path / CONFIG).stat().st_mtime


def trained_settings(run: Run) -> dict[str, tuple[WeightFrom, ...]]:
    """`settings_of` a run without changes after its last step, which have trained nothing yet."""
    last = run.records.poll().step
    return {name: (path[0], *(w for w in path[1:] if w.step < last)) for name, path in settings_of(run).items()}


def acts(config: Config, variant: str, name: str) -> bool:
    """Whether a setting, by its dotted name, acts on a variant: a weight does where its term is in the loss."""
    method = method_on(config.kind, config.method)
    terms = [*(descriptors_of(variant) if method.matches_descriptors else []), *method.terms(config.pairs)]
    return not name.startswith(WEIGHTS) or name.removeprefix(WEIGHTS) in terms


def label_of_variant(run: Run, variant: str, *, said: Sequence[str] = (), words: Sequence[str] = ()) -> Label:
    """The label of a variant of a run.

    Args:
        run: that trained it.
        variant: one of its config.
        said: settings, by dotted name, that `words` say.
        words: further words of the label.
    """
    title, parts, own = _base_title(run.config, variant), list(words), own_settings(variant)
    paths = trained_settings(run) | {name: (WeightFrom(0, value),) for name, value in own.items()}
    matched = descriptors_of(variant) if method_on(run.config.kind, run.config.method).matches_descriptors else []
    moved = {
        name: path for name, path in paths.items() if name in own or (len(path) > 1 and acts(run.config, variant, name))
    }
    new = [setting_label(name, path, run.config) for name, path in moved.items() if name not in said]
    fits = len(new) + len(parts) <= MOST_CHANGES and all(len(path) <= MOST_CHANGES + 1 for path in moved.values())
    note = "" if fits else "; ".join(_path_in_words(name, path, run.config) for name, path in moved.items())
    parts += new if fits else []
    parts += [IDLE] if matched and all(paths[f"{WEIGHTS}{name}"][-1].value == 0 for name in matched) else []
    return Label(", ".join([title, *parts]) + MARK * bool(note), note and f"{title}: {note}")


def variant_label(run: Run, variant: str) -> str:
    """Text of `label_of_variant`."""
    return label_of_variant(run, variant).text


def footnotes(labels: Iterable[Label]) -> str:
    """The footnotes of some labels in one line; "" without any."""
    notes = list(dict.fromkeys(label.note for label in labels if label.note))
    return f"{MARK} {'; '.join(notes)}" if notes else ""


def setting_label(key: str, value: Any, config: Config | None = None) -> str:
    """A setting, by its dotted name, in a few words: its value, or its path from `settings_of`.

    Args:
        key: its dotted name.
        value: of it, or its path.
        config: of the run; its method names the network that a rate belongs to.
    """
    if isinstance(value, tuple) and value and isinstance(value[0], WeightFrom):
        return _path_in_words(key, value if len(value) <= MOST_CHANGES + 1 else (value[0], value[-1]), config)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _path_in_words(key, (WeightFrom(0, value),), config)
    if key in ("data", "recipe"):
        return Path(str(value)).stem.replace("_", " ") + (" recipe" if key == "recipe" else "")
    words = " ".join(map(str, value)) if isinstance(value, tuple | list) else value
    return f"{setting_title(key, config)} {words}"


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """Some settings and their values, by dotted name, in a few words."""
    return ", ".join(setting_label(name, value) for name, value in settings.items())


def setting_title(key: str, config: Config | None = None) -> str:
    """What labels call a setting, by its dotted name, in small letters.

    Args:
        key: its dotted name.
        config: of the run; its method names the network that a rate belongs to.
    """
    name = key.rpartition(".")[2]
    if name == "metric_lr":
        return f"{method_on(config.kind, config.method).opponent if config else 'metric'} rate"
    return DESCRIPTORS[name].title.lower() if name in DESCRIPTORS else _own_title(key) or setting_words(name)


def _own_title(key: str) -> str:
    """Title that a method gives one of its settings, in lower case; "" without one."""
    group, _, name = key.rpartition(".")
    settings = METHODS[group].settings_type if group in METHODS else None
    field = settings.model_fields.get(name) if settings else None
    return (field.title or "").lower() if field else ""


def _path_in_words(key: str, path: Sequence[WeightFrom], config: Config | None) -> str:
    """A setting over the training, such as centroid × 1 → 1.5 at 70."""
    title = setting_title(key, config) + " ×" * key.startswith(WEIGHTS)
    first, *changes = path
    before = "unknown" if first.value is None else f"{first.value:g}"
    return " → ".join([f"{title} {before}", *(f"{change.value:g} at {change.step:,}" for change in changes)])
