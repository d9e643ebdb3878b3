"""From a new patient's images to an answer, with a study or with its model file."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctbone.cases import CaseJob, prepare_case
from ctbone.cohort import INTERNAL, Case, Cohort, read_cohort, safe_id
from ctbone.differences import did_you_mean
from ctbone.errors import CtboneError, DicomOutError, ReleaseError
from ctbone.nifti import open_nifti
from ctbone.progress import progress
from ctbone.results import Answers
from ctbone.same_scans import read_identities, shared_scans
from ctbone.study import Study, read_json, record_of, write_json, write_table, write_text

if TYPE_CHECKING:
    import pandas as pd

    from ctbone.models.crops import Crops
    from ctbone.pacs import Archive
    from ctbone.release import Predictor

_MASKS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm")
"""Suffixes of masks in a folder of many patients."""
_NEW = "new"
"""Case of one patient without a name: the name of a folder may be that of the patient."""
_OFF_GRID = 0.1
"""Voxels by which a mask may lie off the scan's grid; headers are rounded."""
_NO_ID = " new patient"
"""Stands for the new case beside the study's; no case_id begins with a space."""
TABLE = "answers.csv"
"""The table of all answers, beside the JSON files."""


def predict_patients(
    image: str | os.PathLike[str] | None,
    mask: str | os.PathLike[str] | None,
    *,
    study: Study | None,
    model: str | os.PathLike[str] | None,
    cohort: str | None,
    case: str | None,
    columns: Mapping[str, str],
    score: str | None,
    out: str | os.PathLike[str] | None,
    dicom: str | os.PathLike[str] | None = None,
    push: str | None = None,
    aet: str = "CTBONE",
) -> Answers:
    """Answer for new patients, as ``ctbone.workflow.predict`` describes it.

    Raises
    ------
    ReleaseError, CustodyError
        The study or the model file cannot answer.
    CtboneError
        The image or mask of the only case cannot be used.
    """
    from ctbone import release

    if dicom is not None and study is not None:
        _refuse_in_study(Path(dicom), study)
    archive = None if push is None else _archive(push, aet)
    if cohort is not None and study is not None:
        cases = cohort_cases(study, cohort)
    elif image is None:
        raise ReleaseError("no image is named", expected="ctbone predict DICOM_DIR --mask MASK")
    else:
        where = None if mask is None else Path(mask)
        cases = find_cases(Path(image), where, case=case, columns=columns)
    if model is not None:
        file = Path(model)
    else:
        assert study is not None
        file = release.release_file(study)
    predictor = release.Predictor(release.read_release(file))
    if len(cases) > 1 and score is not None:
        raise ReleaseError(
            "a radiologist's score belongs to one patient",
            found=f"--score {score} for {len(cases)} patients",
            remedy="predict one patient, or leave out --score",
        )
    with _dicom_folder(dicom, archive) as folder:
        if len(cases) == 1:
            done = Answers([answer_case(cases[0], predictor, study, score=score, dicom=folder)])
        else:
            done = Answers(*answer_cases(cases, predictor, study, dicom=folder))
        if out is not None and done.answers:
            write_answers(done.answers, done.table, Path(out))
            done = dataclasses.replace(done, path=Path(out))
        if folder is None or not done.answers:
            return done
        if archive is not None:
            done = _pushed(done, folder, archive, kept=dicom is not None)
        return done if dicom is None else dataclasses.replace(done, dicom=Path(dicom))


