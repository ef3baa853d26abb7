"""``python -m tokenizer`` is ``pose-tokenizer``: what ``torchrun -m tokenizer train …`` starts in each process."""

from .commands.cli import main

main(prog_name="pose-tokenizer")
