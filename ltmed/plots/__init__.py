"""Figures of finished runs, drawn from their folders; knows no method by name."""
