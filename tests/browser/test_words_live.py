"""Words from outside on every page, in a real browser: nothing is fetched, and every word is seen as it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from pages import MAIN
from patient import click, seen, until, visit
from trainers import small_config, write_cloud

from mvm.files import append_line
from mvm.runs.recorder import train
from mvm.runs.run import Run

TEXTS = (
    "![a](http://127.0.0.1:9/outside) [b](http://127.0.0.1:9/outside) <img src=http://127.0.0.1:9/outside>",
    "http://127.0.0.1:9/outside www.outside.org a@outside.org <http://127.0.0.1:9/outside>",
    "**b** _i_ `c` ~~s~~ $x^2$ $$y$$ :smile: :material/home: :red[r] :streamlit: ::leaf[x]{a=b} :x{a=1}",
    "# head", "- list", "+ list", "> quote", "1. one", "2) two", "---", "***", "=== a", "| a | b |", "    code",
    "&amp; &lt; &#60; a&b<c", "-> <- -- >= <= ~= <->", r"C:\temp\* a\ \$", "a]b[c](d)", "[^1] foot", "```mermaid x```",
    "12:30:45", "foo_bar_baz", "{.cls #id}", "漢字 ≤ é 🎉", "[r]: http://127.0.0.1:9/outside",
)  # fmt: skip
SCRIPT = """
import json, sys
from pathlib import Path
import streamlit as st
from app.text import plain

for number, text in enumerate(json.loads(Path(__file__).with_name("texts.json").read_text(encoding="utf-8"))):
    with st.container(key=f"text{number}"):
        st.markdown(plain(text))
        st.markdown(f"**x** {plain(text)} :gray[{plain(text)}]")
        st.markdown(f":red-badge[{plain(text)}]")
        st.caption(plain(text))
        st.error(plain(text))
        st.button(plain(text), key=f"button{number}")
        st.progress(0.5, text=plain(text))
        st.toggle(plain(text), key=f"toggle{number}")
