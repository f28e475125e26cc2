"""The grid of runs: configs, presets, planner, results."""
