"""Example experiments: ordinary Sacred ones (inner) and the sweeps over them (outer)."""
