"""`python -m fmlab`: the command line."""

from fmlab.cli import main

main()
