"""The page of test_live_plot.py: clouds that grow at five updates a second."""

import numpy as np
import streamlit as st

from app.components.live_plot import live_plot

GREEN, ORANGE = "#009E73", "#E69F00"
PANELS = 3


def cloud(step: int, panel: int) -> np.ndarray:
    """The (n, 2) points of a panel at a step; n grows with the step."""
    generator = np.random.default_rng([step, panel])
    return generator.normal(size=(100 + step, 2))


def flat_figure(step: int) -> dict:
    """One row of 2-D panels."""
    data, layout = [], {"meta": {"step": step}, "showlegend": True, "legend": {"orientation": "h", "y": 1.16}}
    for panel in range(PANELS):
        suffix = str(panel + 1) if panel else ""
        for name, colour, shift in (("real", GREEN, 0), ("fake", ORANGE, 2)):
            x, y = cloud(step, panel).T + shift
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "legendgroup": name,
                    "showlegend": panel == 0,
                    "x": x,
                    "y": y,
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


@st.fragment(run_every=0.2)
def stream() -> None:
    """Draw the next step."""
    step = st.session_state.step = st.session_state.get("step", 0) + 1
    live_plot(flat_figure(step), key="flat", height=300, alt="Three growing clouds of points")


if __name__ == "__main__":
    st.set_page_config(page_title="live_plot", layout="wide")
    stream()
