"""What is recorded of a foreign error: one line, without escape sequences, its cause and the user's line."""

import pytest
import torch
from torch.utils.data import DataLoader

from lcomp.errors import UserError
from lcomp.record.causes import LONGEST, condensed, error_message, innermost_message


def caught(call):
    with pytest.raises(Exception) as found:
        call()
    return found.value


def raising(outer, inner=None):
    def call():
        raise outer from inner

    return call


BANNER = "Failed to export. \x1b[96mThis is step 1/3\x1b[0m of exporting.\n- Next steps\n\n## Exception summary\n\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
        (ValueError("a\n  b\tc"), "ValueError: a b c"),
        (
            RuntimeError("\x1b[1;31mred\x1b[0m \x1b]8;;http://a\x07link\x1b]8;;\x1b\\ \x00\x08end\r"),
            "RuntimeError: red link end",
        ),
        (RuntimeError("x" * 1000), "RuntimeError: " + "x" * LONGEST),
    ],
)
def test_an_error_is_its_type_and_message_in_one_line_and_where_it_was_raised(error, words):
    message, _, place = error_message(caught(raising(error))).partition(", at ")
    assert message == words and place.startswith("test_causes.py:") and place.endswith(": raise outer from inner")


def test_a_users_mistake_is_said_in_its_own_words():
    assert error_message(UserError("kd.alpha=2:\n \x1b[1m0 to 1\x1b[0m")) == "kd.alpha=2: 0 to 1"


def test_what_an_error_was_raised_from_stands_beside_it():
    error = caught(raising(RuntimeError("cannot be made"), KeyError("width")))
    assert error_message(error).startswith("RuntimeError: cannot be made (KeyError: 'width'), at test_causes.py:")


def test_an_exporters_banner_gives_way_to_the_cause():
    error = caught(raising(RuntimeError(BANNER + "x" * 900), ValueError("cannot guard on u0\n\nFor more, see")))
    assert innermost_message(error).startswith("ValueError: cannot guard on u0, at test_causes.py:")


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {}["pixels"]


def test_an_error_of_a_loaders_worker_is_the_last_line_of_its_traceback():
    error = caught(lambda: next(iter(DataLoader(Rows(), 2, num_workers=1))))
    assert (
        error_message(error).startswith("KeyError: ")
        and "Traceback" not in error_message(error)
        and "pixels" in error_message(error)
    )


def test_lines_of_libraries_are_not_the_users():
    error = caught(lambda: torch.nn.Linear(3, 2)(torch.zeros(1, 4)))
    place = error_message(error).partition(", at ")[2]
    assert place.startswith("test_causes.py:") and "torch.nn.Linear(3, 2)(torch.zeros(1, 4))" in place


def test_plain_text_stays():
    assert condensed("accuracy 97 % (± 0.1), naïve: 'x'") == "accuracy 97 % (± 0.1), naïve: 'x'"
