"""A Plotly chart that keeps its DOM node and zoom: every new figure is drawn into it by ``Plotly.react``.

``st.plotly_chart`` mounts a new chart whenever the data change, which loses the zoom. A figure is a dictionary with
numpy arrays; ``plotly.graph_objects`` would take tens of milliseconds per figure. Colours and fonts come from
Streamlit's theme (light or dark), so a figure names only colours with a meaning.

    ensure_plotly_js(Path(__file__).parent)  # once, in the main script
    live_plot({"data": [...], "layout": {...}}, key="gaps", height=360, alt="Gaps over training")

A chart that is scrolled out of sight draws its first figure, and the newest one when it is visible again.
"""

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from plotly.offline import get_plotlyjs, get_plotlyjs_version

from app.components.component import component

__all__ = ["encode", "ensure_plotly_js", "live_plot"]

_PLOTLY_JS = "plotly.min.js"
_SHORT = 32  # shorter arrays are sent as lists, which Plotly needs in a few places (ranges, domains)
_TYPED = {"f4": "f4", "f8": "f4", "i1": "i1", "i2": "i2", "i4": "i4", "u1": "u1", "u2": "u2", "u4": "u4"}

_component = component(Path(__file__).parent)


def live_plot(figure: Mapping[str, Any], *, key: str, height: int, alt: str) -> None:
    """Draw a figure, in place of the previous figure of this key.

    Args:
        figure: Plotly's ``{"data": [...], "layout": {...}}`` with numpy arrays. ``layout["meta"]["step"]`` becomes the
            node's ``data-step``. A new ``layout["uirevision"]`` (default: ``key``) resets the zoom.
        key: identity of the chart, constant over updates.
        height: in pixels; the width follows the column.
        alt: description for screen readers.
    """
    layout = {"uirevision": key, **figure.get("layout", {})}
    _component(
        key=key,
        height=height,
        data={
            "figure": {"data": encode(figure["data"]), "layout": encode(layout, typed=False)},
            "key": key,
            "height": height,
            "alt": alt,
            "plotly_url": f"app/static/{_PLOTLY_JS}?v={get_plotlyjs_version()}",
        },
    )


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


def ensure_plotly_js(folder: Path) -> Path:
    """Write plotly.min.js into the folder that Streamlit serves, unless it holds this version.

    Args:
        folder: folder of the main script; with ``server.enableStaticServing=true`` Streamlit serves its ``static/``
            as ``app/static/``.
    """
    path = folder / "static" / _PLOTLY_JS
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            if f"v{get_plotlyjs_version()}\n" in file.read(100):
                return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(get_plotlyjs())
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)  # atomic: readers see the old file or the new one
    return path