def find_cases(
    image: Path, mask: Path | None, *, case: str | None, columns: Mapping[str, str]
) -> list[Case]:
    """Return the new patient, or the new patients of a folder.

    Parameters
    ----------
    image, mask
        DICOM folder or file, or NIfTI, and its mask. If the mask is a folder, both are folders of
        many: the image of a patient is a subfolder or a file, and its mask has the same name.
    case
        Name of the only case.
    columns
        Clinical columns of the only case.

    Raises
    ------
    ReleaseError
        A path is missing, or no image has a mask.
    """
    if mask is None:
        raise ReleaseError(
            "a new patient needs the mask of the lesion", remedy="name it: --mask MASK.nii.gz"
        )
    for what, path in (("image", image), ("mask", mask)):
        if not path.exists():
            raise ReleaseError(f"the {what} does not exist", file=path)
    metadata = tuple(columns.items())
    if not mask.is_dir():
        return [_case(case or _NEW, image, mask, metadata)]
    if not image.is_dir() or case is not None or columns:
        raise ReleaseError(
            "a folder of masks belongs to a folder of many patients",
            file=mask,
            expected="a folder of images without --case and --column, or one mask file",
        )
    masks = {_stem(path): path for path in sorted(mask.iterdir()) if path.name.endswith(_MASKS)}
    images = {_stem(path): path for path in sorted(image.iterdir()) if path.name[0] != "."}
    if not set(images) & set(masks):
        raise ReleaseError(
            "no image of the folder has a mask of the same name",
            file=mask,
            found=", ".join(list(masks)[:3]) or "no masks",
            expected=f"a mask for each of {', '.join(list(images)[:3]) or 'no images'}",
        )
    return [
        _case(name, path, masks.get(name, mask / f"{name}.nii.gz")) for name, path in images.items()
    ]


def cohort_cases(study: Study, name: str) -> list[Case]:
    """Return the cases of an external centre of the study.

    Raises
    ------
    ReleaseError
        The cohort has no such centre, or the cases took part in the training.
    """
    cohort = read_cohort(study)
    if name == INTERNAL:
        raise ReleaseError(
            "the internal cases took part in the training",
            file=study.cohort_csv,
            remedy="predictions/ holds their out-of-fold probabilities",
        )
    found = [case for case in cohort.external if case.cohort == name]
    if not found:
        centres = sorted({case.cohort for case in cohort.external})
        raise ReleaseError(
            "the cohort has no such centre",
            file=study.cohort_csv,
            found=name,
            expected=", ".join(centres) or "an external centre",
            remedy=did_you_mean(name, centres),
        )
    return found


def answer_cases(
    cases: Sequence[Case],
    predictor: Predictor,
    study: Study | None = None,
    *,
    dicom: Path | None = None,
) -> tuple[list[dict[str, Any]], list[CtboneError]]:
    """Answer every case; a case that fails does not stop the others.

    Parameters
    ----------
    cases
        New patients.
    predictor
        The networks.
    study
        The study of the model, if it is there: a scan of its training is refused.
    dicom
        Folder for the DICOM objects of the answers, a subfolder a case.

    Returns
    -------
    tuple
        The answers, and the errors of the cases that failed.
    """
    answers: list[dict[str, Any]] = []
    failed: list[CtboneError] = []
    with progress("Predict", total=len(cases)) as bar:
        for case in cases:
            try:
                answers.append(answer_case(case, predictor, study, dicom=dicom))
            except CtboneError as error:
                failed.append(error)
            bar.advance(note=case.case_id)
    return answers, failed


def answer_case(
    case: Case,
    predictor: Predictor,
    study: Study | None = None,
    *,
    score: str | None = None,
    dicom: Path | None = None,
) -> dict[str, Any]:
    """Preprocess one case in a temporary folder, as the study's cases were, and answer it.

    ``score`` is a radiologist's score on the study's scale, for fusions with a reader. With
    ``dicom``, the answer is also written as DICOM objects into ``dicom/<case_id>``; the answer
    itself holds nothing of them.

    Raises
    ------
    CtboneError
        The image or the mask cannot be used; the error names the case.
    """
    from ctbone.release import case_facts

    predictor.missing(case, score)  # refuses before the images are read
    with tempfile.TemporaryDirectory(prefix="ctbone-") as folder:
        place = Study(Path(folder))
        settings = predictor.settings.model_dump(mode="json")
        write_text(place.settings_file, json.dumps(settings))
        if study is not None and study.salt_file.is_file():
            write_text(place.salt_file, study.salt_file.read_text(encoding="utf-8"))
        try:
            prepare_case(CaseJob(place, case))
            if study is not None:
                _refuse_trained(place, case, study)
            crops = _crops(place, case, predictor)
            columns = _columns(predictor)
            facts = case_facts(place, case, columns)
            answer = predictor.answer(
                case,
                crops,
                facts=facts,
                inputs=_inputs(place, case),
                remarks=remarks(place, case),
                score=score,
            )
            if dicom is not None:
                _write_dicom(answer, place, case, predictor, dicom / case.case_id)
            return answer
        except CtboneError as error:
            if error.file and error.file.startswith(folder):
                error.file = str(case.image)  # the temporary folder is gone
            error.case = error.case or case.case_id
            raise


