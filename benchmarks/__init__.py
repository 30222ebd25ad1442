"""Side by side: each script prints its table with the command and the device, and keeps what it has measured."""

from mvm.jobs.process import print_any_text, set_training_environment

print_any_text()
set_training_environment()  # as `mvm train` does; every benchmark imports torch
