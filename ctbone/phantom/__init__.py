"""Synthetic patients with known truth: images, masks, cohort table and readers' scores."""
