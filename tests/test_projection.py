"""Frames: coherent, robust, repeatable. The worker: serves, skips, reports, ends."""

import io
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.manifold import trustworthiness
from waiting import until

from mvm.geometry import umap_film as projection
from mvm.geometry.umap_film import project
from mvm.jobs import umap_worker
from mvm.jobs.process import PROJECTION
from mvm.jobs.umap_worker import Projector
from mvm.runs import frames as run_frames
from mvm.runs.frames import read_frame
from mvm.runs.layout import frame_path


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def ring(m, *, turn=0.0):
    angle = np.linspace(0, 2 * np.pi, m, endpoint=False) + turn
    return np.stack([np.cos(angle), np.sin(angle), 0.2 * np.cos(3 * angle)], axis=1)


def write_snapshot(run, step, *, variants=2, n=20, seed=0, **changed):
    (run / "snapshots").mkdir(parents=True, exist_ok=True)
    tensors = {
        "real_embedding": normal(variants, n, 4, seed=seed).astype(np.float32),
        "fake_embedding": normal(variants, n, 4, seed=seed + 1).astype(np.float32),
        "fake": normal(variants, n, 2).astype(np.float32),
    }
    save_file(tensors | changed, run / "snapshots" / f"{step:08d}.safetensors")


# --- one frame -------------------------------------------------------------------------------------------


def test_a_frame_keeps_neighbours_and_is_repeatable():
    x = ring(80)
    frame = project(x)
    assert frame.shape == (80, 2)
    assert frame.dtype == np.float32
    assert trustworthiness(x, frame, n_neighbors=5) > 0.95
    np.testing.assert_array_equal(project(x.copy()), frame)
    following = project(ring(80, turn=0.05), previous=frame)
    np.testing.assert_array_equal(project(ring(80, turn=0.05), previous=frame), following)
    assert trustworthiness(x, following, n_neighbors=5) > 0.95


def test_the_next_frame_stays_where_the_last_one_was():
    first = project(ring(80))
    second = ring(80, turn=0.05)
    coherent = np.linalg.norm(project(second, previous=first) - first, axis=1).mean()
    fresh = np.linalg.norm(project(second[::-1])[::-1] - first, axis=1).mean()
    assert coherent < fresh / 2
    np.testing.assert_allclose(project(second, previous=first).mean(0), first.mean(0), atol=1e-4)


def test_alignment_is_orthogonal_procrustes():
    """No rotation and no reflection about the means comes nearer."""
    onto, turned = normal(30, 2), normal(30, 2, seed=1) @ np.diag([2.0, 1.0]) + 5
    least = np.linalg.norm(projection.aligned(turned, onto) - onto)
    centred, target = turned - turned.mean(0), onto - onto.mean(0)
    found = []
    for angle in np.linspace(0, 2 * np.pi, 2000):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        found += [np.linalg.norm(centred @ turn @ np.diag([1, side]) - target) for side in (1, -1)]
    assert least <= min(found) < least + 1e-4
    mirrored = onto[:, ::-1] * [1, -1] + 3  # a rotation by 90°, shifted: undone exactly
    np.testing.assert_allclose(projection.aligned(mirrored, onto), onto, atol=1e-12)
    apart = np.linalg.norm(turned[:, None] - turned[None], axis=-1)
    aligned = projection.aligned(turned, onto)
    np.testing.assert_allclose(np.linalg.norm(aligned[:, None] - aligned[None], axis=-1), apart, atol=1e-12)


def test_neighbours_are_exact():
    x = normal(50, 3) + 100  # far from the origin, where squares cancel
    index, distance = projection._nearest(x, 8)
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    expected_index, expected_distance = apart.argsort(axis=1)[:, :8], np.sort(apart, axis=1)[:, :8]
    np.testing.assert_array_equal(index[:, 0], np.arange(50))
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_allclose(distance, expected_distance, rtol=1e-5, atol=1e-5)
    index, distance = projection._nearest(np.zeros((6, 2)), 3)
    np.testing.assert_array_equal(index[:, 0], np.arange(6))
    assert (distance == 0).all()


@pytest.mark.parametrize("m", [0, 1, 2, 3, 5, 8, 15, 16])
@pytest.mark.parametrize("with_previous", [False, True])
def test_small_sets(m, with_previous):
    frame = project(normal(m, 3), previous=normal(m, 2, seed=1) if with_previous else None)
    assert frame.shape == (m, 2)
    assert np.isfinite(frame).all()
    assert len(np.unique(frame, axis=0)) == m


def test_one_dimensional_embeddings():
    frame = project(np.linspace(0, 1, 60)[:, None])
    assert trustworthiness(np.linspace(0, 1, 60)[:, None], frame, n_neighbors=5) > 0.95


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_embeddings_is_no_matter(scale):
    assert trustworthiness(ring(60), project(ring(60) * scale), n_neighbors=5) > 0.95


