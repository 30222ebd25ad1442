"""Side by side: each script prints its table with the command and the device, and keeps what it has measured."""
