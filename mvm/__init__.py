"""Manifold matching via deep metric learning: the method, its peers, the runs and their scores."""

import os

# Threads of one training would otherwise spin while they wait for each other, and take the processor from all others:
# without spinning, pictures on two threads train 2.5 times as fast beside the app. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
