import pytest

from peftlens.studies.config import StudyConfig
from peftlens.studies.misplaced_keys import belongs_in

LORA = {"name": "s", "runs": [{"method": "lora"}, {"method": "ln_tuning"}]}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("runs", 0, "learning_rate"), "training, as in training = { learning_rate = ... }"),
        (("runs", 0, "alpha"), "config of [[runs]]"),
        (("runs", 1, "alpha"), ""),  # this method has none, and a level of decisions is not meant
        (("runs", 1, "looks"), ""),
        (("training", "alpha"), "config of [[runs]]"),
        (("training", "looks"), "[decisions]"),
        (("decisions", "seeds"), "above all tables"),
        (("runs", 0, "task"), "its own table [task]"),
        (("runs", 0, "name"), ""),  # the file has one
        (("max_steps",), "[training]"),
        (("looks",), "[decisions]"),
        (("no_such_key",), ""),
        (("training", "no_such_key"), ""),
    ],
)
def test_a_key_belongs_where_it_has_a_meaning(place, said):
    found = belongs_in(place, LORA, StudyConfig)
    assert said in found if said else not found


@pytest.mark.parametrize("runs", [None, 3, [5], [{"method": 5}], [{"method": "no_such"}]])
def test_a_file_with_other_mistakes_is_no_obstacle(runs):
    assert belongs_in(("training", "rank"), {"runs": runs}, StudyConfig) == ""