def test_collapsed_embeddings_are_one_point():
    previous = normal(40, 2)
    for collapsed in (np.full((40, 3), 7.0), 7 + 1e-9 * normal(40, 3), np.zeros((40, 3))):
        assert (project(collapsed) == 0).all()
        np.testing.assert_allclose(project(collapsed, previous=previous), np.tile(previous.mean(0), (40, 1)))


@pytest.mark.parametrize("with_previous", [False, True])
def test_collapsed_fakes_are_one_dot_beside_the_reals(with_previous):
    x = np.concatenate([ring(40), np.zeros((40, 3))])
    frame = project(x, previous=normal(80, 2) if with_previous else None)
    assert np.isfinite(frame).all()
    assert (frame[40:] == frame[40]).all()
    assert len(np.unique(frame[:40], axis=0)) == 40


def test_two_places_only():
    frame = project(np.repeat([[0.0, 0.0], [1.0, 1.0]], 30, axis=0))
    assert len(np.unique(frame, axis=0)) == 2
    assert np.isfinite(frame).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_embedding_gives_a_nan_frame(bad):
    x = ring(40)
    x[3, 1] = bad
    assert np.isnan(project(x)).all()
    assert np.isnan(project(x, previous=normal(40, 2))).all()


@pytest.mark.parametrize(
    "previous",
    [np.full((40, 2), np.nan), np.zeros((40, 2)), np.stack([np.arange(40.0), np.ones(40)], 1), normal(39, 2)],
    ids=["nan", "collapsed", "constant column", "another size"],
)
def test_a_previous_frame_that_cannot_serve_is_ignored(previous):
    np.testing.assert_array_equal(project(ring(40), previous=previous), project(ring(40)))


def test_a_failing_spectral_start_falls_back(monkeypatch):
    import umap.umap_

    def fail(*args, **kwargs):
        raise RuntimeError("no eigenvectors")

    monkeypatch.setattr(umap.umap_, "spectral_layout", fail)
    assert trustworthiness(ring(60), project(ring(60)), n_neighbors=5) > 0.95


