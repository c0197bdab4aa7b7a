"""`python -m emo_model` is the `emo` command."""

from emo_model.cli import main

main(prog_name="emo")
