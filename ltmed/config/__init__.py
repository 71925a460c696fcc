"""From the command line to typed objects: compose, override syntax, instantiate, validate."""
