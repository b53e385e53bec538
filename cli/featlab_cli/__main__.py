"""`python -m featlab_cli`, as torchrun starts it."""

from featlab_cli.main import run

run()
