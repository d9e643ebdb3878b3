"""Synthetic patients with known truth: pelvis, lesion, scanner, DICOM, masks, cohort table and readers' scores."""
