"""Side by side: each script prints its table with the command and the device, and keeps what it has measured."""

from mvm.jobs.process import set_training_environment

set_training_environment()  # as `mvm train` does; every benchmark imports torch