@pytest.mark.parametrize("shape", [(5,), (2, 5, 3), (5, 0)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"must be \(m, k\)"):
        project(np.zeros(shape))


def test_no_warning_escapes(recwarn):
    project(np.concatenate([ring(20), ring(20) + 1e4]))
    project(ring(10))
    assert not recwarn.list


# --- frames on disk --------------------------------------------------------------------------------------


def test_reading_frames(tmp_path):
    assert frame_path(tmp_path, 1000) == tmp_path / "frames" / "00001000.npy"
    assert read_frame(tmp_path, 1000) is None
    (tmp_path / "frames").mkdir()
    frame = normal(2, 6, 2).astype(np.float32)
    np.save(frame_path(tmp_path, 1000), frame)
    np.testing.assert_array_equal(read_frame(str(tmp_path), 1000), frame)
    for damaged in (b"", b"junk", frame_path(tmp_path, 1000).read_bytes()[:-5]):
        frame_path(tmp_path, 2000).write_bytes(damaged)
        assert read_frame(tmp_path, 2000) is None
    np.save(frame_path(tmp_path, 3000), np.array([{}], dtype=object), allow_pickle=True)
    assert read_frame(tmp_path, 3000) is None


def test_each_variant_starts_at_its_nearest_usable_frame(tmp_path):
    (tmp_path / "frames").mkdir()
    frames = {step: normal(2, 8, 2, seed=step).astype(np.float32) for step in (100, 200, 300)}
    frames[200][1] = np.nan
    for step, frame in frames.items():
        np.save(frame_path(tmp_path, step), frame)
    starts = run_frames._nearest_frames(str(tmp_path), 220, (2, 8, 4))
    np.testing.assert_array_equal(starts[0], frames[200][0])
    np.testing.assert_array_equal(starts[1], frames[300][1])
    assert run_frames._nearest_frames(str(tmp_path), 220, (2, 9, 4)) == [None, None]
    assert run_frames._nearest_frames(str(tmp_path), 220, (3, 8, 4)) == [None] * 3


# --- the worker, in this process (which has compiled already) --------------------------------------------


class Worker:
    """The loop of the worker on a thread, with pipes for its standard input and output."""

    def __init__(self):
        read, write = os.pipe()
        self.lines = open(write, "w")  # noqa: SIM115, PTH123
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=umap_worker._work, args=(open(read), self))  # noqa: SIM115, PTH123
        self._thread.start()
        assert self.answer() == {"ready": True}

    def write(self, line):
        self._answers.put(line)

    def flush(self):
        pass

    def ask(self, *requests):
        self.lines.write("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in requests))
        self.lines.flush()

    def answer(self):
        until(lambda: not self._answers.empty(), "an answer")
        return json.loads(self._answers.get())

    def close(self):
        self.lines.close()
        until(lambda: not self._thread.is_alive(), "the worker's end")
        return [json.loads(self._answers.get()) for _ in range(self._answers.qsize())]


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


def request(run, step, **more):
    return {"run": str(run), "step": step} | more


def test_a_request_is_served(tmp_path, worker):
    write_snapshot(tmp_path, 1000)
    worker.ask(request(tmp_path, 1000))
    answer = worker.answer()
    assert answer.keys() == {"run", "step", "seconds"}
    assert (answer["run"], answer["step"]) == (str(tmp_path), 1000)
    frame = read_frame(tmp_path, 1000)
    assert frame.dtype == np.float32
    real, fake = normal(2, 20, 4), normal(2, 20, 4, seed=1)
    for v in range(2):  # real rows first, variants apart
        both = np.concatenate([real[v], fake[v]]).astype(np.float32)
        np.testing.assert_array_equal(frame[v], project(both))
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["00001000.npy"]  # no leftovers


def test_the_next_frame_starts_at_the_last(tmp_path, worker):
    write_snapshot(tmp_path, 1000, variants=1)
    write_snapshot(tmp_path, 2000, variants=1, seed=5)
    for step in (1000, 2000):
        worker.ask(request(tmp_path, step))
        worker.answer()
    both = np.concatenate([normal(1, 20, 4, seed=5)[0], normal(1, 20, 4, seed=6)[0]]).astype(np.float32)
    expected = project(both, previous=read_frame(tmp_path, 1000)[0])
    np.testing.assert_array_equal(read_frame(tmp_path, 2000)[0], expected)


def test_an_existing_frame_is_left_alone_and_a_damaged_one_is_made_again(tmp_path, worker):
    write_snapshot(tmp_path, 1000)
    frame_path(tmp_path, 1000).parent.mkdir()
    there = np.zeros((2, 40, 2), dtype=np.float32)
    np.save(frame_path(tmp_path, 1000), there)
    worker.ask(request(tmp_path, 1000))
    assert "seconds" in worker.answer()
    np.testing.assert_array_equal(read_frame(tmp_path, 1000), there)
    frame_path(tmp_path, 1000).write_bytes(b"half a fra")
    worker.ask(request(tmp_path, 1000))
    assert "seconds" in worker.answer()
    assert np.ptp(read_frame(tmp_path, 1000)) > 0


def test_the_newest_request_goes_first_and_once(tmp_path):
    for step in (1, 2, 3):
        write_snapshot(tmp_path, step)
    lines = io.StringIO("".join(json.dumps(request(tmp_path, step)) + "\n" for step in (1, 2, 3, 2)))
    requests = umap_worker._Requests(Held(lines), report=lambda **_: None)
    assert [next(iter(requests))[1] for _ in range(3)] == [2, 3, 1]
    assert not requests._waiting
    lines.closed_now.set()
    assert list(requests) == []


class Held:
    """Lines, all at once, then an end only when told to."""

    def __init__(self, lines):
        self._lines = lines
        lines.closed_now = threading.Event()

    def __iter__(self):
        yield from self._lines
        self._lines.closed_now.wait()


def test_broken_snapshots_and_requests_are_reported_and_survived(tmp_path, worker):
    write_snapshot(tmp_path, 1000)
    write_snapshot(tmp_path, 3000, real_embedding=np.zeros((4, 3), np.float32))
    (tmp_path / "snapshots" / "00002000.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    broken = {
        2000: "SafetensorError: ",
        3000: "ValueError: 00003000.safetensors: embeddings",
        4000: "FileNotFoundError: ",
    }
    for step, error in broken.items():
        worker.ask(request(tmp_path, step))
        answer = worker.answer()
        assert (answer["run"], answer["step"]) == (str(tmp_path), step)
        assert answer["error"].startswith(error)
    for line in ("{half\n", "[1]\n", '{"run": "x"}\n', '{"run": "x", "step": "one"}\n'):
        worker.ask(line)
        assert "not a request" in worker.answer()["error"]
    worker.ask(request(tmp_path, 1000))
    assert "seconds" in worker.answer()


def test_a_diverged_variant_has_a_nan_frame(tmp_path, worker):
    bad = normal(2, 20, 4).astype(np.float32)
    bad[1] = np.nan
    write_snapshot(tmp_path, 1000, fake_embedding=bad)
    worker.ask(request(tmp_path, 1000))
    worker.answer()
    frame = read_frame(tmp_path, 1000)
    assert np.isfinite(frame[0]).all()
    assert np.isnan(frame[1]).all()


def test_missing_frames_are_filled_from_the_earliest_on(tmp_path, worker, monkeypatch):
    monkeypatch.setattr(umap_worker, "IDLE_SECONDS", 0.05)
    for step in (100, 200, 300):
        write_snapshot(tmp_path, step)
    (tmp_path / "snapshots" / "00000150.safetensors").write_bytes(b"broken")
    worker.ask(request(tmp_path, 300, fill=True))
    answers = [worker.answer() for _ in range(4)]
    assert [answer["step"] for answer in answers] == [300, 100, 150, 200]
    assert "error" in answers[2]
    assert worker.close() == []  # the broken one is not tried again


@pytest.mark.parametrize(("fill", "then"), [(False, 300), (True, 100)])
def test_nothing_is_filled_while_a_run_trains(tmp_path, monkeypatch, fill, then):
    """The step after a request for 200: another request that comes once the worker is idle, or a frame to fill."""
    monkeypatch.setattr(umap_worker, "IDLE_SECONDS", 0)
    for step in (100, 200):
        write_snapshot(tmp_path, step)
    idle, asked = threading.Event(), threading.Event()

    def lines():
        yield json.dumps(request(tmp_path, 200, fill=fill))
        idle.wait()
        yield json.dumps(request(tmp_path, 300, fill=fill))
        asked.wait()  # the worker leaves with the end of its input

    requests = umap_worker._Requests(lines(), report=lambda **_: None)
    until(lambda: requests._waiting, "the first request")
    wait = requests._news.wait
    monkeypatch.setattr(requests._news, "wait", lambda timeout: idle.set() or wait(timeout))
    jobs = iter(requests)
    assert [next(jobs)[1], next(jobs)[1]] == [200, then]
    for event in (idle, asked):
        event.set()


# --- the worker, as a process ----------------------------------------------------------------------------


def test_projector_end_to_end(tmp_path, monkeypatch):
    monkeypatch.delenv("MVM_NICE", raising=False)
    write_snapshot(tmp_path, 1000)
    (tmp_path / "snapshots" / "00002000.safetensors").write_bytes(b"broken")
    projector = Projector()
    assert not projector.ready
    assert projector.request(tmp_path, 1000)
    assert projector.request(tmp_path, 2000)
    until(lambda: read_frame(tmp_path, 1000) is not None and projector.errors, "a frame and an error")
    assert projector.ready
    assert projector.errors.keys() == {(str(tmp_path), 2000)}
    worker = projector._worker
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) == PROJECTION
    closing = threading.Thread(target=projector.close, kwargs={"timeout": 3600}, daemon=True)
    closing.start()
    until(lambda: not closing.is_alive(), "the worker's end")
    assert worker.returncode == 0  # it left by itself when its input closed
    assert not projector.ready
    assert not projector.request(tmp_path, 1000)


