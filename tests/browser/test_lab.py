"""The Lab as a person meets it: press Train, watch, turn the camera, move a slider, kill things, come back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from pages import MAIN
from patient import click, seen, until, visit
from trainers import small_config, write_cloud
from waiting import growth

from mvm.files import locked
from mvm.jobs.launch import launch
from mvm.runs.recorder import train as trained
from mvm.runs.run import Run

VIEW = "node => JSON.parse(node.dataset.view)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this module: the demo is the first."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def lab(serve, folder: Path):
    """One app for the module; trainings run two at a time."""
    server = serve(MAIN, {"MVM_CHECKPOINTS": str(folder), "MVM_SLOTS": "2"})
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def no_training_is_left(folder: Path):
    """Each test has the processor for itself."""
    yield
    for config in configs(folder):
        kill_trainer(Run(config.parent))


def configs(folder: Path) -> set[Path]:
    """Of every run; a run still being made has a hidden folder, which is about to be renamed."""
    return set(folder.glob("[!.]*/config.json"))


def kill_trainer(run: Run) -> None:
    """SIGKILL to the process that trains this run, if one does."""

    def is_dead() -> bool:
        if not run.alive():
            return True
        started = [event.pid for event in run.records.poll().events if hasattr(event, "pid")]
        with contextlib.suppress(ProcessLookupError):  # an earlier trainer's: the new one has not started yet
            for process in started[-1:]:
                os.kill(process, signal.SIGKILL)
        return False

    until(is_dead, f"the death of {run.name}'s trainer")


def train(page, folder: Path, **wishes: object) -> Run:
    """Press Train, ask the new run something, and wait for its first picture."""
    seen(page.locator("[data-live-plot^=clouds][data-updates]").first, "attached")
    known = configs(folder)
    click(page.get_by_role("button", name="Train"))
    (config,) = until(lambda: configs(folder) - known, "a new run")
    run = Run(config.parent)
    run.ask(**wishes)
    seen(chart(page, run), "attached")
    return run


def chart(page, run: Run, row: str = "clouds"):
    """A drawn chart of a run."""
    return page.locator(f"[data-live-plot='{row}.{run.name}'][data-updates]")


def number(locator, name: str) -> int:
    """A chart's number; -1 while there are two, that of the page before and that which replaces it."""
    values = locator.evaluate_all(f"nodes => nodes.map(node => node.dataset.{name})")
    return int(values[0]) if len(values) == 1 else -1


def test_a_training_is_stopped_on_the_page_and_begun_again_by_a_shell(page, lab, folder: Path) -> None:
    visit(page, f"{lab.url}/?steps=20000&variants=both")
    run = train(page, folder)
    drawn = chart(page, run)
    first = number(drawn, "step")
    until(lambda: number(drawn, "step") > first, "a later step")
    seen(page.get_by_text("training", exact=True).first)
    click(page.get_by_role("button", name="Stop"))
    click(page.get_by_role("button", name="Stop training"))
    until(lambda: not run.alive(), "the training's end")
    seen(page.get_by_role("button", name="Resume"))
    launch(run)  # as a shell would
    seen(page.get_by_role("button", name="Pause"))


def test_camera_and_node_survive_a_training(page, lab, folder: Path) -> None:
    """The DOM node is the same after many updates, and the camera stays where it was dragged."""
    visit(page, f"{lab.url}/?data=Sphere&steps=20000&variants=both")
    began = time.monotonic()
    run = train(page, folder)
    first = time.monotonic() - began
    drawn = chart(page, run)
    drawn.evaluate("node => node.mine = 42")
    box = drawn.bounding_box()
    before = drawn.evaluate(VIEW)
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6, steps=8)
    page.mouse.up()
    turned = drawn.evaluate(VIEW)
    assert abs(turned["yaw"] - before["yaw"]) > 0.05
    updates, start = number(drawn, "updates"), time.monotonic()
    until(
        lambda: number(drawn, "updates") >= updates + 12,
        "twelve more updates",
        progress=lambda: number(drawn, "updates"),
    )
    rate = 12 / (time.monotonic() - start)
    print(f"\nlab: first frame {first:.1f} s after Train, {rate:.1f} updates/s (3-D)")
    assert drawn.evaluate("node => node.mine") == 42
    assert drawn.evaluate(VIEW) == pytest.approx(turned)


