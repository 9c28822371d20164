"""`python -m invad` is the command `invad`."""

from invad.cli.main import main

main()
