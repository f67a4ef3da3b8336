"""The poses of a rig's cameras from the hands that they see, without labels: estimated points first, then surfaces."""