def test_a_slider_reaches_the_training(page, lab, folder: Path) -> None:
    """A moved weight comes back as an event of the running training, and as a mark on the timeline."""
    visit(page, f"{lab.url}/?steps=20000&variants=both")
    run = train(page, folder)
    page.get_by_role("slider", name="2-diameter weight").focus()
    began = time.monotonic()
    page.keyboard.press("ArrowRight")
    event = until(lambda: run.records.poll().setting_changes(), "the change")[0]
    print(f"\nlab: a weight reached the training after {time.monotonic() - began:.2f} s, at step {event.step}")
    assert event.weights["diameter"] == pytest.approx(1.05)
    seen(page.locator(".timeline .mark").first, "attached")
    click(page.get_by_role("button", name="Pause"))
    until(lambda: run.status().state == "paused", "the pause")
    seen(page.get_by_role("button", name="Resume"))
    at = run.status().step
    page.keyboard.press("s")
    until(lambda: run.status().state == "paused" and run.status().step >= at + 10, "ten steps more")


def test_scrubbing_while_it_trains(page, lab, folder: Path) -> None:
    """Looking back at an early step holds while the training goes on; Live follows again."""
    visit(page, f"{lab.url}/?steps=20000&variants=both")
    run = train(page, folder)
    drawn = chart(page, run)
    until(lambda: number(drawn, "step") > 100, "some steps", progress=lambda: number(drawn, "step"))
    handle = page.get_by_role("slider", name="Step shown")
    handle.focus()
    page.keyboard.press("Home")
    until(lambda: number(drawn, "step") == 0, "step 0")
    before = run.status().step
    until(lambda: run.records.poll().step > before + 50, "more training", progress=lambda: run.records.step)
    assert number(drawn, "step") == 0
    click(page.get_by_role("button", name="Live"))
    until(lambda: number(drawn, "step") > before, "the newest step")


def test_sampling_time_is_a_second_timeline(page, lab, folder: Path) -> None:
    """Home shows the noise; Play leads from there to the fakes, with networks of the shown step."""
    values = {"method": "flow_matching", "variants": ("flow_matching",), "flow_matching": {"evaluations": 8}}
    run = Run.create(small_config(write_cloud(folder / "sampled.csv"), steps=20, **values), path=folder / "sampled")
    for _ in trained(run):
        pass
    visit(page, f"{lab.url}/?run=sampled&panel=Sampling+time")
    drawn = seen(page.locator("[data-live-plot^=sampling][data-updates]").first, "attached")
    assert number(drawn, "step") == 8, "opens at the fakes"
    slider = page.get_by_role("slider", name="Sampling time shown")
    slider.focus()
    page.keyboard.press("Home")
    until(lambda: number(drawn, "step") == 0, "the noise")
    assert slider.get_attribute("aria-valuetext") == "t = 0"
    page.keyboard.press("Space")
    until(lambda: number(drawn, "step") == 8, "the fakes", progress=lambda: number(drawn, "step"))
    assert slider.get_attribute("aria-valuetext") == "t = 1"


def test_columns_stack_in_a_narrow_window(page, lab, folder: Path) -> None:
    """Side by side in a wide window, below each other in a narrow one, where nothing is wider than the page."""
    visit(page, f"{lab.url}/?steps=20000&variants=centroid&variants=both")
    drawn = chart(page, train(page, folder, pause_at=300))

    def sides() -> tuple[int, int]:
        """Numbers of different left and upper edges of the panels."""
        frames = json.loads(drawn.get_attribute("data-frames"))
        return len({frame["x"] for frame in frames}), len({frame["y"] for frame in frames})

    until(lambda: sides() == (2, 1), "two columns")
    page.set_viewport_size({"width": 390, "height": 800})
    until(lambda: sides() == (1, 2), "two rows")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    click(page.get_by_role("button", name="Enlarge Data space"))
    click(page.get_by_role("button", name="Back to all panels"))
    seen(page.get_by_role("heading", name="Embeddings"))


