"""The grid itself, with the experiments of tiny_grid.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from tiny_grid import shrink

shrink()


include: "../Snakefile"
