"""Single runs: their store, the launcher, the worker process."""
