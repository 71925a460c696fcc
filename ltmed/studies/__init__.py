"""A paper's table as one command: study files, the run behind each cell, published figures, the sweeper."""
