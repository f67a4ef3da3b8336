"""Depth captures, real or simulated: cameras, layouts on disk, calibration, hand centres, crops."""
