"""A plugin whose import fails: what it stands on is not there."""

import library_that_nobody_has  # noqa: F401
