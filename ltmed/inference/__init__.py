"""A finished run in use: its network, its preprocessing, prediction and export."""
