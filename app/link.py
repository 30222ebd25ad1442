"""What a page's URL asks for: `linked` draws every widget that is part of a link.

Streamlit gives a widget the value of the parameter that has its key's name. A value that the widget cannot take it
drops without a word, and a few raise an exception. Here each is told in one line, and the rest of the link is used. An
option of a list may be given by its title, or by the name that the command line knows.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.navigation.page import StreamlitPage

from app.text import first_lines, plain, quoted

__all__ = ["PARAMETERS", "keep", "linked", "linked_names", "problems_above", "tell"]

PARAMETERS = ("compare", "ends", "near", "run", "runs", "story")  # that pages read themselves
TOLD_SECONDS = 20
MOST_OPTIONS = 20  # named in a message


@dataclass
class _Link:
    """Problems of the links opened in one browser tab.

    Attributes:
        drawn: keys of the linked widgets of the page as drawn last.
        told: time at which each problem was found, in seconds since the epoch, by its line.
        unknown: unknown parameters that were named already.
        page: that was drawn last, by its path; None before the first.
        kept: parameters of each page as drawn last: Streamlit drops them when another page is opened.
    """

    drawn: set[str] = field(default_factory=set)
    told: dict[str, float] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    page: str | None = None
    kept: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def tell(self, line: str) -> None:
        """Show a line above the page for `TOLD_SECONDS`."""
        self.told[line] = time.time()

    def lines(self) -> list[str]:
        """The lines to show now."""
        self.told = {line: when for line, when in self.told.items() if time.time() - when < TOLD_SECONDS}
        return list(self.told)


def _link() -> _Link:
    return st.session_state.setdefault("_link", _Link())


def tell(line: str) -> None:
    """Show a problem of the URL, in one line, above the page."""
    _link().tell(line)


def keep(*keys: str) -> None:
    """Leave parameters in the URL whose widgets the page does not draw now."""
    _link().drawn |= {*keys}


@contextlib.contextmanager
def problems_above(page: StreamlitPage | None = None) -> Iterator[None]:
    """Draw a page, and above it the problems of its URL; a page that comes back has its URL again."""
    link, place, path = _link(), st.container(), page.url_path if page else ""
    link.drawn = set()
    lost = {key: values for key, values in link.kept.get(path, {}).items() if key not in st.query_params}
    if page and lost and path != link.page:
        known = {key: st.query_params.get_all(key) for key in st.query_params}
        st.switch_page(page, query_params=known | lost)  # widgets read them at the start of a run
    yield
    link.page = path  # once it is whole: the run may be interrupted
    link.kept[path] = {key: st.query_params.get_all(key) for key in st.query_params}
    unknown = set(st.query_params) - link.drawn - link.unknown - {*PARAMETERS}
    link.unknown |= unknown
    for key in sorted(unknown):
        link.tell(f"{quoted(key)} in the link is no setting of this page")
    if lines := link.lines():
        place.warning("  \n".join(map(plain, first_lines(lines))), icon=":material/link_off:")


def linked(widget: Callable[..., Any], label: str, *arguments: Any, key: str, **options: Any) -> Any:
    """Draw a widget whose value is part of the URL; return its value.

    Args:
        widget: a function such as `st.number_input`.
        label: of the widget.
        arguments: further arguments of the widget.
        key: of the widget, and its parameter in the URL.
        options: further arguments of the widget.
    """
    link, asked = _link(), st.query_params.get_all(key)
    link.drawn.add(key)
    call = inspect.signature(widget).bind(label, *arguments, key=key, **options)
    call.apply_defaults()
    kind, given = widget.__name__, call.arguments
    if _breaks(kind, given, asked):
        with contextlib.suppress(StreamlitAPIException):  # bound by an earlier run: Streamlit drops both
            del st.query_params[key]
        link.tell(_problem(kind, given, asked, asked))
        return widget(label, *arguments, key=key, **options)
    fresh = bool(asked) and key not in st.session_state
    if fresh and kind in ("selectbox", "segmented_control") and not given.get("index"):
        names, title = {str(option): option for option in given["options"]}, given["format_func"] or str
        if asked[-1] in names and asked[-1] not in map(title, given["options"]):
            st.query_params[key] = title(names[asked[-1]])  # the widget reads it at the start of a run
            st.rerun()
    if fresh and kind == "multiselect" and not given["accept_new_options"]:
        known = {given["format_func"](option): option for option in given["options"]}
        known |= {str(option): option for option in given["options"]}
        chosen = [known[word] for word in asked if word in known][: given["max_selections"]]
        if chosen or not any(asked):  # nothing that is asked for is there: the default stands
            st.session_state[key] = chosen
            options["default"] = None  # Streamlit warns of two first values
    value = widget(label, *arguments, key=key, bind="query-params", **options)
    if fresh and (refused := [word for word in asked if not _shows(given, value, word)]):
        link.tell(_problem(kind, given, asked, refused))
    return value


def linked_names(label: str, titles: Mapping[str, str], *, default: list[str], key: str, **options: Any) -> list[str]:
    """Draw a choice of several things that have titles to read, and names in the URL; return the names.

    Args:
        label: of the widget.
        titles: title by name.
        default: names chosen until others are.
        key: of the widget, and its parameter in the URL.
        options: further arguments of `st.multiselect`.
    """
    link, asked = _link(), st.query_params.get_all(key)
    link.drawn.add(key)
    if asked and key not in st.session_state:
        default = [name for name in asked if name in titles] or default
        if refused := [name for name in asked if name not in titles]:
            link.tell(_problem("multiselect", {"key": key, "options": [*titles]}, asked, refused))
    options |= {"wrap": True} | ({} if key in st.session_state else {"default": default})
    choose = st.multiselect  # callers answer for the label, as those of `linked`
    chosen = choose(label, [*titles], key=key, format_func=lambda name: titles.get(name, name), **options)
    if chosen != (asked or default):
        st.query_params[key] = chosen
    return chosen


def _breaks(kind: str, given: dict[str, Any], asked: list[str]) -> bool:
    """Whether Streamlit would raise an exception, or give no value where one is required."""
    if kind == "number_input":
        return any(math.isinf(number) for number in map(_number, asked) if number is not None)
    return bool(asked) and not any(asked) and bool(given.get("required"))


def _shows(given: dict[str, Any], value: Any, word: str) -> bool:
    """Whether a widget's value is, or contains, what a word of the link asks for."""
    if word == "":
        return value in (None, "", [], ())
    title = given.get("format_func") or str
    return any(_is(item, word) or title(item) == word for item in _items(value))


