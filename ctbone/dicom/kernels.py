"""Which reconstruction kernels are made for bone, and which for soft tissue."""

from __future__ import annotations

import re
from typing import Literal

Tissue = Literal["bone", "soft", "unknown"]

_BONE = re.compile(r"BONE|EDGE|SHARP|LUNG|DETAIL|ULTRA|^(D|E|L|YA|YB|YC|YD|YE)$")
_SOFT = re.compile(r"STANDARD|STAND|SOFT|SMOOTH|STD|BRAIN|^(A|B|C|UA|UB|UC|EA|EB|EC)$")
_SIEMENS = re.compile(r"^[A-Z]{1,2}(\d\d)[A-Z]?")
_CANON = re.compile(r"^FC(\d\d)")
_SIEMENS_SHARP = 50
_CANON_SHARP = 30


def tissue_of(kernel: str) -> Tissue:
    """Tell what a ConvolutionKernel is made for, by the makers' naming.

    Siemens numbers rise with sharpness (B10–B45 soft, from 50 sharp); Canon and Toshiba FC01–FC29 are for body and
    head, from FC30 for bone and lung; GE and Philips use words and letters.

    Examples
    --------
    >>> [tissue_of(kernel) for kernel in ("BONEPLUS", "STANDARD", "B30f", "Br64d 3", "FC30", "UB", "")]
    ['bone', 'soft', 'soft', 'bone', 'bone', 'soft', 'unknown']
    """
    name = kernel.upper().strip()
    canon = _CANON.match(name)
    if canon:
        return "bone" if int(canon[1]) >= _CANON_SHARP else "soft"
    siemens = _SIEMENS.match(name)
    if siemens:
        return "bone" if int(siemens[1]) >= _SIEMENS_SHARP else "soft"
    if _BONE.search(name):
        return "bone"
    return "soft" if _SOFT.search(name) else "unknown"
