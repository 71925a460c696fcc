"""A table or a search as one command: study files, the run behind each cell, published figures, the sweeper, rungs."""
