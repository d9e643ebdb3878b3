"""Allow-lists for header text: known technical terms are kept, other text is dropped."""

from __future__ import annotations

import re
from functools import lru_cache

# Defined terms of Modality (DICOM PS3.3, C.7.3.1.1.1).
_MODALITIES = """
    AR BI BMD CR CT DG DOC DX ECG EPS ES FID GM HC HD IO IVOCT IVUS KO LS M3D MG MR NM OAM OCT OP
    OPM OPT OPV OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT RWV SEG SM
    SMR SR SRF STAIN TG US VA XA XC
"""
# Defined terms of RescaleType (C.11.1.1.2), with their meaning; HU is first.
UNITS = {
    "HU": "Hounsfield units",
    "US": "unspecified",
    "OD": "optical density × 1000",
    "MGML": "mg/ml",
    "Z_EFF": "effective atomic number",
    "ED": "electron density, 10²³/ml",
    "EDW": "electron density relative to water",
    "HU_MOD": "modified Hounsfield units",
    "PCT": "percent",
}
# Defined terms of ContrastBolusAgentPhase (C.8.15.3.11).
_PHASES = """
    PRE_CONTRAST POST_CONTRAST IMMEDIATE DYNAMIC STEADY_STATE DELAYED ARTERIAL CAPILLARY VENOUS
    PORTAL_VENOUS
"""
_MANUFACTURERS = (
    "GE",
    "Siemens",
    "Philips",
    "Toshiba",
    "Canon",
    "Hitachi",
    "Fujifilm",
    "Neusoft",
    "United Imaging",
    "Samsung",
)
# Words in model names of CT scanners.
_MODEL_NAMES = """
    somatom definition flash edge as as+ force drive confidence go.up go.top go.all go.now go.sim
    go.open_pro perspective emotion duo sensation open volume zoom plus scope power spirit x.cite
    x.ceed naeotom alpha biograph mct horizon vision truepoint balance lightspeed lightspeed16 vct
    pro16 pro ultra qx/i rt rt16 xtra hispeed dual rhapsode brightspeed elite excel select optima
    discovery st ste rx hd revolution ct evo gsi apex frontier maxima ascend performix access
    brilliance big bore ingenuity core core128 flex ict sp tf iqon spectral incisive mx mx8000 idt
    vereos gemini gxl aquilion one prime lightning cxl cx lb rxl genesis exceed insight serve start
    asteion activion alexion advance xpress/gx super multi scenaria view supria eclos presto uct umi
    neuviz extra fidex glory epoch meridian aurora ct/i slice slices system scanner
"""
_MODEL_WORDS = frozenset(_MODEL_NAMES.split())
_MODEL_NUMBER = re.compile(r"([a-z]{1,3})?\d{1,3}[a-z+]{0,2}")
_KERNEL = re.compile(
    r"""[A-Z][a-z]{0,2}\d\d[a-z]{0,2}([ /-]?[1-5])?    # Siemens: B30f, Br64d 3, I41s 2
      | FC\d\d(-[A-Z0-9]{1,2})?                         # Canon, Toshiba: FC13, FC51-H
      | [A-FL] | [UEYC][A-F]                            # Philips: UB, YC
      | (HD[ ]?)?                                       # GE, and plain words
        (STANDARD|STAND|STND|STD|SOFT[ ]?TISSUE|SOFT|SMOOTH|MEDIUM|SHARP|DETAIL
        |BONE[ ]?PLUS|BONE|EDGE|ULTRA|LUNG|CHEST|BRAIN|HEAD|BODY)([ ]?(PLUS|HD|\+|\d))?
    """,
    re.VERBOSE | re.IGNORECASE,
)


@lru_cache(256)
def known_modality(text: str) -> str:
    """Return a modality of the DICOM standard, or an empty string.

    Examples
    --------
    >>> known_modality("CT"), known_modality("DOE")
    ('CT', '')
    """
    code = text.strip().upper()
    return code if code in _MODALITIES.split() else ""


@lru_cache(256)
def known_unit(text: str) -> str:
    """Return a defined term of RescaleType, ``other``, or an empty string for empty text.

    Examples
    --------
    >>> [known_unit(text) for text in ("HU", "Z_EFF", "DOE", "")]
    ['HU', 'Z_EFF', 'other', '']
    """
    unit = text.strip().upper()
    return unit if not unit or unit in UNITS else "other"


@lru_cache(256)
def known_phase(text: str) -> str:
    """Return a contrast phase of the DICOM standard, or an empty string.

    Examples
    --------
    >>> known_phase("ARTERIAL"), known_phase("DOE")
    ('ARTERIAL', '')
    """
    phase = text.strip().upper()
    return phase if phase in _PHASES.split() else ""


@lru_cache(256)
def known_kernel(text: str) -> str:
    """Return a reconstruction kernel with a name that a manufacturer uses, or an empty string.

    Examples
    --------
    >>> [known_kernel(text) for text in ("Br64d 3", "BONEPLUS", "FC51", "UB")]
    ['Br64d 3', 'BONEPLUS', 'FC51', 'UB']
    >>> [known_kernel(text) for text in ("DOE^JANE", "Doe", "19770301")]
    ['', '', '']
    """
    kernel = text.strip()
    return kernel if _KERNEL.fullmatch(kernel) else ""


@lru_cache(256)
def known_manufacturer(text: str) -> str:
    """Return the short name of a known manufacturer, ``other``, or an empty string for empty text.

    Examples
    --------
    >>> [known_manufacturer(text) for text in ("GE MEDICAL SYSTEMS", "SIEMENS", "Somebody", "")]
    ['GE', 'Siemens', 'other', '']
    """
    folded = text.casefold()
    found = next(
        (name for name in _MANUFACTURERS if re.search(rf"\b{name.casefold()}\b", folded)), ""
    )
    return found or ("other" if folded.strip() else "")


@lru_cache(256)
def known_model(text: str) -> str:
    """Return a scanner model if every word is a known one or a short number, else an empty string.

    Examples
    --------
    >>> known_model("SOMATOM Definition AS+"), known_model("Discovery CT750 HD")
    ('SOMATOM Definition AS+', 'Discovery CT750 HD')
    >>> known_model("Dr Doe's 64")
    ''
    """
    model = " ".join(text.split())
    words = model.casefold().split(" ")
    known = all(word in _MODEL_WORDS or _MODEL_NUMBER.fullmatch(word) for word in words)
    return model if model and known and len(model) <= 48 else ""
