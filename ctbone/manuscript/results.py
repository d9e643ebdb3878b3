"""The Results section in sentences, with its tables, from ``metrics.json``."""

from __future__ import annotations

from collections.abc import Sequence

from ctbone.document import Table
from ctbone.manuscript.methods import METRIC_NAMES, primary_comparisons, title_of, unit_of
from ctbone.manuscript.numbers import Numbers
from ctbone.manuscript.parts import (
    Author,
    Block,
    Field,
    Heading,
    NumberedTable,
    Paragraph,
    Reference,
    line,
    listed,
    sentences,
)
from ctbone.manuscript.tables import (
    baseline_table,
    comparison_table,
    effect_table,
    performance_table,
)

_SETS = ("internal", "external", "validation")
_NAMED = ("auc", "sensitivity", "specificity", "accuracy")
"""Metrics in the text; the tables have all."""
_CALIBRATION = ("calibration_slope", "calibration_intercept", "brier")
_MOST_LISTED = 6
"""Comparisons that a sentence lists."""


def results(numbers: Numbers) -> list[Block]:
    """Return the headings, paragraphs and tables of the Results section.

    Parameters
    ----------
    numbers
        The fields. Primary comparisons come first; results without fields are left out.
    """
    writer = _Writer(numbers)
    writer.section("Participants", writer.participants())
    writer.section("Primary comparisons", writer.primary())
    for key in _SETS:
        if path := set_path(numbers, key):
            writer.section(f"Performance, {_WHERE[key]}", writer.performance(path, key))
    writer.section("Comparisons of models", writer.comparisons())
    writer.section("Fusion weights", writer.weights())
    writer.section("Reader study", writer.readers())
    return writer.blocks


_WHERE = {"internal": "internal test", "external": "external test", "validation": "validation"}


def set_path(numbers: Numbers, key: str) -> tuple[str, ...] | None:
    """Return where the results of a set are: the leading set stands at the top of the file.

    The validation set is reported only if there is no other.
    """
    if numbers.get("set") == key:
        return ("models",)
    if key != "validation" and numbers.get(key, "models"):
        return (key, "models")
    return None


class _Writer:
    """Collects the blocks and numbers the tables."""

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.blocks: list[Block] = [Heading("Results", 1)]
        self.count = 0

    def section(self, title: str, blocks: list[Block]) -> None:
        """Add a section unless it is empty."""
        kept = [block for block in blocks if block]
        self.blocks += [Heading(title, 2), *kept] if kept else []

    def table(self, table: Table) -> NumberedTable:
        """Give a table the next number."""
        self.count += 1
        return NumberedTable(self.count, table)

    def participants(self) -> list[Block]:
        """Point to the baseline table."""
        table = baseline_table(self.numbers)
        if table is None:
            return [(Author("characteristics of the participants"),)]
        made = self.table(table)
        text = line(
            "{table} shows the characteristics of the {unit}s.",
            table=Reference(f"Table {made.number}"),
            unit=unit_of(self.numbers),
        )
        return [text, made]

    def primary(self) -> list[Block]:
        """Answer the primary comparisons, one sentence each."""
        return [_primary(self.numbers, path) for path in primary_comparisons(self.numbers)]

    def performance(self, path: tuple[str, ...], key: str) -> list[Block]:
        """Describe every model on a set, and its table."""
        numbers = self.numbers
        models = numbers.names(*path)
        if not models:
            return []
        made = self.table(performance_table(numbers, path, _WHERE[key]))
        first = (*path, models[0])
        positives = (
            line(
                ", {k} of them {positive}",
                k=numbers.count(*first, "positives"),
                positive=numbers.text("positive"),
            )
            if numbers.get("positive")
            else ()
        )
        opening = line(
            "The {where} had {n} cases{positives} ({table}).",
            where=_WHERE[key],
            n=numbers.count(*first, "n"),
            positives=positives,
            table=Reference(f"Table {made.number}"),
        )
        shown = _named_models(numbers, models)
        discrimination, calibration = (
            [_estimates(numbers, (*path, model), model, names) for model in shown]
            for names in (_NAMED, _CALIBRATION)
        )
        return [sentences(opening, *discrimination), sentences(*calibration), made]

    def comparisons(self) -> list[Block]:
        """Summarise the exploratory comparisons of each set, and list them in a table."""
        blocks: list[Block] = []
        for key in _SETS:
            path = set_path(self.numbers, key)
            where = (*path[:-1], "comparisons") if path else ()
            if where and self.numbers.get(*where):
                made = self.table(comparison_table(self.numbers, where, _WHERE[key]))
                reference = Reference(f"Table {made.number}")
                blocks += [_comparisons(self.numbers, where, _WHERE[key], reference), made]
        return blocks

    def weights(self) -> list[Block]:
        """State the weights of each fusion."""
        names = self.numbers.names("fusion")
        return [sentences(*(_weights(self.numbers, name) for name in names))]

    def readers(self) -> list[Block]:
        """State the effect of AI on the readers."""
        numbers = self.numbers
        effect = ("reader_study", "effect")
        if not numbers.names(*effect):
            return []
        made = self.table(effect_table(numbers))
        lines = [
            _effect(numbers, (*effect, name), name)
            for name in ("auc", "sensitivity", "specificity")
            if numbers.get(*effect, name)
        ]
        if numbers.get("reader_study", "time_ratio"):
            ratio = ("reader_study", "time_ratio")
            lines.append(
                line(
                    "The ratio of the reading time with AI to that without was {ratio}.",
                    ratio=numbers.estimate(*ratio, digits=2, p=(*ratio, "p_value")),
                )
            )
        lines.append(line("{table} has every measure.", table=Reference(f"Table {made.number}")))
        return [sentences(*lines), made]


