"""The Ray cluster that a sweep runs on: connecting, what it has, whether it can run the trials."""
