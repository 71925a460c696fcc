"""The embedded data sets: `phantom`, lesion images of seven classes, and `phantom_multi`, chest-like radiographs.

`recipes` has the appearance of each class, `render` draws the images, `write` plans and stores them; `chest` and
`write_multi` do the same for radiographs with any of twelve findings.
"""

from ltmed.data.phantom.write import CODES, COUNTS, MANIFEST, write_phantom

__all__ = ["CODES", "COUNTS", "MANIFEST", "write_phantom"]
