"""Two reporting checklists, each item pointing at the section that answers it; the wording is ours.

TRIPOD+AI: Collins GS et al., BMJ 2024;385:e078378. CLAIM: Mongan J et al., Radiology: Artificial Intelligence
2020;2:e200029.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ctbone.document.table import Cell, Column, Link, Table, plain_table

AUTHORS = "authors"
"""Key of what no program can know."""


@dataclass(frozen=True)
class Found:
    """What the report says on a subject.

    Attributes
    ----------
    text
        In a few words, with the numbers.
    section
        Key of the section that says more.
    title
        Its title.
    """

    text: str
    section: str
    title: str


# Number of each item, its subject, and the key of the answer.
_TRIPOD_AI = (
    ("1", "Title: prediction model, population, outcome", AUTHORS),
    ("2", "Abstract", AUTHORS),
    ("3a", "Clinical context and rationale", AUTHORS),
    ("3b", "Target population, purpose, users", AUTHORS),
    ("3c", "Known inequalities between groups", AUTHORS),
    ("4", "Objectives: development, evaluation or both", AUTHORS),
    ("5a", "Sources of the data", "data"),
    ("5b", "Dates of the data", AUTHORS),
    ("6a", "Setting: number and place of centres", "data"),
    ("6b", "Eligibility", "flow"),
    ("6c", "Treatments received", AUTHORS),
    ("7", "Preparation and quality checks of the data", "preparation"),
    ("8a", "Outcome and how it was assessed", "outcome"),
    ("8b", "Who assessed the outcome", AUTHORS),
    ("8c", "Blinding of the assessment", AUTHORS),
    ("9a", "Choice of predictors", "predictors"),
    ("9b", "Definition of predictors", "predictors"),
    ("9c", "Who assessed predictors", "reader"),
    ("10", "Sample size", "sizes"),
    ("11", "Missing data", "missing"),
    ("12a", "How data were split", "partition"),
    ("12b", "Handling of predictors", "predictors"),
    ("12c", "Type of model, building, internal validation", "model"),
    ("12d", "Differences between centres: method", "centres"),
    ("12e", "Measures and plots of performance", "metrics"),
    ("12f", "Model updating", "updating"),
    ("12g", "How predictions were computed", "ensemble"),
    ("13", "Class imbalance", "imbalance"),
    ("14", "Fairness", AUTHORS),
    ("15", "Output and thresholds", "output"),
    ("16", "Differences between development and evaluation data", "sides"),
    ("17", "Ethics", AUTHORS),
    ("18a", "Funding", AUTHORS),
    ("18b", "Conflicts of interest", AUTHORS),
    ("18c", "Protocol", AUTHORS),
    ("18d", "Registration", AUTHORS),
    ("18e", "Sharing of data", AUTHORS),
    ("18f", "Sharing of code", "software"),
    ("19", "Involvement of patients and public", AUTHORS),
    ("20a", "Flow of participants", "flow"),
    ("20b", "Characteristics of participants", "baseline"),
    ("20c", "Comparison of development and evaluation data", "sides"),
    ("21", "Participants and events in each analysis", "sizes"),
    ("22", "Full specification of the model", "model"),
    ("23a", "Performance with intervals", "performance"),
    ("23b", "Differences between centres: results", "centres"),
    ("24", "Results of updating", "updating"),
    ("25", "Interpretation", AUTHORS),
    ("26", "Limitations", AUTHORS),
    ("27a", "Poor or missing input in use", "preparation"),
    ("27b", "Users' interaction and expertise", AUTHORS),
    ("27c", "Further research", AUTHORS),
)
_CLAIM = (
    ("1", "Title: AI method and its category", AUTHORS),
    ("2", "Structured summary", AUTHORS),
    ("3", "Background, intended use", AUTHORS),
    ("4", "Objectives and hypotheses", AUTHORS),
    ("5", "Prospective or retrospective", AUTHORS),
    ("6", "Goal of the study", AUTHORS),
    ("7", "Data sources", "data"),
    ("8", "Eligibility", "flow"),
    ("9", "Preprocessing", "preparation"),
    ("10", "Subsets of the data", "predictors"),
    ("11", "Definitions of data elements", "predictors"),
    ("12", "De-identification", "deidentified"),
    ("13", "Missing data", "missing"),
    ("14", "Ground truth", "outcome"),
    ("15", "Rationale of the reference standard", AUTHORS),
    ("16", "Annotators", AUTHORS),
    ("17", "Annotation tools", AUTHORS),
    ("18", "Variability of the annotation", AUTHORS),
    ("19", "Intended sample size", "sizes"),
    ("20", "Assignment to partitions", "partition"),
    ("21", "Level at which partitions are apart", "partition"),
    ("22", "Model", "model"),
    ("23", "Software", "software"),
    ("24", "Initial parameters", "model"),
    ("25", "Training", "model"),
    ("26", "Choice of the final model", "selection"),
    ("27", "Ensembling", "ensemble"),
    ("28", "Measures of performance", "metrics"),
    ("29", "Uncertainty and significance", "statistics"),
    ("30", "Robustness", "folds"),
    ("31", "Explanations", AUTHORS),
    ("32", "External validation", "external"),
    ("33", "Flow of participants", "flow"),
    ("34", "Characteristics in each partition", "baseline"),
    ("35", "Performance on every partition", "folds"),
    ("36", "Accuracy with its precision", "performance"),
    ("37", "Analysis of failures", "failures"),
    ("38", "Limitations", AUTHORS),
    ("39", "Implications for practice", AUTHORS),
    ("40", "Registration", AUTHORS),
    ("41", "Protocol", AUTHORS),
    ("42", "Funding", AUTHORS),
)


def tripod_ai(answers: Mapping[str, Found]) -> Table:
    """Fill TRIPOD+AI's items from the answers; what is not among them is left to the authors."""
    source = "Items of TRIPOD+AI (Collins et al., BMJ 2024;385:e078378) in our words."
    return _fill("checklist_tripod_ai", "TRIPOD+AI", _TRIPOD_AI, answers, source)


def claim(answers: Mapping[str, Found]) -> Table:
    """Fill CLAIM's items from the answers; what is not among them is left to the authors."""
    source = "Items of CLAIM (Mongan et al., Radiology: Artificial Intelligence 2020;2:e200029) in our words."
    return _fill("checklist_claim", "CLAIM", _CLAIM, answers, source)


def _fill(
    key: str,
    title: str,
    items: tuple[tuple[str, str, str], ...],
    answers: Mapping[str, Found],
    source: str,
) -> Table:
    columns = [
        Column(name, name.capitalize(), "text") for name in ("item", "subject", "section", "answer")
    ]
    rows: list[list[Cell]] = []
    answered = 0
    for number, subject, topic in items:
        found = answers.get(topic)
        answered += found is not None
        rows.append(
            [number, subject, Link(found.title, found.section), found.text]
            if found is not None
            else [number, subject, "–", "For the authors to write"]
        )
    note = (
        f"{source} This report answers {answered} of {len(items)}; a program cannot know the rest."
    )
    return plain_table(key, title, columns, rows, note)
