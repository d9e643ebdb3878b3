import pickle

from ctbone.errors import CohortError


def test_an_error_survives_the_way_home_from_a_worker():
    error = CohortError(
        "the mask is empty", case="P1", file="m.nii", found=0, expected="> 0", remedy="draw it"
    )
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is CohortError
    assert str(back) == str(error)
    assert str(error).splitlines() == [
        "case P1: the mask is empty",
        "  file:     m.nii",
        "  found:    0",
        "  expected: > 0",
        "  remedy:   draw it",
    ]
