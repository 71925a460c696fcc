"""Tables of finished runs: comparison, statistics, and renderers for terminal, Markdown, LaTeX, CSV and HTML."""
