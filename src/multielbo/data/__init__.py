"""Data sets: the embedded one, and those that `data_scripts` prepares."""