def _write_dicom(
    answer: Mapping[str, Any], place: Study, case: Case, predictor: Predictor, out: Path
) -> None:
    """Draw the heat map and write the DICOM objects, while the crops of the case are there."""
    from ctbone.dicom_out import draw_heat, write_dicom

    heat = draw_heat(place, case, predictor, answer)
    volume = open_nifti(place.nifti(case.case_id)).grid
    write_dicom(answer, case, predictor.settings, out=out, heat=heat, scanner=volume)


@contextmanager
def _dicom_folder(
    dicom: str | os.PathLike[str] | None, archive: Archive | None
) -> Iterator[Path | None]:
    """Yield the folder of the DICOM objects, a temporary one if they are only sent, or None."""
    if dicom is not None or archive is None:
        yield None if dicom is None else Path(dicom)
        return
    with tempfile.TemporaryDirectory(prefix="ctbone-dicom-") as folder:
        yield Path(folder)


def _pushed(done: Answers, folder: Path, archive: Archive, *, kept: bool) -> Answers:
    """Send the objects of the answered cases; a failure leaves the answers as they are."""
    from ctbone.pacs import PacsError, push_files

    files = [path for one in done.answers for path in sorted((folder / one["case"]).glob("*.dcm"))]
    try:
        sent = push_files(files, archive)
    except PacsError as error:
        if not kept:
            error.remedy = (
                "write the objects with --dicom DIR, and send them with 'ctbone pacs push'"
            )
        return dataclasses.replace(done, problems=[*done.problems, error])
    finally:
        archive.close()
    return dataclasses.replace(done, sent=sent, problems=[*done.problems, *sent.problems])


def _archive(address: str, aet: str) -> Archive:
    from ctbone.pacs import open_archive

    return open_archive(address, aet=aet)


def _refuse_in_study(dicom: Path, study: Study) -> None:
    """Refuse a folder in the study: the objects hold the patient's name."""
    if dicom.resolve().is_relative_to(study.root.resolve()):
        raise DicomOutError(
            "the folder of the DICOM objects lies in the study folder",
            file=dicom,
            expected="a folder elsewhere: the objects hold the patient's name",
            remedy="name another folder with --dicom",
        )


def remarks(place: Study, case: Case) -> list[str]:
    """Return what the records of the preprocessing say about a case, one sentence each."""
    from ctbone.masks import Components

    crop = read_json(record_of(place.crop(case.case_id, "3d")))
    volume = read_json(record_of(place.nifti(case.case_id)))
    of = crop["case"]
    found = []
    if crop["scale_factor"] < 1:
        found.append(
            "The lesion is larger than the field of the network: the image was shrunk by a factor "
            f"of {crop['scale_factor']:.2f}."
        )
    if of["touches_border"]:
        found.append("The lesion touches the border of the scan: a part of it may be missing.")
    note = Components(tuple(of["parts_ml"]), of["taken"], of["parts_reach_mm"]).note
    if note:
        found.append(f"{note[0].upper()}{note[1:]}. Each lesion should be a case of its own.")
    if volume.get("resampled"):
        found.append(f"The slices were resampled to a regular grid: {volume['resampled']}.")
    for remark in (of.get("reference_note"), volume.get("note")):
        if remark:
            found.append(f"{remark[0].upper()}{remark[1:]}{'' if remark[-1] in '.?' else '.'}")
    if case.mask is not None and not _on_grid(case.mask, np.array(crop["scanner"]["affine"])):
        found.append(
            "The mask has another grid than the scan: make sure that it was drawn on this scan."
        )
    return found


def write_answers(answers: Sequence[Mapping[str, Any]], table: pd.DataFrame, out: Path) -> Path:
    """Write one JSON file a case, and the table of all; return the folder."""
    for answer in answers:
        write_json(out / f"{answer['case']}.json", answer)
    write_table(out / TABLE, table)
    return out


