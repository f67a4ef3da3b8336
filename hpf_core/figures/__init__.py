"""All figures, drawn with matplotlib. The same code makes the PNG files and the SVG of a run's report."""

import contextlib

from hpf_core.figures.isolated import import_matplotlib

# This import must precede the other modules of this package, because they import matplotlib. A failure repeats there,
# and `hpf_core.errors.skip_on_failure` turns it into a warning.
with contextlib.suppress(Exception):
    import_matplotlib()
