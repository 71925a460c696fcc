"""Pictures of data sets, runs and methods: plain data in, matplotlib Figure out; `runs.py` draws those of run folders.

Imported only where pictures are drawn, since matplotlib takes half a second.
"""
