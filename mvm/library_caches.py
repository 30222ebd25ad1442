"""Folders of libraries that keep files, for people who have no home to write in: containers, shared installs.

    numba        compiled code: without a folder for it, umap cannot be imported     $NUMBA_CACHE_DIR
    matplotlib   its list of fonts: without, every process makes it anew             $MPLCONFIGDIR
    inductor     compiled networks: by default under the temporary folder,           $TORCHINDUCTOR_CACHE_DIR
                 which is emptied; here `mvm-lab/inductor` of the user's caches

They fall back to one folder under the system's temporary one. numba unpickles what it finds, so the folder is this
user's alone; a folder of that name that others can write to is passed over.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

__all__ = ["find_compiler_cache", "find_library_caches"]

MAC = sys.platform == "darwin"
FOLDERS = {  # by the variable that names another: variable of the base folder, and its default under the home
    "NUMBA_CACHE_DIR": ("XDG_CACHE_HOME", "Library/Caches" if MAC else ".cache"),
    "MPLCONFIGDIR": ("XDG_CONFIG_HOME", "" if MAC else ".config"),
}
COMPILER = "TORCHINDUCTOR_CACHE_DIR"


def find_library_caches() -> None:
    """Name a folder to each library that cannot write to its own; a variable that is set holds.

    Call it before such a library is imported.
    """
    lacking = [name for name, base in FOLDERS.items() if not os.environ.get(name) and not _is_writable(_base(*base))]
    if lacking:
        folder = _private_folder()
        os.environ.update({name: str(folder / name.lower()) for name in lacking})
    if (config := sys.modules.get("numba.core.config")) is not None:  # it has read its variables
        config.reload_config()


def find_compiler_cache() -> None:
    """Name a folder that outlives the machine's restart to the compiler of `torch.compile`; a set variable holds."""
    base = _base(*FOLDERS["NUMBA_CACHE_DIR"]) / "mvm-lab"
    if not os.environ.get(COMPILER):
        os.environ[COMPILER] = str((base if _is_writable(base) else _private_folder()) / "inductor")


def _base(variable: str, under_home: str) -> Path:
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / under_home
    except RuntimeError:  # no home is known
        return Path("~")


def _is_writable(folder: Path) -> bool:
    """Whether a folder can be written to, or made."""
    if not folder.is_absolute():  # there is no home
        return False
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    except OSError:  # a parent cannot be looked into
        return False


def _private_folder() -> Path:
    """A folder of this user alone, the same for all its processes if possible."""
    folder = Path(tempfile.gettempdir(), f"mvm-lab-{os.geteuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022:
            return folder
    except OSError:
        pass
    folder = Path(tempfile.mkdtemp(prefix="mvm-lab-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