def parse_columns(given: Iterable[str]) -> dict[str, str]:
    """Parse clinical columns, each as ``name=value``.

    Raises
    ------
    ReleaseError
        One has no name or no ``=``.

    Examples
    --------
    >>> parse_columns(["age=41", "site=S1 left"])
    {'age': '41', 'site': 'S1 left'}
    """
    found = {}
    for text in given:
        name, mark, value = text.partition("=")
        if not (name.strip() and mark):
            raise ReleaseError(
                "a clinical column is given as name=value", found=text, expected="--column age=41"
            )
        found[name.strip()] = value.strip()
    return found


def _case(name: str, image: Path, mask: Path, metadata: tuple[tuple[str, str], ...] = ()) -> Case:
    if not safe_id(name):
        raise ReleaseError(
            "this name cannot be the name of a case",
            found=name,
            expected="up to 64 letters, digits, _ - .",
            remedy="rename it, or name the case with --case",
        )
    return Case(name, name, "", _NEW, image, mask, metadata)


def _stem(path: Path) -> str:
    for suffix in _MASKS:
        if path.name.endswith(suffix) and not path.is_dir():
            return path.name.removesuffix(suffix)
    return path.name


def _columns(predictor: Predictor) -> list[str]:
    from ctbone.release.facts import CLINICAL

    taken = [column for model in predictor.models().values() for column in model.metadata]
    return list(dict.fromkeys([*CLINICAL, *taken]))


def _crops(place: Study, case: Case, predictor: Predictor) -> dict[str, Crops]:
    """Read the crops of a case as each model takes them."""
    from ctbone.models.crops import load_crops

    return {
        name: load_crops(
            place,
            [case],
            model.dim,
            masks=model.mask != "none",
            dilation=model.mask_dilation,
        )
        for name, model in predictor.models().items()
    }


def _inputs(place: Study, case: Case) -> dict[str, Any]:
    """Return the hashes of volume and mask, and the series that was taken."""
    hashes = read_json(record_of(place.crop(case.case_id, "3d")))["inputs"]
    listed = read_json(record_of(place.nifti(case.case_id))).get("series", ())
    names = ("number", "modality", "slices", "reason")
    taken = [one for one in listed if one["verdict"] == "taken"]
    series = {name: taken[0][name] for name in names} if taken else None
    return {"volume": hashes["image"], "mask": hashes["mask"], "series": series}


def _refuse_trained(place: Study, case: Case, study: Study) -> None:
    """Refuse a scan that took part in the training: its answer would be too good."""
    internal = read_cohort(study).internal
    own = read_identities(place, [case]).get(case.case_id)
    if own is None:
        return
    identities = {**read_identities(study, internal), _NO_ID: own}
    new = dataclasses.replace(case, case_id=_NO_ID, cohort=_NEW, patient_id=_NO_ID)
    for problem in shared_scans(Cohort((*internal, new)), identities):
        if _NO_ID in str(problem):
            raise ReleaseError(
                "this scan took part in the training, so its probability would be too good",
                case=case.case_id,
                file=case.image,
                remedy="predictions/ holds the out-of-fold probability of a training case",
            )


def _on_grid(mask: Path, affine: np.ndarray) -> bool:
    """Whether a NIfTI mask lies on the grid of the scan or is cut from it; others pass."""
    if not mask.name.endswith((".nii", ".nii.gz")):
        return True
    try:
        own = open_nifti(mask).grid
    except CtboneError:
        return True
    steps = np.linalg.solve(affine, own.affine)
    off = np.abs(steps - np.rint(steps))[:3]
    farthest = (off @ np.array([*own.shape, 1])).max()
    return bool(farthest < _OFF_GRID and _is_permutation(steps[:3, :3]))


def _is_permutation(steps: np.ndarray) -> bool:
    """Whether voxel axes map to voxel axes, one step each."""
    whole = np.abs(np.rint(steps))
    return bool((whole.sum(axis=0) == 1).all() and (whole.sum(axis=1) == 1).all())
