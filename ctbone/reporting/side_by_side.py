"""Models and levels of readers side by side: performance, accuracy by subtype, and agreement.

These are Tables 2, 3 and 4 of the paper on bone tumours and infections [1]_, in its order. Its
Table 1 is the baseline table of the patients.

References
----------
.. [1] Wang H et al. npj Precision Oncology 2025, doi:10.1038/s41698-025-00855-3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort
from ctbone.document import Block, Cell, Section, Table, TableBlock, TableColumn, TableRow, Text
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.fusion_records import Records
from ctbone.reporting.metrics import metric_columns
from ctbone.reporting.readers_section import UNAIDED, JudgedReaders, ReaderSession
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import (
    Estimate,
    clustered_proportion,
    clustered_rates,
    cochran_q,
    cohen_kappa,
    fleiss_kappa,
    holm,
    kappa_wording,
)

SUBTYPE = "subtype"
"""The column of ``cohort.csv`` whose levels are the rows of the table by subtype."""

_METRICS = ("f1", "auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")
"""Columns of the table of performance, in the paper's order."""
_FEWEST = 5
"""Cases of a subtype from which it is shown."""


@dataclass(frozen=True)
class Caller:
    """A model, or all readers of a level without AI.

    Attributes
    ----------
    name
        The model or the level.
    members
        The model, or each reader, with the cases that it has.
    reads
        Whether its members are readers.
    """

    name: str
    members: tuple[ScoredCases, ...]
    reads: bool = False

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row a member and case: ``case_id, patient_id, label, called``."""
        columns = ["case_id", "patient_id", "label"]
        parts = [one.cases[columns].assign(called=calls_of(one)) for one in self.members]
        return pd.concat(parts, ignore_index=True)


def calls_of(scored: ScoredCases) -> np.ndarray:
    """Return the class that each case is called: at its threshold, or the most probable one.

    Examples
    --------
    >>> cases = pd.DataFrame({"label": ["a", "b"], "p_a": [0.7, 0.6], "p_b": [0.3, 0.4]})
    >>> calls_of(ScoredCases("m", cases.assign(threshold=0.35), ("a", "b"), "b")).tolist()
    ['a', 'b']
    """
    if not scored.two_class:
        return np.array(scored.classes)[scored.matrix.argmax(axis=1)]
    (negative,) = (name for name in scored.classes if name != scored.positive)
    return np.where(scored.called, scored.positive, negative)


def side_by_side_section(
    cohort: Cohort, analysis: Analysis, readers: JudgedReaders | None, records: Records
) -> Section | None:
    """Show models and levels of readers in the same tables.

    None without readers where the cohort has no column ``subtype`` either.

    Parameters
    ----------
    cohort, analysis
        The cases and the judged sets of the models.
    readers
        The judged readers; None without scores.
    records
        Of the fused tables: the first stack, else the first fusion, else the first model is what
        the others are compared with.
    """
    subtypes = {case.case_id: dict(case.metadata).get(SUBTYPE, "") for case in cohort}
    sessions = {} if readers is None or readers.why else readers.sessions
    if not sessions and not any(subtypes.values()):
        return None
    level = analysis.settings.confidence
    blocks: list[Block] = []
    for judged in analysis.reported:
        if judged.case_set.key == "validation":
            continue
        callers = callers_of(judged, sessions.get(judged.case_set.key, ()))
        reference = _reference([caller.name for caller in callers if not caller.reads], records)
        if analysis.two_class and any(caller.reads for caller in callers):
            blocks.append(TableBlock(performance_table(judged, callers, reference, level=level)))
        by_subtype = subtype_table(judged, callers, subtypes, level=level)
        blocks += [] if by_subtype is None else [TableBlock(by_subtype)]
        if any(caller.reads for caller in callers):
            blocks.append(TableBlock(agreement_table(judged, callers, reference, level=level)))
    if not blocks:
        return None
    text = "A level of readers counts the calls of all of its readers without AI together."
    return Section("side_by_side", "Models and readers", (Text((text,)), *blocks))


def callers_of(judged: JudgedSet, sessions: Sequence[ReaderSession]) -> list[Caller]:
    """Return the models, then the readers by level in the order of the scores, without AI."""
    found = [Caller(one.name, (one,)) for one in judged.case_set.scored]
    unaided = [session for session in sessions if session.session == UNAIDED]
    for name in dict.fromkeys(session.level for session in unaided):
        members = tuple(session.scored for session in unaided if session.level == name)
        found.append(Caller(name or "readers", members, reads=True))
    return found


def _reference(models: Sequence[str], records: Records) -> str:
    fused = [stack.name for stack in records.stacks]
    fused += [fusion.name for fusion in records.fusions]
    return next((name for name in fused if name in models), models[0])


def performance_table(
    judged: JudgedSet, callers: Sequence[Caller], reference: str, *, level: float
) -> Table:
    """Show every rate of the models and of each level of readers, with a test: Table 2."""
    case_set = judged.case_set
    estimates: list[Mapping[str, Estimate | None]] = []
    for caller in callers:
        if caller.reads:
            cases = caller.cases
            truth, called = (cases[name] == case_set.positive for name in ("label", "called"))
            rates = clustered_rates(truth, called, cases["patient_id"], level=level)
            estimates.append({str(name): rate for name, rate in rates.items()})
        else:
            estimates.append(
                next(one.estimates for one in judged.judgements if one.name == caller.name)
            )
    tested = [_test(judged, callers, caller, reference) for caller in callers]
    adjusted = holm(tested)
    columns = [TableColumn("name", "Model or level", "text"), TableColumn("n", "Calls")]
    columns += metric_columns(_METRICS)
    columns += [TableColumn("p", "p", "p"), TableColumn("p_holm", "p, Holm", "p")]
    rows = []
    for place, (caller, found) in enumerate(zip(callers, estimates, strict=True)):
        cells = [found.get(name) for name in _METRICS]
        opens = place > 0 and caller.reads and not callers[place - 1].reads
        rows.append(
            TableRow(
                (caller.name, len(caller.cases), *cells, tested[place], adjusted[place]),
                opens=opens,
            )
        )
    return Table(
        key=f"models_and_readers_{case_set.key}",
        title=f"Models and readers, {case_set.inline_title}",
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"p: against {reference}. Models by DeLong's test of the AUCs; readers by Cochran's Q "
        "of the accuracies of the level's readers and the model, on the cases that all have, "
        "without regard to several cases of a patient. Holm's adjustment over the rows.",
    )


def _test(
    judged: JudgedSet, callers: Sequence[Caller], caller: Caller, reference: str
) -> float | None:
    if caller.name == reference and not caller.reads:
        return None
    if not caller.reads:
        pair = {caller.name, reference}
        return next((c.result.p_value for c in judged.comparisons if {c.a, c.b} == pair), None)
    (model,) = (one for one in callers if one.name == reference and not one.reads)
    calls = _table_of([model, caller]).dropna()
    if calls.empty:
        return None
    labels = _labels([model, caller]).loc[calls.index].to_numpy(str)
    return cochran_q(calls.to_numpy(str) == labels[:, None]).p_value


def _table_of(callers: Sequence[Caller]) -> pd.DataFrame:
    """Return the calls by case (rows) and member (columns); missing where a member has none."""
    members = [member for caller in callers for member in caller.members]
    series = [pd.Series(calls_of(one), index=one.cases["case_id"]) for one in members]
    return pd.concat(series, axis=1)


def _labels(callers: Sequence[Caller]) -> pd.Series:
    cases = pd.concat([caller.cases for caller in callers])
    return cases.drop_duplicates("case_id").set_index("case_id")["label"]


def subtype_table(
    judged: JudgedSet, callers: Sequence[Caller], subtypes: Mapping[str, str], *, level: float
) -> Table | None:
    """Show the accuracy in each subtype: levels of readers, their mean, models, their mean.

    This is Table 3. None if no subtype has five cases. The means are over all calls, so a level
    with more readers counts more.
    """
    readers = [caller for caller in callers if caller.reads]
    models = [caller for caller in callers if not caller.reads]
    shown = [*readers, *_together("all readers", readers), *models]
    shown += _together("all models", models)
    labels = _labels(models)
    of_case = pd.Series({case: subtypes.get(case, "") for case in labels.index}, dtype=object)
    groups = pd.DataFrame({"label": labels, "subtype": of_case})
    sizes = groups[groups["subtype"] != ""].value_counts().rename("n").reset_index()
    sizes = sizes[sizes["n"] >= _FEWEST]
    if sizes.empty:
        return None
    rows = []
    for name in judged.case_set.classes:
        of_class = sizes[sizes["label"] == name]
        pairs = zip(of_class["subtype"], of_class["n"], strict=True)
        for place, (subtype, count) in enumerate(pairs):
            inside = set(groups.index[(labels == name) & (of_case == subtype)])
            cells = [_accuracy(caller, inside, level) for caller in shown]
            rows.append(TableRow((name, subtype, int(count), *cells), opens=place == 0))
    columns = [
        TableColumn("class", "Class", "text"),
        TableColumn("subtype", "Subtype", "text"),
        TableColumn("n", "Cases"),
    ]
    columns += [
        TableColumn(f"accuracy_{place}_{caller.name}", caller.name, "estimate", 2)
        for place, caller in enumerate(shown)
    ]
    return Table(
        key=f"subtypes_{judged.case_set.key}",
        title=f"Accuracy by subtype, {judged.case_set.inline_title}",
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"Share of correct calls with Wilson's interval, by patient if several calls are of a "
        f"patient. Subtypes of at least {_FEWEST} cases.",
    )


def _together(name: str, callers: Sequence[Caller]) -> list[Caller]:
    """Return all callers as one, if there are several."""
    members = tuple(member for caller in callers for member in caller.members)
    return [Caller(name, members)] if len(callers) > 1 else []


def _accuracy(caller: Caller, cases: set[str], level: float) -> Estimate:
    own = caller.cases[caller.cases["case_id"].isin(cases)]
    right = (own["called"] == own["label"]).to_numpy()
    return clustered_proportion(right, own["patient_id"].to_numpy(str), level=level)


def agreement_table(
    judged: JudgedSet, callers: Sequence[Caller], reference: str, *, level: float
) -> Table:
    """Show the agreement of the calls: Fleiss' κ of groups, Cohen's κ with one model. Table 4."""
    readers = [caller for caller in callers if caller.reads]
    models = [caller for caller in callers if not caller.reads]
    model = next(caller for caller in models if caller.name == reference)
    groups = [(f"readers and {reference}", [model, *readers]), ("readers", readers)]
    groups += [(caller.name, [caller]) for caller in readers if len(readers) > 1]
    groups.append(("models", models))
    rows = []
    for place, (name, members) in enumerate(groups):
        table = _table_of(members).dropna()
        if table.shape[1] > 1 and len(table):
            kappa = fleiss_kappa(table.to_numpy(str), level=level)
            cells: tuple[Cell, ...] = ("Fleiss", name, table.shape[1], len(table), kappa)
            rows.append(TableRow((*cells, _grade(kappa)), opens=place == 0))
    others = [*readers, *(caller for caller in models if caller is not model)]
    pairs = [(caller.name, one) for caller in others for one in caller.members]
    for place, (name, one) in enumerate(pairs):
        table = _table_of([model, Caller(name, (one,))]).dropna()
        if not len(table):
            continue
        kappa = cohen_kappa(*table.to_numpy(str).T, level=level)
        cells = ("Cohen", f"{reference} and {one.name}", 2, len(table), kappa)
        rows.append(TableRow((*cells, _grade(kappa)), opens=place == 0))
    return Table(
        key=f"agreement_{judged.case_set.key}",
        title=f"Agreement of models and readers, {judged.case_set.inline_title}",
        columns=(
            TableColumn("kappa", "κ", "text"),
            TableColumn("who", "Between", "text"),
            TableColumn("callers", "Number"),
            TableColumn("n", "Cases"),
            TableColumn("estimate", "Agreement of the calls", "estimate"),
            TableColumn("grade", "Grade", "text"),
        ),
        rows=tuple(rows),
        note="On the cases that all have. The grades are those of the radiograph paper: up to 0.2 "
        "low, 0.4 general, 0.6 moderate, 0.8 high, above extremely high.",
    )


def _grade(kappa: Estimate) -> str:
    return "" if kappa.value is None else kappa_wording(kappa.value)
