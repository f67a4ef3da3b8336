"""Every figure, drawn once with matplotlib: the same code makes the PNG files and the SVG in a run's report."""

import contextlib

from hpf_core.figures.isolated import import_matplotlib

# Here, because this line runs before the modules of this room import matplotlib. What fails, fails again there, where
# `hpf_core.errors.skip_on_failure` makes a warning of it.
with contextlib.suppress(Exception):
    import_matplotlib()