def test_a_killed_trainer_is_seen_and_resumed(page, lab, folder: Path) -> None:
    visit(page, f"{lab.url}/?steps=800&variants=both&network.width=16&batch=64")
    run = train(page, folder, pause_at=150)  # it cannot end before the page has drawn it
    until(lambda: run.status().state == "paused", "some steps", progress=lambda: run.records.step)
    run.ask(pause_at=None)
    until(lambda: run.records.poll().step > 150, "one more record")
    kill_trainer(run)
    seen(page.get_by_text("exited unexpectedly"))
    click(page.get_by_role("button", name="Resume"))
    until(lambda: run.status().state in ("running", "finished"), "the training to go on")
    until(lambda: run.status().state == "finished", "the end", progress=lambda: run.records.step)
    seen(page.get_by_text("finished", exact=True).first)
    projected = chart(page, run, "umap")
    until(lambda: projected.count() == 1, "one chart: that of the page before goes once the new page is whole")
    projected.evaluate("node => node.scrollIntoView()")  # at once: the page may still replace the chart by another
    last = run.path / "frames" / "00000800.npy"
    until(last.exists, "the last UMAP frame", progress=lambda: growth(run.path / "frames"))
    until(lambda: number(projected, "step") == 800, "the last step on the page")
    frame = np.load(last)
    assert frame.shape == (1, 2 * run.config.view_points, 2)


def test_the_app_comes_back_to_a_living_training(page, serve, tmp_path: Path) -> None:
    """The app dies, the training does not; a new app shows it."""
    environment = {"MVM_CHECKPOINTS": str(tmp_path)}
    first = serve(MAIN, environment)
    visit(page, f"{first.url}/?steps=20000&variants=both")
    run = train(page, tmp_path)
    page.goto("about:blank")  # the page of a dead app has errors in its console, and rightly so
    first.kill()
    before = run.status().step
    second = serve(MAIN, environment)
    visit(page, second.url)
    drawn = seen(chart(page, run), "attached")
    until(lambda: number(drawn, "step") > before, "a later step")
    kill_trainer(run)


def test_a_shape_is_seen_and_chosen(page, lab) -> None:
    """The dialog opens over the page; what is pressed there is drawn, and is part of the link."""
    visit(page, f"{lab.url}/?data=Circle")
    seen(page.locator('[data-live-plot="preview"] canvas[aria-label$="in 2 dimensions"]'))
    click(page.get_by_role("button", name="All shapes"))
    torus = seen(page.get_by_role("dialog").get_by_role("button", name="Torus"))
    until(lambda: torus.locator("img").evaluate("image => image.naturalWidth"), "its picture")
    click(torus)
    seen(page.locator('[data-live-plot="preview"] canvas[aria-label$="in 3 dimensions"]'))
    until(lambda: "data=Torus" in page.evaluate("location.search"), "the link")
    assert page.get_by_role("dialog").count() == 0


def test_points_drawn_by_hand_are_trained_on(page, lab, folder: Path) -> None:
    visit(page, f"{lab.url}/?source=Draw&steps=100&variants=both&network.width=16")
    canvas = seen(page.locator(".draw-points canvas"))
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for turn in np.linspace(0, 2 * np.pi, 24):
        x, y = (
            box[side] + box[size] * (0.5 + 0.35 * f(turn))
            for side, size, f in (("x", "width", np.cos), ("y", "height", np.sin))
        )
        if turn == 0:
            page.mouse.move(x, y)
            page.mouse.down()
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    click(page.get_by_role("button", name="Use these points"))
    button = page.get_by_role("button", name="Train")
    until(button.is_enabled, "the points to arrive")
    seen(page.locator('[data-live-plot="preview"] canvas[aria-label$="in 2 dimensions"]'))
    run = train(page, folder)
    points = np.load(run.path / "data.npy")
    assert np.linalg.norm(points, axis=1) == pytest.approx(0.7, abs=0.2)


