"""Simulated people, motion, sensors and rigs: they write captures and draw synthetic samples."""
