"""The breaks of break_it.py still fit the source."""

import pytest
from break_it import BREAKS, ROOT


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: one.name)
def test_break_fits_the_source_and_names_a_test(one):
    assert (ROOT / "src" / "lcomp" / one.file).read_text().count(one.text) == 1
    file, _, name = one.test.partition("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()
