"""What dies while sweeps run, and whether the record is true and complete afterwards."""
