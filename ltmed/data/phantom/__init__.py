"""The embedded data sets: `phantom`, lesion images of seven classes, and `phantom_multi`, chest-like radiographs.

`recipes` says what each class looks like, `render` draws, `write` decides which images there are and stores them;
`chest` and `write_multi` do so for radiographs with any of twelve findings.
"""

from ltmed.data.phantom.write import CODES, COUNTS, MANIFEST, write_phantom

__all__ = ["CODES", "COUNTS", "MANIFEST", "write_phantom"]
