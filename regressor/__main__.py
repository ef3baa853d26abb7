"""``python -m regressor`` is ``pose-regressor``: what ``torchrun -m regressor train …`` starts in each process."""

from .commands.cli import main

main(prog_name="pose-regressor")
