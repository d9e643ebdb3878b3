"""Identical voxels under two patients: the leak that no table of names shows."""

from __future__ import annotations

from collections.abc import Mapping

from ctbone.cohort import Case, Cohort
from ctbone.errors import ModelError
from ctbone.study import Study, read_table


def refuse_shared_voxels(study: Study, cohort: Cohort, digests: Mapping[str, str]) -> None:
    """Stop where two patients have the same voxels, in the volume or in the crop.

    Parameters
    ----------
    study
        Its ``preprocess.csv`` holds ``voxel_hash``, the digest of each whole volume; where there is no such table or
        column, as with crops of another program, only the crops are compared.
    cohort
        All cases, internal and external.
    digests
        Digest of the crop of each case that was read.

    Raises
    ------
    ModelError
        Two patients share voxels; both cases are named.
    """
    _refuse(cohort, digests, "crops")
    if study.preprocess_csv.is_file():
        table = read_table(study.preprocess_csv, ("case_id",))
        if "voxel_hash" in table:
            volumes = dict(zip(table["case_id"], table["voxel_hash"], strict=True))
            _refuse(cohort, volumes, "volumes")


def _refuse(cohort: Cohort, digests: Mapping[str, str], kind: str) -> None:
    first: dict[str, Case] = {}
    for case in cohort:
        digest = digests.get(case.case_id)
        if not digest:
            continue
        other = first.setdefault(digest, case)
        if other.patient_id != case.patient_id:
            raise ModelError(
                f"the {kind} of two patients are identical: cases {other.case_id} and {case.case_id}",
                case=case.case_id,
                found=f"patients {other.patient_id} and {case.patient_id}",
                remedy="give both cases the same patient_id if they are one patient, or mend their image paths",
            )
