"""The command line: one file per command, the error boundary, help, and the entry points of worker processes."""

import gc

# Only in a process of the command line. A million objects of imported libraries stay; to look for garbage among them
# after every 700 new ones takes a tenth of the time until a run starts.
gc.set_threshold(20_000, 20, 20)