st.html("<div id=end></div>")
"""


@pytest.fixture(scope="module")
def requests() -> Iterator[list[str]]:
    """Paths that were asked of a server on this machine; its address is `http://127.0.0.1:{requests[0]}/`."""
    asked: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    asked.append(str(server.server_port))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield asked
    server.shutdown()


def lure(requests: list[str], place: str) -> str:
    """Markup that asks the listener for something wherever it is read."""
    url = f"http://127.0.0.1:{requests[0]}/{place}"
    return f'{place} ![a]({url}/1.png) <img src="{url}/2.png"> <a href="{url}/3">c</a> $x^2$ {url}/4 [r]({url}/5)'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, requests: list[str]) -> Path:
    """Two runs and a damaged one from somebody who put a lure in everything that a page shows."""
    folder = tmp_path_factory.mktemp("runs")
    for name, batch in (("evil", 16), ("worse", 32)):
        run = Run.create(
            small_config(write_cloud(folder / "cloud.csv"), steps=40, batch=batch, snapshots=4), path=folder / name
        )
        for _ in train(run):
            pass
        run.write_note(lure(requests, "note"))
        config = json.loads((run.path / "config.json").read_text())
        config["data"] = f"/elsewhere/{lure(requests, 'data').replace('/', '|')}.csv"
        (run.path / "config.json").write_text(json.dumps(config))
        scores = json.loads((run.path / "scores.json").read_text())
        label = lure(requests, "score")
        scores = [row | {label: 0.5, f"{label}_floor": 0.4} for row in scores]
        (run.path / "scores.json").write_text(json.dumps(scores))
        lost = {"member": 0, "variant": lure(requests, "variant"), "seed": 0, "what": "collapsed"}
        for event in (
            {"event": "started", "device": lure(requests, "device"), "pid": 1},
            {"event": "member"} | lost,
            {"event": "failed", "reason": lure(requests, "reason")},
        ):
            append_line(run.path / "scalars.jsonl", {"step": 20, "time": 1.0} | event)
    fork = {"run": "evil", "step": 20, "changes": {lure(requests, "setting"): lure(requests, "value")}}
    (folder / "worse" / "fork.json").write_text(json.dumps(fork))
    damaged = folder / "damaged ![name](http:outside.png)"
    damaged.mkdir()
    (damaged / "config.json").write_text(json.dumps({lure(requests, "damage"): 1}))
    return folder


@pytest.fixture(scope="module")
def app(serve, folder: Path):
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(folder)})
    yield server
    server.stop()


def linked(page, port: str) -> list[str]:
    """What the page draws of a lure as more than letters."""
    return page.evaluate(
        """(port) => [...document.querySelectorAll("[data-testid=stApp] *")]
            .filter((node) => node.matches(".katex")
                || ["src", "href", "xlink:href"].some((name) => node.getAttribute(name)?.includes(`:${port}`)))
            .map((node) => node.outerHTML)""",
        port,
    )


def test_every_text_is_seen_as_it_is(page, serve, tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(SCRIPT)
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    server = serve(tmp_path / "page.py", {"PYTHONPATH": str(MAIN.parents[1])})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, server.url)
    seen(page.locator("#end"), "attached")
    for number, text in enumerate(TEXTS):
        wanted = " ".join(text.split())
        box = seen(page.locator(f".st-key-text{number}"))
        until(lambda box=box: box.locator("p").count() == 8, f"every place of {text!r}")
        drawn = [" ".join(said.replace("\u2060", "").split()) for said in box.locator("p").all_inner_texts()]
        assert drawn == [wanted, f"x {wanted} {wanted}", *[wanted] * 6]
        marks = "a, img, em, del, code, pre, ul, ol, h1, hr, table, blockquote, .katex, [data-testid=stIconMaterial]"
        assert box.locator("p").locator(marks).count() == 0
    assert not [url for url in asked if "outside" in url]
    server.stop()


def test_no_page_fetches_what_a_run_of_somebody_else_names(page, app, folder: Path, requests: list[str]) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def check() -> None:
        until(lambda: page.get_by_test_id("stStatusWidget").count() == 0, "the page at rest")
        assert linked(page, requests[0]) == []
        assert requests[1:] == []
        assert not [url for url in asked if "outside.png" in url]

    query = urlencode({"run": "evil", "data": lure(requests, "manifold"), "nosuch": lure(requests, "value")})
    visit(page, f"{app.url}/?{query}")
    seen(page.get_by_text("Failed: reason ![a](http:"))
    seen(page.get_by_text("data: there is no 'manifold ![a](http:"))
    seen(page.locator("[data-live-plot^='gaps.'][data-updates]").first)
    click(page.get_by_role("button", name="View"))
    check()

    visit(page, f"{app.url}/?run=worse&source={quote('Own file')}")
    rows = "\n".join(f"{number},{number % 7}" for number in range(99))
    header = ",".join(f'"{lure(requests, name).replace(chr(34), "")}"' for name in ("left", "right"))
    file = {"name": "![x](outside.png) <b>.csv", "mimeType": "text/csv", "buffer": f"{header}\n{rows}\n".encode()}
    page.locator("input[type=file]").set_input_files(file)
    seen(page.get_by_text("99 points, 2 columns"))
    check()
    page.locator("input[type=file]").set_input_files(
        file | {"buffer": f"{rows}\n{lure(requests, 'cell')},1\n".encode()}
    )
    seen(page.get_by_test_id("stAlertContentError").filter(has_text="cell ![a]"))
    check()

    visit(page, f"{app.url}/faces?{urlencode({'faces.source': 'Prepare…', 'run': lure(requests, 'run')})}")
    path = seen(page.get_by_role("textbox", name="Path on this machine"))
    path.fill(lure(requests, "path"))
    click(page.get_by_test_id("stFormSubmitButton").get_by_role("button"))
    seen(page.get_by_test_id("stAlert").filter(has_text="path ![a]").first)
    check()

    visit(page, f"{app.url}/runs?compare=evil,worse,{quote(lure(requests, 'ticked').replace(',', ''))}")
    seen(page.get_by_text("damage ![a](http:").first)
    seen(page.get_by_text("What differs"))
    seen(page.locator("[data-live-plot^='runs.curves'][data-updates]").first)
    click(page.get_by_role("button", name="Delete").last)
    seen(page.get_by_text("This cannot be undone").last)
    check()

    for figure in (
        "Runs: A recorded quantity over training, several runs overlaid",
        "Runs: How far a fork and its run have parted",
    ):
        query = urlencode({"runs": ["evil", "worse"], "figures.figure": figure}, doseq=True)
        visit(page, f"{app.url}/figures?{query}")
        seen(page.get_by_test_id("stImage").or_(page.get_by_test_id("stAlert")).first)
        check()

    page.evaluate("(port) => fetch(`http://127.0.0.1:${port}/control`, { mode: 'no-cors' })", requests[0])
    until(lambda: requests[1:] == ["/control"], "the listener to hear")