def test_what_a_worker_has_compiled_the_next_need_not():
    script = (
        "import numpy; from mvm.geometry import umap_film as projection; "
        "projection.project(numpy.random.default_rng(0).normal(size=(64, 4))); "
        "from umap import layouts as l, umap_ as u; "
        "slow = u.smooth_knn_dist, u.compute_membership_strengths, l._nb_optimize_layout_euclidean_single_epoch; "
        "print([f.stats.cache_misses.total() for f in slow], [f.stats.cache_hits.total() for f in slow])"
    )
    worker = subprocess.run(
        [sys.executable, "-m", "mvm.jobs.umap_worker"], stdin=subprocess.DEVNULL, capture_output=True
    )
    assert worker.stdout == b'{"ready": true}\n'
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[-2] == "[0, 0, 0] [1, 1, 1]"


def test_a_busy_worker_ends_with_its_app():
    busy = (
        "import os, threading; from mvm.jobs.umap_worker import _leave_with; "
        "threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start(); "
        "print(os.getpid(), flush=True)\nwhile True: pass"
    )
    app = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {busy!r}], text=True, "
    app += "stdout=subprocess.PIPE).stdout.readline())"
    worker = int(subprocess.run([sys.executable, "-c", app], capture_output=True, text=True, check=True).stdout)

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    until(is_gone, "the worker's end")


def test_a_dead_worker_is_replaced_a_limited_number_of_times(tmp_path):
    projector = Projector(restarts=1)
    workers = []
    for _ in range(2):
        assert projector.request(tmp_path, 1)
        workers.append(projector._worker)
        projector._worker.kill()
        projector._worker.wait()
        assert projector.gave_up == (len(workers) == 2)
    assert not projector.request(tmp_path, 1)
    assert workers[0].pid != workers[1].pid
    projector.close()
