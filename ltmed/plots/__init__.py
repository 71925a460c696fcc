"""Figures of finished runs and studies, from their folders, and of losses; knows no method by name."""
