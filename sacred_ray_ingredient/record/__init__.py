"""The record of a sweep: Sacred run documents in MongoDB."""
