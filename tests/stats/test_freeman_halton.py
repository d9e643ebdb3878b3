"""The Fisher–Freeman–Halton test against R's fisher.test and against a slow definition."""

import itertools
import math

import numpy as np
import pytest

from ctbone.stats.freeman_halton import freeman_halton
from ctbone.stats.group_tests import independence_test

# R 4.2.2: options(digits = 12); fisher.test(matrix(c(...), nrow = ..., byrow = TRUE))$p.value
FROM_R = [
    ([[3, 0, 1], [0, 4, 1]], 0.0238095238095),
    ([[5, 1, 0, 2], [1, 6, 3, 0]], 0.00811280223045),
    ([[4, 1, 0], [2, 5, 3], [0, 2, 6]], 0.0115973919496),
    ([[12, 2], [3, 20]], 1.75910386602e-05),
]
# R's own example: Agresti (2002), Categorical Data Analysis, p. 57, job satisfaction.
JOB = np.array([[1, 3, 10, 6], [2, 3, 10, 7], [1, 6, 14, 12], [0, 1, 9, 11]])
JOB_P = 0.782684938966


@pytest.mark.parametrize(("table", "p"), FROM_R)
def test_as_r_gives_it(table, p):
    found = freeman_halton(np.array(table))
    assert found.p_value == pytest.approx(p, rel=1e-9)
    assert found.method.endswith("exact")
    turned = freeman_halton(np.array(table).T[::-1])
    assert turned.p_value == pytest.approx(p, rel=1e-9)


def test_too_many_tables_are_drawn_and_the_method_says_so():
    found = freeman_halton(JOB)
    assert "100,000 random tables" in found.method
    error = math.sqrt(JOB_P * (1 - JOB_P) / 100_000)
    assert abs(found.p_value - JOB_P) < 4 * error
    assert freeman_halton(JOB).p_value == found.p_value, "the seed is fixed"


def test_the_share_of_tables_by_its_definition():
    table = np.array([[2, 0, 1, 1], [0, 3, 1, 0]])
    rows, columns = table.sum(axis=1), table.sum(axis=0)

    def chance(counts):
        above = math.prod(map(math.factorial, [*rows, *columns]))
        return above / math.prod(map(math.factorial, [table.sum(), *np.ravel(counts)]))

    tables = []
    for top in itertools.product(*(range(total + 1) for total in columns)):
        if sum(top) == rows[0]:
            tables.append(np.array([top, columns - top]))
    chances = [chance(one) for one in tables]
    assert sum(chances) == pytest.approx(1)
    share = sum(one for one in chances if one <= chance(table) * (1 + 1e-7))
    assert freeman_halton(table).p_value == pytest.approx(share)


@pytest.mark.parametrize(
    ("table", "method"),
    [
        ([[30, 20], [20, 30]], "χ² with Yates' correction"),
        ([[5, 4], [4, 6]], "Fisher–Freeman–Halton test, exact"),
        ([[30, 20, 10], [20, 30, 10]], "χ², no correction"),
        ([[30, 20, 1], [20, 30, 0]], "Fisher–Freeman–Halton test, exact"),
        ([[9, 9, 9, 9, 9, 2], [9, 9, 9, 9, 9, 3]], "χ², no correction"),
    ],
)
def test_small_expected_counts_choose_the_test(table, method):
    """Cochran 1954: none below 1, at most a fifth below 5; two by two: none below 5."""
    assert independence_test(table, test="by-expected-counts").method == method


def test_an_empty_group_has_no_test():
    found = independence_test([[0, 0, 0], [1, 2, 3]], test="freeman-halton")
    assert found.p_value is None
    assert found.why == "a group has no known value"
