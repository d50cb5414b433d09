"""Measurements against the ways in which such sweeps are run without this package."""
