import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from ctbone.errors import PhantomError
from ctbone.phantom.class_appearance import best_auc, draw_appearance, draw_evidence

CLASSES = ("benign", "malignant")


def evidence_auc(difficulty, count=3000):
    rng = np.random.default_rng(8)
    evidence = {
        name: [
            b - a
            for a, b in (
                draw_evidence(rng, name, classes=CLASSES, difficulty=difficulty)
                for _ in range(count)
            )
        ]
        for name in CLASSES
    }
    return mannwhitneyu(evidence["malignant"], evidence["benign"]).statistic / count**2


@pytest.mark.parametrize("difficulty", [0.4, 0.5, 0.6, 0.8, 1.0])
def test_evidence_separates_classes_as_much_as_promised(difficulty):
    assert evidence_auc(difficulty) == pytest.approx(best_auc(difficulty), abs=0.02)


def test_without_difficulty_the_true_class_always_has_the_highest_evidence():
    assert evidence_auc(0.0, count=300) == 1.0
    assert evidence_auc(0.01, count=300) == 1.0


def test_appearance_does_not_depend_on_the_class_at_full_difficulty():
    rng = np.random.default_rng(4)
    rims = {
        name: [
            draw_appearance(
                rng, draw_evidence(rng, name, classes=CLASSES, difficulty=1.0), CLASSES
            ).rim_mm
            for _ in range(1500)
        ]
        for name in CLASSES
    }
    assert mannwhitneyu(rims["malignant"], rims["benign"]).statistic / 1500**2 == pytest.approx(
        0.5, abs=0.03
    )


def test_evidence_follows_the_order_of_the_classes():
    rng = np.random.default_rng(0)
    first, second = draw_evidence(rng, "benign", classes=("malignant", "benign"), difficulty=0.1)
    assert second > first


@pytest.mark.parametrize("difficulty", [-0.1, 1.1])
def test_difficulty_out_of_range_is_refused(difficulty):
    with pytest.raises(PhantomError, match="out of range"):
        draw_evidence(np.random.default_rng(0), "benign", classes=CLASSES, difficulty=difficulty)


@pytest.mark.parametrize(
    ("name", "classes"), [("chordoma", CLASSES), ("benign", ("benign", "chordoma"))]
)
def test_a_class_without_profile_is_named(name, classes):
    with pytest.raises(PhantomError, match="chordoma"):
        draw_evidence(np.random.default_rng(0), name, classes=classes, difficulty=0.5)
