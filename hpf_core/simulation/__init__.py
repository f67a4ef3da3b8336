"""Simulates people, motion, sensors and rigs, writes captures, and draws synthetic samples."""
