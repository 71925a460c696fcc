"""Where metrics go: metrics.csv, Weights & Biases, tables on the terminal."""
