"""The command line, one file per noun; `fmlab/cli.py` puts them together."""
