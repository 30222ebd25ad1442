"""People without a home to write in: UMAP and figures work, from a folder of this user alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from numba.core import config
from numba.core.caching import _CacheLocator
from waiting import until

from mvm import library_caches
from mvm.jobs.umap_worker import Projector
from mvm.library_caches import FOLDERS, find_library_caches

NO_HOME = {  # even to root
    "a file in its place": lambda folder: folder / "file" / "home",
    "no file system of files": lambda _: Path("/proc/self/home"),
    "none known": lambda _: None,
}


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """The folder of temporary files, and no variable set."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "temporary"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        for name, (base, _) in FOLDERS.items():
            for variable in (name, base):
                patch.setenv(variable, "")  # so that the end restores it
                patch.delenv(variable)
        yield folder
    config.reload_config()


@pytest.fixture(params=NO_HOME)
def no_home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = NO_HOME[request.param](tmp_path)
    if home is None:
        monkeypatch.setattr(Path, "home", raise_no_home)
    else:
        monkeypatch.setenv("HOME", str(home))


def raise_no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def named() -> dict[str, str]:
    return {name: os.environ[name] for name in FOLDERS if name in os.environ}


@pytest.mark.usefixtures("no_home")
def test_without_a_home_both_libraries_have_one_private_folder(temporary: Path) -> None:
    find_library_caches()
    (folder,) = temporary.iterdir()
    assert named() == {"NUMBA_CACHE_DIR": f"{folder}/numba_cache_dir", "MPLCONFIGDIR": f"{folder}/mplconfigdir"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert f"{folder}/numba_cache_dir" == config.CACHE_DIR, "also where numba was imported before"
    found = named()
    for name in FOLDERS:
        del os.environ[name]
    find_library_caches()
    assert named() == found, "the next process finds what this one has compiled"


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("taken", ["open to all", "a link", "a file", "of another user"])
def test_a_folder_that_others_can_write_to_is_passed_over(
    temporary: Path, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numba unpickles what it finds."""
    expected = temporary / f"mvm-lab-{os.geteuid()}"
    if taken == "open to all":
        expected.mkdir()
        expected.chmod(0o777)
    elif taken == "a link":
        (temporary / "elsewhere").mkdir()
        expected.symlink_to(temporary / "elsewhere")
    elif taken == "a file":
        expected.write_text("")
    else:
        uid = os.geteuid()
        monkeypatch.setattr(library_caches.os, "geteuid", lambda: uid + 1)
        (temporary / f"mvm-lab-{uid + 1}").mkdir(mode=0o700)
        expected = temporary / f"mvm-lab-{uid + 1}"
    find_library_caches()
    folders = {Path(folder).parent for folder in named().values()}
    assert len(folders) == 1
    assert expected not in folders
    assert folders.pop().stat().st_mode & 0o777 == 0o700


def test_a_home_that_can_be_written_to_is_left_alone(temporary: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "new" / "home"))
    find_library_caches()
    assert named() == {}
    assert not list(temporary.iterdir())
    assert not (tmp_path / "new").exists(), "the libraries make their folders themselves"


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_variable_that_is_set_holds(temporary: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/chosen")
    find_library_caches()
    assert os.environ[name] == "/chosen"
    assert len(named()) == len(FOLDERS)


def copy_compiled(folder: Path, *, but: str) -> None:
    """Copy the code of UMAP that is compiled beside its source into a cache elsewhere, without one function's."""
    for package in ("umap", "pynndescent"):
        source = Path(find_spec(package).origin)
        own = folder / _CacheLocator.get_suitable_cache_subpath(str(source))
        shutil.copytree(source.parent / "__pycache__", own, ignore=shutil.ignore_patterns(but, "*.pyc"))


def test_umap_and_figures_work_without_a_home(temporary: Path, tmp_path: Path) -> None:
    """As `docker run -u nobody`: numba may use no folder but the one that is named to it, to read and to write."""
    code = """
from mvm.geometry.umap_film import _umap_class
from mvm.figures.venues import styled, venue_of
_umap_class()
with styled(venue_of("icml")):
    import matplotlib
print(matplotlib.get_cachedir())
"""
    private = temporary / f"mvm-lab-{os.geteuid()}"
    private.mkdir(mode=0o700)
    copy_compiled(private / "numba_cache_dir", but="layouts.rdist*")  # all take half a minute
    no_home = {"HOME": str(tmp_path / "file" / "home"), "TMPDIR": str(temporary)}
    no_home |= {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | no_home, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{private}/mplconfigdir\n"
    assert {file.suffix for file in private.rglob("layouts.rdist*")} == {".nbi", ".nbc"}


@pytest.mark.parametrize("last", ["RuntimeError: no locator available", "ImportError: numba wants NumPy 9"])
def test_a_worker_that_does_not_start_says_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, last: str
) -> None:
    def dies(module: str, **options) -> subprocess.Popen:
        options.pop("more")
        code = f"import sys; print('Traceback', {last!r}, '', sep='\\n', file=sys.stderr)"
        return subprocess.Popen([sys.executable, "-S", "-c", code], bufsize=0, **options)

    monkeypatch.setattr("mvm.jobs.umap_worker.start", dies)
    with Projector(restarts=1) as projector:
        until(lambda: not projector.request(tmp_path, 0) and projector.gave_up, "the worker's deaths")
        until(lambda: projector.last_line == last, "its last line")
    assert last in capsys.readouterr().err


def test_compiled_networks_are_kept_in_the_users_caches(tmp_path: Path, temporary: Path, monkeypatch) -> None:
    """Under the home, under another base, and where a variable says."""
    own = tmp_path / "home" / FOLDERS["NUMBA_CACHE_DIR"][1]
    for variable, value, expected in (
        ("HOME", tmp_path / "home", own / "mvm-lab/inductor"),
        ("XDG_CACHE_HOME", tmp_path / "caches", tmp_path / "caches/mvm-lab/inductor"),
        ("TORCHINDUCTOR_CACHE_DIR", tmp_path / "named", tmp_path / "named"),
    ):
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
        monkeypatch.setenv(variable, str(value))
        library_caches.find_compiler_cache()
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(expected)


@pytest.mark.usefixtures("no_home")
def test_compiled_networks_without_a_home_are_kept_in_a_folder_of_this_user(temporary: Path, monkeypatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    library_caches.find_compiler_cache()
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.is_relative_to(temporary)
    assert folder.parent.stat().st_mode & 0o077 == 0
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
