"""Checkpoints as transformers 5 saves them, kept so that 4.36 can be shown to read them too."""
