"""Every link of a study, and the check that a stage makes before it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ctbone.cohort import Case, Cohort, read_cohort
from ctbone.config import READER, READERS
from ctbone.custody.derived_files import MadeLinks
from ctbone.custody.image_files import CaseLinks
from ctbone.custody.link import KINDS, OPTIONAL, Kind, Link
from ctbone.custody.memory import Memory
from ctbone.custody.optional_files import optional_links
from ctbone.errors import CustodyError
from ctbone.input_kind import Dim, kinds_of
from ctbone.study import Study

_NAMED = 5
"""Names that an error lists; the others are counted."""
_SUBJECTS: dict[Kind, str] = {
    "volume": "the volume is",
    "crop": "the {link.part} crop is",
    "folds": "the folds are",
    "weights": "the weights of {link.name} are",
    "predictions": "the {link.part} predictions of '{link.name}' are",
    "fusion": "the fusion '{link.name}' is",
    "report": "the report is",
    "release": "the model file is",
    "explain": "the maps of {link.name} are",
}


@dataclass(frozen=True)
class Chain:
    """The links of a study, in the order of the stages."""

    links: tuple[Link, ...]

    def of(self, kind: Kind) -> tuple[Link, ...]:
        """Return the links of one kind."""
        return tuple(link for link in self.links if link.kind == kind)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of files, in the order of the stages; optional ones only if they exist."""
        there = {link.kind for link in self.links}
        return tuple(kind for kind in KINDS if kind not in OPTIONAL or kind in there)


def inspect(study: Study) -> Chain:
    """Verify every file of a study that ctbone makes.

    Files are hashed only where their size, times or inode changed since they were last verified.

    Raises
    ------
    CohortError, StudyError
        The cohort table is missing or has errors.
    """
    cohort = read_cohort(study)
    memory = Memory(study)
    made = _made(study, cohort, memory)
    links: list[Link] = []
    dims = sorted({model.dim for model in study.settings.models.values()}, reverse=True)
    for case in cohort:
        of_case = made.cases.links(case)
        links += [of_case[name] for name in ("volume", *dims) if name in of_case]
    links.append(made.folds())
    for model in study.settings.models:
        links += [made.weights(model, fold) for fold in range(study.settings.folds.count)]
    tables = [file.stem for file in made.tables("predictions")]
    for name in dict.fromkeys([*study.settings.models, *tables]):
        links += made.predictions(name)
    fusion = study.settings.fusion
    wanted = [*fusion.combinations, *fusion.stacking, *fusion.recalibration]
    if not study.scores_csv.is_file():
        wanted = [n for n in wanted if {READER, READERS}.isdisjoint(_parts(study, n))]
    fused = [file.stem for file in made.tables("fusion")]
    links += [made.fusion(name) for name in dict.fromkeys([*wanted, *fused])]
    links.append(made.report())
    links += optional_links(made)
    memory.save()
    return Chain(tuple(sorted(links, key=lambda link: KINDS.index(link.kind))))


def require_current(
    study: Study,
    kind: Kind,
    names: Iterable[str],
    *,
    dim: Dim | None = None,
    settings: bool = True,
) -> None:
    """Refuse files that do not belong to what they were made from.

    Missing files and files that have no record of ctbone pass: the stage that reads them says what
    it needs.

    Parameters
    ----------
    study
        The study.
    kind
        What is checked.
    names
        Cases (volume, crop), ``model/fold0`` (weights), models (predictions) or fusions; ignored
        for folds and report.
    dim
        Only crops of this dimension.
    settings
        False lets pass what differs in its settings alone.

    Raises
    ------
    CustodyError
        Something is stale: the file, what differs, and the command that makes it again.
    """
    cohort = read_cohort(study)
    memory = Memory(study)
    made = _made(study, cohort, memory)
    links: list[Link] = []
    for name in names if kind not in ("folds", "report") else [kind]:
        if kind == "volume":
            of_case = made.cases.links(cohort.case(name))
            links += [of_case["volume"]] if "volume" in of_case else []
        elif kind == "crop":
            of_case = made.cases.links(cohort.case(name))
            links += [of_case[one] for one in kinds_of(study.settings) if dim in (None, one)]
        elif kind == "weights":
            model, fold = name.rsplit("/fold", 1)
            links.append(made.weights(model, int(fold)))
        elif kind == "predictions":
            links += made.predictions(name)
        elif kind == "fusion":
            links.append(made.fusion(name))
        else:
            links.append(made.folds() if kind == "folds" else made.report())
    memory.save()
    _refuse(links, settings)


def require_crops(study: Study, cases: Sequence[Case], dim: Dim) -> None:
    """Refuse crops of these cases as ``require_current`` does; the cases need no table.

    Raises
    ------
    CustodyError
        A crop is stale.
    """
    memory = Memory(study)
    links = CaseLinks(study, memory)
    found = [links.links(case)[dim] for case in cases]
    memory.save()
    _refuse(found, settings=True)


def _refuse(links: Sequence[Link], settings: bool) -> None:
    stale = [
        link for link in links if link.state == "stale" and (settings or link.cause != "settings")
    ]
    if not stale:
        return
    first = stale[0]
    names = list(dict.fromkeys(link.name for link in stale))
    others = names[1:]
    more = ""
    if others:
        rest = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        more = f"; out of date too: {', '.join(others[:_NAMED])}{rest}"
    raise CustodyError(
        f"{_SUBJECTS[first.kind].format(link=first)} out of date: {first.because}{more}",
        case=first.name if first.kind in ("volume", "crop") else None,
        file=first.path,
        found=first.found or None,
        expected=first.expected or None,
        remedy=first.remedy or None,
    )


def _made(study: Study, cohort: Cohort, memory: Memory) -> MadeLinks:
    return MadeLinks(study, cohort, CaseLinks(study, memory), memory)


def _parts(study: Study, name: str) -> tuple[str, ...]:
    """Return the parts of a fusion of the settings, those of what it recalibrates included."""
    fusion = study.settings.fusion
    if name in fusion.combinations:
        return tuple(fusion.combinations[name])
    if name in fusion.stacking:
        return tuple(fusion.stacking[name].parts)
    if name in fusion.recalibration:
        of = fusion.recalibration[name].of
        return (of,) if of == name else (of, *_parts(study, of))
    return (name,)