@pytest.fixture(scope="module")
def played(folder: Path) -> Run:
    """A finished run of seven snapshots; where it is, no demo is begun."""
    cloud = write_cloud(folder.with_name("cloud.csv"))
    run = Run.create(small_config(cloud, steps=60, snapshots=6), path=folder / "played")
    for _ in trained(run):
        pass
    return run


def test_a_paused_run_and_a_reset_one_leave_their_slot_to_the_next(page, lab, folder: Path, played: Run) -> None:
    """Pause then Train, Train while another trains, Reset then Train: with one slot, none waits for ever."""
    slots = folder / ".slots" / "cpu"
    slots.mkdir(parents=True, exist_ok=True)
    with locked(slots / "slot-1.lock"):
        visit(page, f"{lab.url}/?steps=20000&variants=both&network.width=8&batch=16")
        first = train(page, folder)
        click(page.get_by_role("button", name="Pause"))
        until(lambda: first.status().state == "paused", "the pause")
        second = train(page, folder)
        until(lambda: second.status().state == "running", "the second to start")
        known = configs(folder)
        click(page.get_by_role("button", name="Train another"))
        third = Run(until(lambda: configs(folder) - known, "a third").pop().parent)
        until(lambda: third.status().state == "queued", "a queue")
        seen(page.get_by_text("queued").first)
        kill_trainer(second)
        until(lambda: third.status().state == "running", "the third to start")
        seen(chart(page, third), "attached")
        known = configs(folder)
        page.keyboard.press("b")
        seen(page.get_by_role("button", name="Keep training"))
        page.keyboard.press("y")
        anew = Run(until(lambda: configs(folder) - known, "the run that begins again").pop().parent)
        until(lambda: (third.status().state, anew.status().state) == ("stopped", "paused"), "the reset")
        assert anew.status().step == 0
        assert anew.config == third.config
        last = train(page, folder)
        until(lambda: last.status().state == "running", "the run after the reset")


def test_a_training_is_played_and_a_page_that_comes_back_is_as_it_was_left(page, lab, played: Run) -> None:
    """By keys: the pages and Train within five stops of Tab, ? for the keys, Space to play; then Runs, and back."""
    visit(page, f"{lab.url}/?run=played&steps=700&w.diameter=1.5&nosuch=1")
    seen(page.get_by_text("'nosuch' in the link is no setting of this page"))
    drawn = seen(chart(page, played), "attached")
    seen(page.locator(".skip-links"), "attached")
    focused = "() => document.activeElement.innerText"
    stops = [page.keyboard.press("Tab") or page.evaluate(focused) for _ in range(5)]
    assert {"Skip to the pages", "Skip to Train"} <= {*stops}
    for link, target in (("Skip to the pages", "Lab"), ("Skip to Train", "Train")):
        page.get_by_role("link", name=link).focus()
        page.keyboard.press("Enter")
        assert target in page.evaluate(focused)
    page.keyboard.press("?")
    seen(page.get_by_role("dialog", name="Keys"))
    page.keyboard.press("Escape")

    page.get_by_role("slider", name="Step shown").focus()
    page.keyboard.press("Home")
    until(lambda: number(drawn, "step") == 0, "step 0")
    page.keyboard.press("Space")
    seen(page.get_by_role("button", name="Hold"))
    until(lambda: number(drawn, "step") == 60, "the end of the film", progress=lambda: number(drawn, "step"))
    seen(page.get_by_role("button", name="Play"))
    page.get_by_label("Go to step").fill("20")
    page.keyboard.press("Enter")
    until(lambda: number(drawn, "step") == 20, "step 20")

    address = "location.href"  # what the page's property says is of the last event that was looked at
    before = page.evaluate(address)
    click(page.get_by_role("link", name="Runs"))
    seen(page.get_by_text("Tick a run"))
    click(page.get_by_role("link", name="Lab"))
    until(lambda: page.evaluate(address) == before, before, progress=lambda: page.evaluate(address))
    until(lambda: page.get_by_role("spinbutton", name="Steps").input_value() == "700", "its values")
    until(lambda: drawn.count() == 1 and number(drawn, "step") == 20, "the step that was shown")
