"""The command line: one file per command, the error boundary, help, and the entry points of worker processes."""
