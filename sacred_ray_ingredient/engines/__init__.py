"""Engines execute the trials of a sweep."""
