import numpy as np
import pandas as pd
import pytest

from ctbone.errors import PredictionError
from ctbone.predictions import case_probabilities, read_predictions, write_predictions
from ctbone.study import record_of

CLASSES = ("benign", "malignant")


def table() -> pd.DataFrame:
    rows = []
    for number in range(6):
        label = CLASSES[number % 2]
        rows.append(
            (
                f"C{number}",
                f"P{number}",
                "internal",
                "3d",
                number % 2,
                "test",
                "",
                label,
                0.1 * number,
            )
        )
    for number in range(2):
        rows += [
            (
                f"X{number}",
                f"X{number}",
                "centre2",
                "3d",
                k,
                "external",
                "",
                "benign",
                0.2 + 0.2 * k,
            )
            for k in (0, 1)
        ]
    rows.append(("X0", "X0", "centre2", "3d", 0, "external", "axial", "benign", 0.9))
    columns = [
        "case_id",
        "patient_id",
        "cohort",
        "model",
        "fold",
        "split",
        "view",
        "label",
        "p_malignant",
    ]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_benign=1 - frame["p_malignant"])


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "predictions" / "3d.csv"
    write_predictions(path, table(), CLASSES, {"stage": "test"})
    back = read_predictions(path, CLASSES)
    np.testing.assert_array_equal(back["p_malignant"], table()["p_malignant"])
    assert back["fold"].tolist() == table()["fold"].tolist()
    assert record_of(path).exists()


def test_external_cases_are_averaged_over_folds_and_views_stay_out(tmp_path):
    external = case_probabilities(table(), "external", CLASSES)
    assert external["case_id"].tolist() == ["X0", "X1"]
    np.testing.assert_allclose(external["p_malignant"], [0.3, 0.3])


def test_another_programs_table_needs_three_columns(tmp_path):
    path = tmp_path / "radiomics.csv"
    path.write_text("case_id;label;p_benign;p_malignant\nA;benign;0,3;0,7\n".replace("0,", "0."))
    row = read_predictions(path, CLASSES).iloc[0]
    assert (row["model"], row["split"], row["patient_id"], row["cohort"]) == (
        "radiomics",
        "test",
        "A",
        "internal",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"p_malignant": "1.7"}, "not within 0–1"),
        ({"p_malignant": "-0.1", "p_benign": "1.1"}, "not within 0–1"),
        ({"p_malignant": "inf"}, "not a number"),
        ({"p_malignant": "abc"}, "not a number"),
        ({"p_malignant": ""}, "not within 0–1"),
        ({"p_malignant": "nan"}, "not within 0–1"),
        ({"p_malignant": "0.9", "p_benign": "0.9"}, "add up"),
        ({"label": "maligant"}, "the label is not one of the classes"),
        ({"split": "testing"}, "the split is unknown"),
        ({"fold": "1.5"}, "fold is not a number"),
        ({"case_id": "C2"}, "two rows with the same"),
        ({"case_id": "C3", "fold": "0"}, "more than one fold"),
        ({"case_id": "C3", "split": "val"}, "more than one label"),
    ],
)
def test_a_faulty_row_is_refused(tmp_path, change, words):
    frame = table().astype(str)
    for column, text in change.items():
        frame.loc[0, column] = text
    frame.to_csv(tmp_path / "3d.csv", index=False)
    with pytest.raises(PredictionError, match=words):
        read_predictions(tmp_path / "3d.csv", CLASSES)


def test_a_faulty_table_is_not_written(tmp_path):
    with pytest.raises(PredictionError):
        write_predictions(tmp_path / "3d.csv", table().assign(p_benign=2.0), CLASSES, {})
    assert list(tmp_path.iterdir()) == []
