"""What every room may use: files, seeds, processes and collectives."""
