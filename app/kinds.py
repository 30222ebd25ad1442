"""The page of each kind of data: a further kind is an entry here, and a view that draws its page."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from mvm.data.images import FACES
from mvm.data.pairs import SUPERRES

__all__ = ["PAGES", "KindPage"]


@dataclass(frozen=True)
class KindPage:
    """The page on which runs on one kind of data are set up and watched.

    Attributes:
        title: in the navigation.
        path: in the URL.
        icon: name of a Material symbol.
        view: "module:function" that draws the page.
        example: data set whose recipes give the default settings until data are chosen.
        batches: batch sizes to choose from.
        prefix: of the widgets' keys, which are also their parameters in the URL.
        throughput: whether the status line shows examples per second and memory.
        examples: plural of what a batch holds; the kind's own noun when None.
    """

    title: str
    path: str
    icon: str
    view: str
    example: str
    batches: tuple[int, ...]
    prefix: str = ""
    throughput: bool = False
    examples: str | None = None

    def draw(self) -> None:
        """Draw the page. The view is imported here, as it imports this module."""
        draw_page: Callable[[], None] = pkgutil.resolve_name(self.view)
        draw_page()


PAGES = {  # by the kind's name in `mvm.data.kinds.KINDS`
    "points": KindPage(
        "Lab", "lab", "science", "app.views.lab:lab", example="circle", batches=tuple(2**k for k in range(4, 13))
    ),
    "superres": KindPage(
        "Super-resolution", "superres", "zoom_in", "app.views.superres:superres", example=SUPERRES,
        batches=tuple(2**k for k in range(2, 8)), prefix="superres.", throughput=True, examples="patches",
    ),
    "images": KindPage(
        "Faces", "faces", "face", "app.views.faces:faces", example=FACES, batches=tuple(2**k for k in range(3, 10)),
        prefix="faces.", throughput=True,
    ),
}  # fmt: skip
