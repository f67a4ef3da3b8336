"""Lies here so that tests of any folder can import what they share: `reference` and `scenes`."""
