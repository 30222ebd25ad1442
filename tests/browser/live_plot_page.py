"""The page of test_live_plot.py: clouds that grow at five updates a second."""

from pathlib import Path

import numpy as np
import streamlit as st

from app.live_plot import ensure_plotly_js, live_plot

GREEN, ORANGE = "#009E73", "#E69F00"
PANELS = 3


def cloud(step: int, panel: int, dimension: int) -> np.ndarray:
    """The (n, dimension) points of a panel at a step; n grows with the step."""
    generator = np.random.default_rng([step, panel, dimension])
    return generator.normal(size=(100 + step, dimension))


def flat_figure(step: int) -> dict:
    """One row of 2-D panels."""
    data, layout = [], {"meta": {"step": step}, "showlegend": True, "legend": {"orientation": "h", "y": 1.16}}
    for panel in range(PANELS):
        suffix = str(panel + 1) if panel else ""
        for name, colour, shift in (("real", GREEN, 0), ("fake", ORANGE, 2)):
            x, y = cloud(step, panel, 2).T + shift
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "legendgroup": name,
                    "showlegend": panel == 0,
                    "x": x,
                    "y": y,
                    "customdata": np.arange(len(x)),
                    "marker": {"color": colour, "size": 5, "opacity": 0.7},
                    "xaxis": f"x{suffix}",
                    "yaxis": f"y{suffix}",
                }
            )
        start = panel / PANELS
        layout[f"xaxis{suffix}"] = {
            "domain": [start, start + 0.28],
            "anchor": f"y{suffix}",
            "range": [-4, 6],
            "title": {"text": "x₁"},
        }
        layout[f"yaxis{suffix}"] = {
            "anchor": f"x{suffix}",
            "range": [-4, 6],
            "title": {"text": "x₂" if panel == 0 else ""},
        }
    return {"data": data, "layout": layout}


def solid_figure(step: int) -> dict:
    """Two 3-D scenes side by side."""
    data, layout = [], {"meta": {"step": step}, "showlegend": False, "margin": {"l": 0, "r": 0, "t": 8, "b": 8}}
    for panel, name in enumerate(("scene", "scene2")):
        x, y, z = cloud(step, panel, 3).T
        marker = {"color": (GREEN, ORANGE)[panel], "size": 2.5}
        data.append({"type": "scatter3d", "mode": "markers", "x": x, "y": y, "z": z, "scene": name, "marker": marker})
        layout[name] = {"domain": {"x": [panel / 2, panel / 2 + 0.49]}, "aspectmode": "cube"}
    return {"data": data, "layout": layout}


@st.fragment(run_every=0.2)
def stream() -> None:
    """Draw the next step of both figures."""
    step = st.session_state.step = st.session_state.get("step", 0) + 1
    flat = live_plot(flat_figure(step), key="flat", height=300, alt="Three growing clouds of points", clicks=True)
    if flat.click:
        st.session_state.clicked = flat.click
    if solid_shown:
        live_plot(solid_figure(step), key="solid", height=340, alt="Two growing clouds in space")
    st.text(f"clicked {st.session_state.get('clicked')}")


if __name__ == "__main__":
    st.set_page_config(page_title="live_plot", layout="wide")
    ensure_plotly_js(Path(__file__).parent)
    solid_shown = st.toggle("3-D", value=True)
    stream()
