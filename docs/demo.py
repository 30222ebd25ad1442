"""Make the demo that ships with the app, `app/demo.zip`: train a run, project it, round it and pack it. Four minutes.

    python docs/demo.py              # then look at it: MVM_CHECKPOINTS=$(mktemp -d) mvm app

The ZIP is an ordinary packed run that `mvm unpack` opens. Its numbers are rounded to a few significant bits, which
nobody sees in a cloud, so that they compress to less than half. Only the last checkpoint is kept, for the networks in
it; the optimiser's moments are 0, as a finished run is not resumed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

REPOSITORY = Path(__file__).parents[1]
NAME = "demo"
SETTINGS = ("--data", "swiss_roll", "--variants", "centroid", "diameter", "both", "--steps", "4000",
            "--snapshots", "16", "--view-points", "200", "--records", "100", "--checkpoints", "1",
            "--threads", "1")  # fmt: skip
BITS = {"snapshots": 8, "frames": 8}  # of a float's significand, by folder
MOST_BITS = 11  # elsewhere: of the networks' weights
MOMENTS = (".exp_avg", ".exp_avg_sq")
EPOCH = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "app" / "demo.zip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as checkpoints:
        os.environ |= {"MVM_CHECKPOINTS": checkpoints, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "-m", "mvm", "train", *SETTINGS, "--name", NAME], check=True)
        pack_small(Path(checkpoints), options.out)
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


def pack_small(checkpoints: Path, out: Path) -> None:
    """Project, round and pack the run `NAME`, and compress every member."""
    from mvm.runs.archive import pack
    from mvm.runs.frames import make_frame
    from mvm.runs.run import Run

    run = Run(checkpoints / NAME)
    for step in run.snapshot_steps():
        make_frame(run.path, step)
    for path in run.path.rglob("*.safetensors"):
        bits = BITS.get(path.parent.name, MOST_BITS)
        tensors = {name: rounded(array, bits) for name, array in load_file(path).items()}
        save_file(
            {name: np.zeros_like(array) if name.endswith(MOMENTS) else array for name, array in tensors.items()}, path
        )
    for path in run.path.glob("frames/*.npy"):
        np.save(path, rounded(np.load(path), BITS["frames"]))
    for step in run.checkpoint_steps():
        run.kept_path(step).unlink()
    packed = checkpoints / "packed.zip"
    pack(run, packed)
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name in source.namelist():
            target.writestr(zipfile.ZipInfo(name, EPOCH), source.read(name), zipfile.ZIP_DEFLATED)


def rounded(array: np.ndarray, bits: int) -> np.ndarray:
    """Floats with this many significant bits; others as they are."""
    if array.dtype != np.float32:
        return array
    mantissa, exponent = np.frexp(array)
    return np.asarray(np.ldexp(np.round(mantissa * 2**bits), exponent - bits), dtype=np.float32)


if __name__ == "__main__":
    main()
