"""The Methods section in sentences, from the records in ``metrics.json``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ctbone.config import READER
from ctbone.manuscript.numbers import Numbers
from ctbone.manuscript.parts import (
    Author,
    Block,
    Field,
    Heading,
    Paragraph,
    Part,
    line,
    listed,
    sentences,
)

METRIC_NAMES = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "brier": "Brier score",
    "calibration_intercept": "calibration intercept",
    "calibration_slope": "calibration slope",
}
"""The metrics that a text names."""
_IMAGES = ("records", "images")
# What differs between models in the words of a method: the level, which is stated once, and the
# degrees of freedom.
_DETAIL = re.compile(r",? ?\d+(\.\d+)?%|,? ?\(df [^)]*\)")
_DESIGNS = {
    "factorial": "fully crossed: all readers read the same cases",
    "split-plot": "split-plot: groups of readers read their own cases",
    "nested": "nested: each reader read other cases",
}
_STARTS = {"none": "random", "imagenet": "ImageNet"}


def methods(numbers: Numbers) -> list[Block]:
    """Return the headings and paragraphs of the Methods section.

    Parameters
    ----------
    numbers
        The fields; a sentence whose field is missing is left to the authors or left out.
    """
    parts: dict[str, list[Paragraph]] = {
        "Study population": _population(numbers),
        "Reference standard": [_reference(numbers)],
        "Image preparation": [_images(numbers)],
        "Networks and training": [*_networks(numbers), _elsewhere(numbers)],
        "Cross-validation": [_folds(numbers)],
        "Fusion": _fusions(numbers),
        "Reader study": [_readers(numbers)],
        "Statistical analysis": [_statistics(numbers), _comparisons(numbers), _software(numbers)],
    }
    blocks: list[Block] = [Heading("Methods", 1)]
    for title, found in parts.items():
        kept = [paragraph for paragraph in found if paragraph]
        blocks += [Heading(title, 2), *kept] if kept else []
    return blocks


def _population(numbers: Numbers) -> list[Paragraph]:
    cohort = ("records", "cohort")
    first: list[Paragraph] = []
    if numbers.get("synthetic"):
        first.append(
            ("A program made the images, labels and readings of this study; no patient took part.",)
        )
    first.append((Author("study design, ethics approval and consent"),))
    if numbers.get(*cohort) is None:
        return [sentences(*first, (Author("cases, centres and dates"),))]
    first.append(
        line(
            "The study included {cases} cases of {patients} {unit}s ({classes}).",
            cases=numbers.count(*cohort, "cases"),
            patients=numbers.count(*cohort, "patients"),
            unit=unit_of(numbers),
            classes=_counted(numbers, *cohort, "classes"),
        )
    )
    first += [_set(numbers, key) for key in numbers.names(*cohort, "sets")]
    first += [_left_out(numbers), (Author("eligibility criteria, centres and dates"),)]
    return [sentences(*first)]


def _set(numbers: Numbers, key: str) -> Paragraph:
    """State the cases of one set of results."""
    path = ("records", "cohort", "sets", key)
    names = {"internal": "internal test", "external": "external test", "validation": "validation"}
    template = "The {name} comprised {cases} cases of {patients} {unit}s ({classes})"
    if key == "external":
        template += " from {count} centres ({centres})"
    return line(
        template + ".",
        name=names.get(key, key),
        cases=numbers.count(*path, "cases"),
        patients=numbers.count(*path, "patients"),
        unit=unit_of(numbers),
        classes=_counted(numbers, *path, "classes"),
        count=numbers.count(*path, "centres"),
        centres=listed(
            [
                line("{name}, {n}", name=numbers.key(*at, name), n=numbers.count(*at, name))
                for at in [(*path, "centres")]
                for name in numbers.names(*at)
            ],
            between="; ",
            last="; ",
        ),
    )


def _counted(numbers: Numbers, *path: str) -> Paragraph:
    """Return "12 benign and 30 malignant"."""
    names = numbers.names(*path)
    return listed(
        [
            line("{n} {name}", n=numbers.count(*path, name), name=numbers.key(*path, name))
            for name in names
        ]
    )


def _left_out(numbers: Numbers) -> Paragraph:
    path = ("records", "cohort", "excluded")
    lines: list[Paragraph] = []
    if numbers.get(*path, "cases"):
        reasons = [
            line(
                "{reason} ({n})",
                reason=numbers.key(*path, "reasons", reason),
                n=numbers.count(*path, "reasons", reason),
            )
            for reason in numbers.names(*path, "reasons")
        ]
        lines.append(
            line(
                "No result is reported for {n} cases: {reasons}.",
                n=numbers.count(*path, "cases"),
                reasons=listed(reasons, between="; ", last="; "),
            )
        )
    else:
        lines.append(("All cases had a result.",))
    missing = ("records", "cohort", "missing")
    if names := numbers.names(*missing):
        cells = [
            line("{name} in {n}", name=numbers.key(*missing, name), n=numbers.count(*missing, name))
            for name in names
        ]
        lines.append(line("Values were missing of {cells} cases.", cells=listed(cells)))
    return sentences(*lines)


def _reference(numbers: Numbers) -> Paragraph:
    classes = [numbers.text("classes", place) for place in range(len(numbers.get("classes") or ()))]
    positive = (
        line(" The positive class was {name}.", name=numbers.text("positive"))
        if numbers.get("positive")
        else ()
    )
    return line(
        "Each case was {classes}.{positive} {who}",
        classes=listed(classes, last=" or "),
        positive=positive,
        who=Author("reference standard, who assessed it and what they knew"),
    )


def _images(numbers: Numbers) -> Paragraph:
    networks = [
        numbers.get("records", "networks", name, 0, "dim") for name in _networks_of(numbers)
    ]
    lines: list[Paragraph] = [(Author("scanners and acquisition protocol"),)]
    if "radiograph" in networks:
        key = "preprocess.radiographs"
        lines.append(
            line(
                "Radiographs were converted to one grey scale and cut to their region to "
                "{size} × {size} pixels.",
                size=numbers.text(*_IMAGES, f"{key}.size"),
            )
        )
        return sentences(*lines)
    if not networks:
        return sentences(*lines, (Author("preparation of the images"),))
    lines.append(("CT volumes were read in Hounsfield units (HU) and resampled once.",))
    lines.append((Author("who outlined the lesions, and with which software"),))
    if "3d" in networks:
        lines.append(_cube(numbers))
    if "2d" in networks:
        lines.append(_planes(numbers))
    return sentences(*lines)


def _cube(numbers: Numbers) -> Paragraph:
    key = "preprocess.crop_3d"
    size, spacing, margin = (
        numbers.short(*_IMAGES, f"{key}.{name}") for name in ("size", "spacing", "margin")
    )
    if numbers.get(*_IMAGES, f"{key}.mode") == "fit":
        return line(
            "The bounding box of each lesion, with a margin of {margin} mm, was scaled to a cube "
            "of {size} × {size} × {size} voxels.",
            size=size,
            margin=margin,
        )
    return line(
        "A cube of {size} × {size} × {size} voxels of {spacing} mm was cut around each lesion, "
        "with a margin of at least {margin} mm; a larger lesion was scaled to fit.",
        size=size,
        spacing=spacing,
        margin=margin,
    )


def _planes(numbers: Numbers) -> Paragraph:
    key = "preprocess.images_2d"
    views = {
        "planes": "the axial, coronal and sagittal sections in which the lesion is largest",
        "neighbours": "three neighbouring axial sections",
    }
    return line(
        "The planar images were {views}, of {size} × {size} pixels with a margin of {margin} mm.",
        views=views.get(str(numbers.get(*_IMAGES, f"{key}.views")), "sections of the lesion"),
        size=numbers.short(*_IMAGES, f"{key}.size"),
        margin=numbers.short(*_IMAGES, f"{key}.margin"),
    )


def _networks_of(numbers: Numbers) -> list[str]:
    return numbers.names("records", "networks")


def _networks(numbers: Numbers) -> list[Paragraph]:
    return [
        _network(numbers, name, group)
        for name in _networks_of(numbers)
        for group in range(len(numbers.get("records", "networks", name)))
    ]


def _network(numbers: Numbers, name: str, group: int) -> Paragraph:
    path = ("records", "networks", name, group)
    training = (*path, "training")
    several = len(numbers.get("records", "networks", name)) > 1
    weights = str(numbers.get(*path, "weights"))
    views = {"equal": "the mean", "area": "the mean, weighted by the area of the lesion,"}
    mean = views.get(str(numbers.get(*path, "view_weights")), "a weighted mean")
    return sentences(
        line(
            "The model {name}{folds} was a {network} with {dimensions}-dimensional input, trained "
            "from {start} weights for {epochs} epochs in batches of {batch} with {optimizer}, a "
            "learning rate of {rate} ({schedule}) and {loss} loss.",
            name=title_of(numbers, name),
            folds=line(" (folds {n})", n=_values(numbers, *path, "folds")) if several else (),
            network=numbers.text(*path, "network"),
            dimensions=numbers.count(*path, "dimensions"),
            start=Field(_STARTS.get(weights, "given"), "/".join(map(str, (*path, "weights")))),
            epochs=numbers.count(*training, "epochs"),
            batch=numbers.count(*training, "batch_size"),
            optimizer=numbers.text(*training, "optimizer"),
            rate=numbers.short(*training, "learning_rate"),
            schedule=numbers.text(*training, "schedule"),
            loss=Field(
                str(numbers.get(*training, "loss")).replace("_", "-"), "/".join(map(str, training))
            ),
        ),
        _windows(numbers, path),
        _augmentation(numbers, training),
        (f"The probability of a case is {mean} of its images.",)
        if numbers.get(*path, "views")
        else (),
        line(
            "The weights of the epoch with the highest validation AUC were kept (epochs {epochs}).",
            epochs=_values(numbers, *path, "kept_epochs"),
        ),
    )


def _values(numbers: Numbers, *path: str | int) -> Paragraph:
    return listed([numbers.count(*path, place) for place in range(len(numbers.get(*path) or ()))])


def _windows(numbers: Numbers, path: tuple[str | int, ...]) -> Paragraph:
    windows = [
        line(
            "{center}/{width}",
            center=numbers.short(*path, "windows", place, "center"),
            width=numbers.short(*path, "windows", place, "width"),
        )
        for place in range(len(numbers.get(*path, "windows") or ()))
    ]
    if not windows:
        return ()
    return line(
        "Its input channels were grey-scale windows (centre/width, {unit}): {windows}.",
        unit=numbers.text(*path, "unit"),
        windows=listed(windows),
    )


def _augmentation(numbers: Numbers, training: tuple[str | int, ...]) -> Paragraph:
    path = (*training, "augmentation")
    if numbers.get(*path) is None:
        return ()
    flips = [
        Field(axis.replace("_", "-"), "/".join(map(str, (*path, "flip"))))
        for axis in numbers.get(*path, "flip") or ()
    ]
    changes = [
        line("rotated by up to {angle}°", angle=numbers.short(*path, "rotation")),
        line("shifted by up to {shift} of the edge", shift=numbers.share(*path, "translation")),
        line("zoomed by up to {scale}", scale=numbers.share(*path, "scale")),
    ]
    changes += [line("mirrored ({axes})", axes=listed(flips))] if flips else []
    return line("Training samples were {changes} at random.", changes=listed(changes))


def _elsewhere(numbers: Numbers) -> Paragraph:
    path = ("records", "elsewhere")
    names = [numbers.text(*path, place) for place in range(len(numbers.get(*path) or ()))]
    if not names:
        return ()
    return line(
        "The probabilities of {names} were made with other software. {how}",
        names=listed(names),
        how=Author("how these models were trained, and on which cases"),
    )


def _folds(numbers: Numbers) -> Paragraph:
    path = ("records", "folds")
    if numbers.get(*path) is None:
        return (Author("how cases were divided into training, validation and test sets"),)
    unit = unit_of(numbers)
    chosen = ["epochs"]
    chosen += ["thresholds"] if numbers.get("threshold") == "youden" else []
    chosen += ["fusion weights"] if numbers.get("records", "fusions") else []
    chosen[0] = chosen[0].capitalize()
    known = not numbers.get("records", "elsewhere")
    external = (
        " No model was trained on external cases; their probability is the mean over the models of "
        "the folds."
        if numbers.get("external") and known
        else ""
    )
    return line(
        "Models were trained in {count} cross-validation folds, drawn by {unit} and stratified by "
        "class. In each, one fold was the test set, {share} of the {unit}s of the other folds were "
        "the validation set, and the rest were the training set. {chosen} were chosen on "
        "validation sets only. Internal results{of} are out-of-fold: each case was predicted by "
        "the one model that had not seen its {unit}.{external}",
        count=numbers.count(*path, "count"),
        share=numbers.share(*path, "validation_share"),
        unit=unit,
        chosen=listed(chosen),
        of="" if known else " of the models that were trained in this study",
        external=external,
    )


def _fusions(numbers: Numbers) -> list[Paragraph]:
    return [sentences(*(_fusion(numbers, name) for name in numbers.names("records", "fusions")))]


def _fusion(numbers: Numbers, name: str) -> Paragraph:
    path = ("records", "fusions", name)
    parts = [
        *(title_of(numbers, str(part)) for part in numbers.get(*path, "parts")),
        *(
            numbers.text(*path, "columns", place)
            for place in range(len(numbers.get(*path, "columns") or ()))
        ),
    ]
    reader = (
        line(" The reader is {reader}.", reader=numbers.text(*path, "reader"))
        if numbers.get(*path, "reader")
        else ()
    )
    return line(
        "The combination {name} is a {kind} of {parts}: {how}.{reader}",
        name=title_of(numbers, name),
        kind=numbers.text(*path, "kind"),
        parts=listed(parts),
        how=numbers.text(*path, "how"),
        reader=reader,
    )


def _readers(numbers: Numbers) -> Paragraph:
    if numbers.get("reader_study") is None:
        return ()
    path = ("reader_study",)
    named = all(numbers.names(*path, "levels"))  # a level may be empty
    levels = line(" ({levels})", levels=_counted(numbers, *path, "levels")) if named else ()
    lines = [
        line(
            "The reader study had {count} readers{levels}, who read {cases} cases; {positives} "
            "of these were {positive}. The design was {design}.",
            count=_readers_count(numbers),
            levels=levels,
            cases=numbers.count(*path, "cases"),
            positives=numbers.count(*path, "positives"),
            positive=numbers.text("positive"),
            design=_DESIGNS.get(str(numbers.get(*path, "design")), "as described by the authors"),
        )
    ]
    if numbers.get(*path, "effect"):
        lines.append(
            line(
                "Each case was read without and with the support of {model}. {washout}",
                model=numbers.text(*path, "model") if numbers.get(*path, "model") else "AI",
                washout=Author("order of the sessions and the interval between them"),
            )
        )
    lines.append(
        line(
            "Readers gave a confidence on a scale that is read as a probability. {who}",
            who=Author("training and experience of the readers, and what they knew"),
        )
    )
    if numbers.get(*path, "effect"):
        lines.append(
            (
                "The effect of AI was tested with readers and cases as random samples "
                "(Obuchowski–Rockette model, degrees of freedom of Hillis).",
            )
        )
    if numbers.get(*path, "missing"):
        lines.append(line("{n} readings were missing.", n=numbers.count(*path, "missing")))
    return sentences(*lines)


def _readers_count(numbers: Numbers) -> Field:
    counts = [
        numbers.get("reader_study", "levels", name)
        for name in numbers.names("reader_study", "levels")
    ]
    return Field(str(sum(counts)), "reader_study/levels (sum)")


def _statistics(numbers: Numbers) -> Paragraph:
    lines = [_threshold(numbers)]
    model = next(iter(numbers.names("models")), None)
    grouped: dict[str, list[str]] = {}
    for name in METRIC_NAMES:
        method = numbers.get("models", model, name, "method") if model else None
        if method:
            grouped.setdefault(_method(method), []).append(name)
    each = [
        line(
            "for {names}, {method}",
            names=listed([METRIC_NAMES[name] for name in names]),
            method=Field(method, f"models/{model}/{names[0]}/method"),
        )
        for method, names in grouped.items()
    ]
    lines.append(
        line(
            "Intervals have a level of {level}: {each}.",
            level=numbers.share("confidence"),
            each=listed(each, between="; ", last="; "),
        )
        if each
        else line("Intervals have a level of {level}.", level=numbers.share("confidence"))
    )
    lines.append(
        (
            "A value that cannot be computed is reported as undefined with its reason, never as "
            "zero.",
        )
    )
    return sentences(*lines)


def _method(text: str) -> str:
    """Shorten the method of an estimate: without the level, the df and the set of cases.

    Examples
    --------
    >>> _method("Wilson 95%, by patient (Rao–Scott); internal test, 80 cases")
    'Wilson, by patient (Rao–Scott)'
    """
    return _DETAIL.sub("", text.split("; ")[0]).strip(" ,")


def _threshold(numbers: Numbers) -> Paragraph:
    if not numbers.get("positive"):
        return ("A case was given its most probable class.",)
    if numbers.get("threshold") == "youden":
        return (
            "Thresholds maximise Youden's index on the validation set of each fold; a case at or "
            "above the threshold was called positive.",
        )
    return line(
        "A case with a probability of at least {threshold} was called {positive}.",
        threshold=numbers.short("threshold"),
        positive=numbers.text("positive"),
    )


def _comparisons(numbers: Numbers) -> Paragraph:
    lines: list[Paragraph] = []
    if primary_comparisons(numbers):
        lines.append(
            (
                "The primary comparisons were named in the settings; their p-values are adjusted "
                "among themselves only. All other comparisons are exploratory.",
            )
        )
    elif numbers.get("comparisons"):
        lines.append(("No primary comparison was named, so all comparisons are exploratory.",))
    if method := numbers.get("comparisons", 0, "method"):
        lines.append(
            line(
                "AUCs were compared on the cases of both models ({method}); p-values are "
                "two-sided, and those of exploratory comparisons are adjusted by Holm's method "
                "within a set of cases.",
                method=Field(_method(method), "comparisons/0/method"),
            )
        )
    return sentences(*lines)


def primary_comparisons(numbers: Numbers) -> list[tuple[str | int, ...]]:
    """Return the paths of the primary comparisons; none if the study names none.

    ``primary`` is a list of comparisons, or a mapping that has them under ``comparisons``.
    """
    for path in (("primary",), ("primary", "comparisons")):
        found = numbers.get(*path)
        if isinstance(found, list):
            return [(*path, place) for place in range(len(found))]
    return []


def _software(numbers: Numbers) -> Paragraph:
    path: tuple[str, ...] = ("records", "software")
    names = numbers.names(*path)
    if not names:
        path = ("provenance",)
        names = [name for name in ("ctbone", "python") if numbers.get("provenance", name)]
    each: Sequence[Paragraph] = [
        line("{name} {version}", name=name, version=numbers.text(*path, name)) for name in names
    ]
    if not each:
        return ()
    return line(
        "Software: {each}. {where}",
        each=listed(each),
        where=Author("availability of code and data"),
    )


def unit_of(numbers: Numbers) -> str:
    """Return what the folds keep together: "patient", or "group" where patients are unknown."""
    return "group" if numbers.get("records", "cohort", "unit") == "group" else "patient"


def title_of(numbers: Numbers, name: str) -> Part:
    """Return the title of a model from the settings, or its name; the reader is "the reader"."""
    for path in (("titles", name), ("records", "networks", name, 0, "title")):
        if numbers.get(*path):
            return numbers.text(*path)
    if name == READER:
        return Field("the reader", f"models/{READER}")
    places = (("models",), ("external", "models"), ("records", "networks"), ("records", "fusions"))
    where = next((path for path in places if numbers.get(*path, name) is not None), ("models",))
    return numbers.key(*where, name)
