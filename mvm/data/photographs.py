import numpy as np, torch, hashlib, importlib.util
from dataclasses import dataclass
from pathlib import Path
from PIL import Image
from mvm.imaging.resize import SCALE, imresize

@dataclass(frozen=True)
class Collection:
    high: np.ndarray
    low: np.ndarray
    sizes: np.ndarray
    names: tuple
    skipped: tuple
    sha256: str
    def __len__(self): return len(self.names)
    def _at(self, i, a, s):
        h, w = self.sizes[i]; n = (self.sizes[:i].prod(1)).sum()
        return a[s*s*n: s*s*(n+h*w)].reshape(s*h, s*w, 3)
    def high_picture(self, i): return self._at(i, self.high, SCALE)
    def low_picture(self, i): return self._at(i, self.low, 1)

def make(paths):
    hs, ls, sz = [], [], []
    for p in paths:
        a = np.array(Image.open(p).convert("RGB")); a = a[: a.shape[0]//4*4, : a.shape[1]//4*4]
        l = imresize(torch.from_numpy(a), (a.shape[0]//4, a.shape[1]//4)).numpy()
        hs.append(a.reshape(-1,3)); ls.append(l.reshape(-1,3)); sz.append(l.shape[:2])
    return Collection(np.concatenate(hs), np.concatenate(ls), np.array(sz), tuple(Path(p).stem for p in paths), (), "")
def _sk(): return Path(importlib.util.find_spec("skimage").submodule_search_locations[0]) / "data"
def _sl(): return Path(importlib.util.find_spec("sklearn").submodule_search_locations[0]) / "datasets" / "images"
def built_in(): return make([_sk()/"motorcycle_left.png", _sk()/"motorcycle_right.png", _sl()/"china.jpg", _sl()/"flower.jpg", _sk()/"gravel.png", _sk()/"grass.png", _sk()/"brick.png"])
def held_out(): return make([_sk()/f for f in ("astronaut.png","coffee.png","chelsea.png","rocket.jpg")])
def open_collection(source, *, smallest, on_progress=None): return make(sorted(Path(source).iterdir()))
def describe_collection(c): return []
