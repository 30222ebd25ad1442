"""Venues: widths and font sizes of their papers, so that figures are included at scale 1 with matching text.

Widths follow the style files: NeurIPS and ICLR 5.5 in, TMLR 6.5 in, ECCV 122 mm (LNCS); ICML two columns of
3.25 in on 6.75 in; CVPR 6.875 in less 0.3125 in between two columns. Font sizes are from tueplots, with small text at
least 7 pt. The font is matplotlib's own STIX, a Times: it comes with matplotlib, so that equal runs give equal bytes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mvm.errors import check_known
from mvm.library_caches import find_library_caches

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

__all__ = ["FONTS", "VENUES", "Venue", "styled", "venue_of"]

SMALL = 7.0  # least font size, pt
FONTS = ("STIXGeneral", "STIX Two Text", "Times New Roman", "Times", "serif")  # the first draws; an SVG names them all
GREY = "#4D4D4D"


@dataclass(frozen=True)
class Venue:
    """A conference or journal.

    Attributes:
        title: its name.
        column: width of a text column, inches.
        page: width of the whole text, inches; equal to `column` for a single column.
        fonts: name of its font sizes in `tueplots.fontsizes`.
    """

    title: str
    column: float
    page: float
    fonts: str

    def width(self, *, wide: bool = False) -> float:
        """Width of a figure in inches: a column, or the page if `wide`."""
        return self.page if wide else self.column

    def style(self) -> dict[RcKeyType, Any]:
        """Matplotlib settings: font sizes, thin lines, light background, TrueType fonts, fixed SVG identifiers."""
        from tueplots import fontsizes

        sizes = {name: max(SMALL, size) for name, size in getattr(fontsizes, self.fonts)().items()}
        return STYLE | sizes | {"axes.labelsize": sizes["legend.fontsize"], "figure.titlesize": sizes["axes.titlesize"]}


VENUES: dict[str, Venue] = {
    "neurips": Venue("NeurIPS", 5.5, 5.5, "neurips2024"),
    "icml": Venue("ICML", 3.25, 6.75, "icml2024"),
    "iclr": Venue("ICLR", 5.5, 5.5, "iclr2024"),
    "cvpr": Venue("CVPR", (6.875 - 0.3125) / 2, 6.875, "cvpr2024"),
    "eccv": Venue("ECCV", 12.2 / 2.54, 12.2 / 2.54, "eccv2024"),
    "tmlr": Venue("TMLR", 6.5, 6.5, "tmlr2023"),
}
STYLE: dict[RcKeyType, Any] = {
    "font.family": FONTS[0],
    "mathtext.fontset": "stix",
    "text.usetex": False,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "mvm",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlepad": 4.0,
    "axes.labelpad": 2.0,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.4,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.02,
}
_styling = threading.Lock()  # matplotlib's settings are global to the process


def venue_of(name: str) -> Venue:
    """The venue of this name.

    Raises:
        ConfigError: it is unknown.
    """
    check_known("venue", name, VENUES)
    return VENUES[name]


@contextlib.contextmanager
def styled(venue: Venue) -> Iterator[None]:
    """Use matplotlib's defaults with the venue's style over them, regardless of any matplotlibrc."""
    find_library_caches()
    import matplotlib

    with _styling, matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(venue.style())
        yield
