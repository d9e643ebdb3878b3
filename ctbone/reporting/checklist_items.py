"""The items of TRIPOD+AI, CLAIM 2024, STARD-AI and METRICS: number, subject, topic of the answer.

The subjects are in our words. Each guideline says where its numbers and subjects were checked.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTHORS = "authors"
"""Topic of the items that only the authors can answer."""


@dataclass(frozen=True)
class Item:
    """One item.

    Attributes
    ----------
    number, subject
        As the guideline numbers it, and its subject in our words.
    topic
        Key of the answer, or ``AUTHORS``.
    condition
        Number of the item whose answer has to be yes for this one to count; "" is none.
    """

    number: str
    subject: str
    topic: str = AUTHORS
    condition: str = ""


@dataclass(frozen=True)
class Guideline:
    """A reporting guideline or quality score.

    Attributes
    ----------
    key, title
        Key of its table, and its name.
    source
        The publication.
    checked
        Against what numbers and subjects were checked.
    items
        In its order.
    """

    key: str
    title: str
    source: str
    checked: str
    items: tuple[Item, ...]


TRIPOD_AI = Guideline(
    key="checklist_tripod_ai",
    title="TRIPOD+AI",
    source="Collins et al., BMJ 2024;385:e078378",
    checked="Numbers and subjects checked against a public copy of the statement (CC BY 4.0)",
    items=(
        Item("1", "Title: prediction model, population, outcome"),
        Item("2", "Abstract"),
        Item("3a", "Clinical context and rationale"),
        Item("3b", "Target population, purpose, users"),
        Item("3c", "Known inequalities between groups"),
        Item("4", "Objectives: development, evaluation or both"),
        Item("5a", "Sources of the data", "data"),
        Item("5b", "Dates of the data"),
        Item("6a", "Setting: number and place of centres", "data"),
        Item("6b", "Eligibility", "flow"),
        Item("6c", "Treatments received"),
        Item("7", "Preparation and quality checks of the data", "preparation"),
        Item("8a", "Outcome and how it was assessed", "outcome"),
        Item("8b", "Who assessed the outcome"),
        Item("8c", "Blinding of the assessment"),
        Item("9a", "Choice of predictors", "predictors"),
        Item("9b", "Definition of predictors", "predictors"),
        Item("9c", "Who assessed predictors", "reader"),
        Item("10", "Sample size", "sizes"),
        Item("11", "Missing data", "missing"),
        Item("12a", "How data were split", "partition"),
        Item("12b", "Handling of predictors", "predictors"),
        Item("12c", "Type of model, building, internal validation", "model"),
        Item("12d", "Differences between centres: method", "centres"),
        Item("12e", "Measures and plots of performance", "metrics"),
        Item("12f", "Model updating", "updating"),
        Item("12g", "How predictions were computed", "ensemble"),
        Item("13", "Class imbalance", "imbalance"),
        Item("14", "Fairness"),
        Item("15", "Output and thresholds", "output"),
        Item("16", "Differences between development and evaluation data", "sides"),
        Item("17", "Ethics"),
        Item("18a", "Funding"),
        Item("18b", "Conflicts of interest"),
        Item("18c", "Protocol"),
        Item("18d", "Registration"),
        Item("18e", "Sharing of data"),
        Item("18f", "Sharing of code", "software"),
        Item("19", "Involvement of patients and public"),
        Item("20a", "Flow of participants", "flow"),
        Item("20b", "Characteristics of participants", "baseline"),
        Item("20c", "Comparison of development and evaluation data", "sides"),
        Item("21", "Participants and events in each analysis", "sizes"),
        Item("22", "Full specification of the model", "model"),
        Item("23a", "Performance with intervals", "performance"),
        Item("23b", "Differences between centres: results", "centres"),
        Item("24", "Results of updating", "updating"),
        Item("25", "Interpretation"),
        Item("26", "Limitations"),
        Item("27a", "Poor or missing input in use", "preparation"),
        Item("27b", "Users' interaction and expertise"),
        Item("27c", "Further research"),
    ),
)

CLAIM = Guideline(
    key="checklist_claim",
    title="CLAIM 2024",
    source="Tejani et al., Radiology: Artificial Intelligence 2024;6:e240300",
    checked="Numbers and subjects checked against several public copies that agree, not against "
    "the journal's form",
    items=(
        Item("1", "Title or abstract: AI method and its category"),
        Item("2", "Structured abstract"),
        Item("3", "Background, intended use and role"),
        Item("4", "Aims, objectives, hypotheses"),
        Item("5", "Prospective or retrospective"),
        Item("6", "Goal of the study"),
        Item("7", "Sources of the data", "data"),
        Item("8", "Eligibility", "flow"),
        Item("9", "Preprocessing", "preparation"),
        Item("10", "Subsets of the data", "images"),
        Item("11", "De-identification", "deidentified"),
        Item("12", "Missing data", "missing"),
        Item("13", "Image acquisition"),
        Item("14", "Reference standard: definition", "outcome"),
        Item("15", "Reference standard: rationale"),
        Item("16", "Reference standard: who annotated"),
        Item("17", "Annotation of the test set"),
        Item("18", "Variability between and within annotators"),
        Item("19", "Assignment to partitions", "partition"),
        Item("20", "Level at which partitions are disjoint", "partition"),
        Item("21", "Size of the test set", "sizes"),
        Item("22", "Description of the model", "model"),
        Item("23", "Software", "software"),
        Item("24", "Initial parameters", "start"),
        Item("25", "Training", "model"),
        Item("26", "Choice of the final model", "selection"),
        Item("27", "Ensembling", "ensemble"),
        Item("28", "Measures of performance", "metrics"),
        Item("29", "Uncertainty and significance", "statistics"),
        Item("30", "Robustness or sensitivity analysis", "folds"),
        Item("31", "Explainability", "maps"),
        Item("32", "Testing on internal data", "internal"),
        Item("33", "Testing on external data", "external"),
        Item("34", "Registration of a clinical trial"),
        Item("35", "Numbers included and excluded", "flow"),
        Item("36", "Characteristics in each partition", "baseline"),
        Item("37", "Performance on partitions and subgroups", "subgroups"),
        Item("38", "Accuracy with its precision", "performance"),
        Item("39", "Analysis of failures", "failures"),
        Item("40", "Limitations"),
        Item("41", "Implications for practice"),
        Item("42", "Full protocol and technical details"),
        Item("43", "Availability of software, model and data"),
        Item("44", "Funding and role of the funders"),
    ),
)

STARD_AI = Guideline(
    key="checklist_stard_ai",
    title="STARD-AI",
    source="Sounderajah et al., Nature Medicine 2025;31:3283–3289",
    checked="Numbers and subjects checked against one public copy of its Table 2, not against "
    "the article",
    items=(
        Item("1", "Title or abstract: accuracy study of AI, with a measure"),
        Item("2", "Structured abstract"),
        Item("3", "Background, intended use, place in the workflow"),
        Item("4", "Objectives and hypotheses"),
        Item("5", "Prospective or retrospective"),
        Item("6", "Ethics"),
        Item("7", "Eligibility of participants and of data", "flow"),
        Item("8", "How participants were identified"),
        Item("9", "Setting, place and dates"),
        Item("10", "Consecutive, random or convenience series"),
        Item("11", "Source of the data", "data"),
        Item("12", "Who annotated the data, and how"),
        Item("13", "Devices, and software of the index test", "software"),
        Item("14", "Acquisition and preprocessing", "preparation"),
        Item("15a", "Index test", "model"),
        Item("15b", "Development of the index test", "partition"),
        Item("15c", "Cut-off of the index test", "output"),
        Item("15d", "Users and their expertise"),
        Item("16a", "Reference standard", "outcome"),
        Item("16b", "Reference standard: rationale"),
        Item("16c", "Cut-off of the reference standard"),
        Item("17a", "What was known to readers of the index test"),
        Item("17b", "What was known to assessors of the reference standard"),
        Item("18", "Estimating and comparing accuracy", "statistics"),
        Item("19", "Indeterminate results"),
        Item("20", "Missing data", "missing"),
        Item("21", "Variability of accuracy", "folds"),
        Item("22", "Intended sample size", "sizes"),
        Item("23", "Analysis of errors, bias and fairness", "subgroups"),
        Item("24", "Flow of participants", "flow"),
        Item("25", "Characteristics in each partition", "baseline"),
        Item("26a", "Severity of the disease"),
        Item("26b", "Other diagnoses"),
        Item("27", "Interval between index test and reference standard"),
        Item("28", "Whether the test set represents the intended population"),
        Item("29", "How external data differ", "sides"),
        Item("30", "Cross tabulation", "crosstab"),
        Item("31", "Accuracy with its precision", "performance"),
        Item("32", "Adverse events"),
        Item("33", "Limitations"),
        Item("34", "Implications for practice"),
        Item("35", "Ethics and fairness in use"),
        Item("36", "Registration"),
        Item("37", "Protocol"),
        Item("38", "Funding and role of the funders"),
        Item("39", "Commercial interests"),
        Item("40a", "Availability of data and code"),
        Item("40b", "Whether outputs are stored and can be audited"),
    ),
)

METRICS = Guideline(
    key="checklist_metrics",
    title="METRICS",
    source="Kocak et al., Insights into Imaging 2024;15:8",
    checked="Numbers, subjects and conditions checked against the article's Table 1 and the "
    "authors' scoring page",
    items=(
        Item("1", "Use of a guideline or checklist", "guidelines"),
        Item("2", "Eligibility and a representative population", "flow"),
        Item("3", "Reference standard of high quality", "outcome"),
        Item("4", "Several centres", "data"),
        Item("5", "Imaging that can be used in practice"),
        Item("6", "Imaging protocol"),
        Item("7", "Interval between imaging and reference standard"),
        Item("Condition 1", "Segmentation in the study?", "condition 1"),
        Item("Condition 2", "Fully automated segmentation?", "condition 2"),
        Item("8", "Method of the segmentation", "images", "Condition 1"),
        Item("9", "Evaluation of automated segmentation", AUTHORS, "Condition 2"),
        Item("10", "Masks of the test set by one reader or tool", AUTHORS, "Condition 1"),
        Item("Condition 3", "Hand-crafted features?", "condition 3"),
        Item("11", "Image preprocessing", "preparation"),
        Item("12", "Standardised software for features", AUTHORS, "Condition 3"),
        Item("13", "Parameters of the feature extraction", "model"),
        Item("Condition 4", "Tabular data?", "condition 4"),
        Item("Condition 5", "End-to-end deep learning?", "condition 5"),
        Item("14", "Removal of features that are not robust", AUTHORS, "Condition 4"),
        Item("15", "Removal of redundant features", AUTHORS, "Condition 4"),
        Item("16", "Dimensionality against size of the data", AUTHORS, "Condition 4"),
        Item("17", "Robustness of end-to-end deep learning", AUTHORS, "Condition 5"),
        Item("18", "Partition of the data", "partition"),
        Item("19", "Confounding factors", "confounding"),
        Item("20", "Measures of performance", "metrics"),
        Item("21", "Uncertainty", "statistics"),
        Item("22", "Calibration", "calibration"),
        Item("23", "One imaging modality, or proof that it is inferior", "modality"),
        Item("24", "Comparison with a method that is not radiomic", "against_reader"),
        Item("25", "Comparison with simple statistical models"),
        Item("26", "Internal testing", "internal"),
        Item("27", "External testing", "external"),
        Item("28", "Availability of data"),
        Item("29", "Availability of code"),
        Item("30", "Availability of the model"),
    ),
)

GUIDELINES = (TRIPOD_AI, CLAIM, STARD_AI, METRICS)