def _items(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _is(item: Any, word: str) -> bool:
    if isinstance(item, bool):
        return str(item).lower() == word.lower()
    if isinstance(item, int | float):
        return _number(word) == item
    return str(item) == word


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _problem(kind: str, given: dict[str, Any], asked: list[str], refused: list[str]) -> str:
    """One line: the parameter, what it may be, and what the link has."""
    key, words = given["key"], ", ".join(map(quoted, refused[:MOST_OPTIONS]))
    if len(asked) > 1 and asked[-1] not in refused:
        return f"{key}: one value is used, the last; not {words}"
    if "options" in given:
        names = [str(option) for option in given["options"]]
        more = f" and {len(names) - MOST_OPTIONS:,} more" if len(names) > MOST_OPTIONS else ""
        return f"{key}: there is no {words}; known: {', '.join(names[:MOST_OPTIONS])}{more}"
    if kind == "toggle":
        return f"{key}: must be true or false, not {words}"
    if "min_value" in given:
        low, high, value = (given[name] for name in ("min_value", "max_value", "value"))
        whole = not any(isinstance(number, float) for number in (low, high, value))
        limits = f"from {_limit(low)}" if high is None else f"from {_limit(low)} to {_limit(high)}"
        return f"{key}: must be a {'whole ' * whole}number {limits}, not {words}"
    return f"{key}: cannot be {words}"


def _limit(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"