def _weights(numbers: Numbers, name: str) -> Paragraph:
    path = ("fusion", name, "mean")
    weights = [
        line(
            "{weight} for {part}",
            weight=numbers.value(*path, part, digits=2),
            part=title_of(numbers, part),
        )
        for part in numbers.names(*path)
    ]
    if not weights:
        return ()
    return line(
        "In {name}, the mean weights over the folds were {weights}.",
        name=title_of(numbers, name),
        weights=listed(weights),
    )


def _named_models(numbers: Numbers, models: list[str]) -> list[str]:
    """Return the models of the primary comparisons; all models if there are none."""
    named: set[str] = set()
    for path in primary_comparisons(numbers):
        named |= {str(name) for name in _sides(numbers, path)}
    return [name for name in models if name in named] or models


def _sides(numbers: Numbers, path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Return the two models of a comparison; none if they are not named."""
    found = numbers.get(*path)
    if not isinstance(found, dict):
        return ()
    pair = found.get("compare") or [found.get("a"), found.get("b")]
    return tuple(map(str, pair)) if len(pair) == 2 and all(pair) else ()


def _primary(numbers: Numbers, path: tuple[str | int, ...]) -> Paragraph:
    sides = _sides(numbers, path)
    if not sides or numbers.read(*path).value is None:
        return (Author(f"primary comparison {path[-1]}, which metrics.json does not describe"),)
    cohort = next((key for key in ("cohort", "set") if numbers.get(*path, key)), None)
    where = (
        line(" on the {set} test", set=numbers.text(*path, cohort)) if cohort is not None else ()
    )
    adjusted = next(
        (
            key
            for key in ("p_value_holm", "p_value_adjusted")
            if numbers.get(*path, key) is not None
        ),
        "p_value",
    )
    metric = str(numbers.get(*path, "metric") or "auc")
    return line(
        "Primary comparison of {a} with {b}{where}: the difference in {metric} was {difference}.",
        a=title_of(numbers, sides[0]),
        b=title_of(numbers, sides[1]),
        where=where,
        metric=METRIC_NAMES.get(metric, metric),
        difference=numbers.estimate(*path, p=(*path, adjusted)),
    )


def _estimates(
    numbers: Numbers, path: tuple[str, ...], model: str, names: Sequence[str]
) -> Paragraph:
    """Return "For 3d, the AUC was 0.9 (95% CI …) and the sensitivity 0.8 (…)."."""
    known = [name for name in names if numbers.get(*path, name) is not None]
    if not known:
        return ()
    found = [
        line(
            "the {metric} {was}{estimate}",
            metric=METRIC_NAMES[name],
            was="" if place else "was ",
            estimate=numbers.estimate(*path, name),
        )
        for place, name in enumerate(known)
    ]
    return line("For {model}, {found}.", model=title_of(numbers, model), found=listed(found))


def _comparisons(
    numbers: Numbers, path: tuple[str, ...], where: str, table: Reference
) -> Paragraph:
    all_ = numbers.get(*path)
    alpha = 1 - float(numbers.get("confidence") or 0.95)
    adjusted = [(place, entry.get("p_value_holm")) for place, entry in enumerate(all_)]
    small = [place for place, p in adjusted if p is not None and p < alpha]
    name = "/".join(path)
    text = line(
        "On the {where}, {k} of {n} exploratory comparisons of AUCs had an adjusted p below "
        "{alpha} ({table}).",
        where=where,
        k=Field(str(len(small)), f"{name}/*/p_value_holm (count)"),
        n=numbers.count(*path),
        alpha=Field(f"{alpha:.2g}", "confidence (1 − level)"),
        table=table,
    )
    if not 0 < len(small) <= _MOST_LISTED:
        return text
    each = [
        line(
            "{a} against {b} {difference}",
            a=title_of(numbers, str(numbers.get(*path, place, "a"))),
            b=title_of(numbers, str(numbers.get(*path, place, "b"))),
            difference=numbers.estimate(*path, place, p=(*path, place, "p_value_holm")),
        )
        for place in small
    ]
    listing = line(
        "These are, with the adjusted p: {each}.", each=listed(each, between="; ", last="; ")
    )
    return sentences(text, listing)


def _effect(numbers: Numbers, path: tuple[str, ...], name: str) -> Paragraph:
    return line(
        "The mean {measure} of the readers was {before} without and {after} with AI, a change of "
        "{change}.",
        measure=METRIC_NAMES.get(name, name),
        before=numbers.estimate(*path, "unaided"),
        after=numbers.estimate(*path, "aided"),
        change=numbers.estimate(*path, "change", p=(*path, "change", "p_value")),
    )
