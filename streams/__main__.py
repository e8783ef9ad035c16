"""`python -m streams` is the command `nextclick`."""

from streams.cli import main

main()
