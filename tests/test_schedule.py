"""Which epochs `every` and `epochs` want."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featlab.capture.selection.schedule import Schedule, in_log_schedule
from featlab.errors import OptionError

LOG = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]


def wanted(until=30, **options):
    schedule = Schedule.of(**options)
    return [epoch for epoch in range(until) if schedule.wants(epoch)]


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, list(range(30))),
        ({"every": 10}, [0, 10, 20]),
        ({"every": 1}, list(range(30))),
        ({"epochs": 7}, [7]),
        ({"epochs": [5, 1, 5]}, [1, 5]),
        ({"epochs": np.array([2, 3])}, [2, 3]),
        ({"epochs": range(3, 9, 3)}, [3, 6]),
        ({"epochs": slice(4)}, [0, 1, 2, 3]),
        ({"epochs": slice(2, 20, 6)}, [2, 8, 14]),
        ({"epochs": slice(25, None, 2)}, [25, 27, 29]),
        ({"epochs": [slice(2), 9]}, [0, 1, 9]),
        ({"epochs": "log"}, [epoch for epoch in LOG if epoch < 30]),
        ({"epochs": "0, 4,9"}, [0, 4, 9]),
        ({"epochs": "1:10:3"}, [1, 4, 7]),
        ({"epochs": "27:"}, [27, 28, 29]),
        ({"epochs": "log,29"}, [*[epoch for epoch in LOG if epoch < 29], 29]),
        ({"every": 9, "epochs": [1]}, [0, 1, 9, 18, 27]),
    ],
)
def test_what_is_wanted(options, epochs):
    assert wanted(**options) == epochs


def test_log_schedule():
    assert wanted(until=130, epochs="log") == LOG


@given(st.integers(min_value=1, max_value=10**12))
def test_log_schedule_has_two_epochs_a_doubling(start):
    held = [
        epoch for epoch in {1 << at for at in range(42)} | {3 << at for at in range(42)} if start <= epoch < 2 * start
    ]
    assert all(in_log_schedule(epoch) for epoch in held)
    assert len(held) == (1 if start == 1 else 2)


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({}, None),
        ({"every": 2}, None),
        ({"epochs": "log"}, None),
        ({"epochs": "3:"}, None),
        ({"epochs": [4, 2]}, 5),
        ({"epochs": [slice(0, 7), 2]}, 7),
        ({"epochs": [4], "every": 9}, None),
    ],
)
def test_where_it_ends(options, end):
    assert Schedule.of(**options).end == end


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0: "),
        ({"every": True}, "every is True: "),
        ({"every": 1.5}, "every is 1.5: "),
        ({"epochs": []}, r"epochs is \[\] and names none"),
        ({"epochs": [3, -1]}, r"epochs is \[3, -1\], and -1 is no number"),
        ({"epochs": [True]}, "True is no number"),
        ({"epochs": slice(-5, None)}, "-5 is no number"),
        ({"epochs": slice(0, 9, 0)}, "whose step is 0"),
        ({"epochs": "early"}, "epochs is 'early', and 'early' in it cannot be read"),
        ({"epochs": "1,,2"}, "'' in it cannot be read"),
        ({"epochs": "1:2:3:4"}, "'1:2:3:4' in it cannot be read"),
        ({"epochs": 2.5}, "2.5 is no number"),
    ],
)
def test_what_cannot_be_read(options, message):
    with pytest.raises(OptionError, match=message) as caught:
        Schedule.of(**options)
    assert str(caught.value).endswith(".")
