"""The commands of `python -m mvm`, one module per family: `add` puts a command's flags beside its code."""
