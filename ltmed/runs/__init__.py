"""The folder of a run: its name and lock, what is written there, what is read back."""
