"""A Plotly chart that keeps its DOM node and zoom: every new figure is drawn into it by ``Plotly.react``.

``st.plotly_chart`` mounts a new chart whenever the data change, which loses the zoom. A figure is a dictionary with
numpy arrays; ``plotly.graph_objects`` would take tens of milliseconds per figure. Colours and fonts come from
Streamlit's theme (light or dark), so a figure names only colours with a meaning.

    live_plot({"data": [...], "layout": {...}}, key="gaps", height=360, alt="Gaps over training")

A chart that is scrolled out of sight draws its first figure, and the newest one when it is visible again.
"""

import base64
import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly
import streamlit as st
from plotly.offline import get_plotlyjs, get_plotlyjs_version
from streamlit.components.v1 import declare_component
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.components.component import component

__all__ = ["Clicked", "encode", "live_plot"]

_PLOTLY_JS = "plotly.min.js"
_SHORT = 32  # shorter arrays are sent as lists, which Plotly needs in a few places (ranges, domains)
_TYPED = {"f4": "f4", "f8": "f4", "i1": "i1", "i2": "i2", "i4": "i4", "u1": "u1", "u2": "u2", "u4": "u4"}

_component = component(Path(__file__).parent)


@dataclass(frozen=True)
class Clicked:
    """A clicked point or bar.

    Attributes:
        index: in its trace.
        when: time of the click, ms since the epoch, by the browser's clock.
    """

    index: int
    when: float


def live_plot(figure: Mapping[str, Any], *, key: str, height: int, alt: str, pickable: bool = False) -> Clicked | None:
    """Draw a figure, in place of the previous figure of this key.

    Args:
        figure: Plotly's ``{"data": [...], "layout": {...}}`` with numpy arrays. ``layout["meta"]["step"]`` becomes the
            node's ``data-step``. A new ``layout["uirevision"]`` (default: ``key``) resets the zoom.
        key: identity of the chart, constant over updates.
        height: in pixels; the width follows the column.
        alt: description for screen readers.
        pickable: whether points and bars can be clicked.

    Returns:
        The last click; None before the first one.
    """
    layout = {"uirevision": key, **figure.get("layout", {})}
    result = _component(
        key=key,
        height=height,
        data={
            "figure": {"data": encode(figure["data"]), "layout": encode(layout, typed=False)},
            "key": key,
            "height": height,
            "alt": alt,
            "pickable": pickable,
            "plotly_url": _plotly_url(get_script_run_ctx().main_script_path),
        },
        default={"clicked": None},
        on_clicked_change=lambda: None,
    )
    return Clicked(**result["clicked"]) if result["clicked"] else None


def encode(value: Any, *, typed: bool = True) -> Any:
    """Convert a figure to JSON: arrays to Plotly's typed arrays (float64 to float32), NaN and ±inf to null.

    Args:
        value: nested dictionaries and lists of numpy arrays and numbers.
        typed: False converts arrays to lists, which a layout needs.
    """
    if isinstance(value, Mapping):
        return {name: encode(item, typed=typed) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item, typed=typed) for item in value]
    if isinstance(value, np.ndarray):
        return _encode_array(value) if typed and value.size >= _SHORT else encode(value.tolist())
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _encode_array(array: np.ndarray) -> Any:
    kind = array.dtype.str[1:]
    if kind in ("i8", "u8"):  # Plotly.js lacks 64-bit integers
        kind = "i4" if np.abs(array).max() < 2**31 else "f8"
    dtype = _TYPED.get(kind)
    if dtype is None or array.ndim > 3:
        return encode(array.tolist())
    array = np.ascontiguousarray(array, dtype=f"<{dtype}")
    typed = {"dtype": dtype, "bdata": base64.b64encode(array).decode("ascii")}
    return typed if array.ndim == 1 else {**typed, "shape": ", ".join(map(str, array.shape))}


@st.cache_resource(show_spinner=False)
def _plotly_url(main_script: str) -> str:
    """URL of plotly.min.js.

    Streamlit serves `static/` beside the main script as `app/static/` (with ``server.enableStaticServing=true``), and
    browsers cache those files. If the folder is read-only, as in a package that another user installed, Plotly's own
    copy is served as a component's file, which browsers load at every visit.
    """
    try:
        _write_plotly_js(Path(main_script).parent / "static" / _PLOTLY_JS)
    except OSError:
        own = declare_component("plotly", path=Path(plotly.__file__).parent / "package_data")
        return f"component/{own.name}/{_PLOTLY_JS}"
    return f"app/static/{_PLOTLY_JS}?v={get_plotlyjs_version()}"


def _write_plotly_js(path: Path) -> None:
    """Write plotly.min.js, unless the file holds this version."""
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
        if f"v{get_plotlyjs_version()}\n" in file.read(100):
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(get_plotlyjs())
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)  # atomic: readers see the old file or the new one
