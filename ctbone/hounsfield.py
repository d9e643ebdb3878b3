"""Values in Hounsfield units (HU) that several modules share: water is 0 HU, air about −1000."""

AIR = -1024
"""HU outside the scanner's field of view; the lowest value of every volume that ctbone writes."""

BODY_HU = -300.0
"""HU above which a voxel is in the body: fat is at −120 to −50, lung and air are below −500."""
