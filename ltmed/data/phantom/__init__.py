"""The embedded data set `phantom`: seven classes of procedural, dermoscopy-like lesion images with a long tail.

`recipes` says what each class looks like, `render` draws, `write` decides which images there are and stores them.
"""

from ltmed.data.phantom.write import CODES, COUNTS, MANIFEST, write_phantom

__all__ = ["CODES", "COUNTS", "MANIFEST", "write_phantom"]
