"""Mistakes in a study file, each with the line of the mistake, wherever it stands."""

import pytest

from peftlens.errors import InputError
from peftlens.studies.grid import plan_study
from peftlens.studies.study_text import StudyText

TEXT = """\
name = "tiny"
base_model = "BASE"
device = "cpu"
dtype = "float32"
seeds = [0, 1]
probes = [
  "task_accuracy",
  "parameter_count",
]

[task]
name = "file:WORDS"
template = "{text}"
label = "label"
split = { validation = 0.1, test = 0.2 }

[training]
max_steps = 2
batch_size = 4
keep = { kind = "l2sp" }

[probe_options.forgetting]
items = 10
suites = [
  "passages_short",
]

[[runs]]
method = "frozen"

[[runs]]
method = "lora"
grid = { rank = [
    1,
    2,
  ], learning_rate = [1e-3] }

[[runs]]
method = "prompt_tuning"
config = { num_virtual_tokens = 4 }

[runs.training]
max_steps = 3
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('"tiny"', "3", 1, "name: Input should be a valid string"),
        ('"tiny"', '"tiny"\nname = "two"', 2, "name stands twice, first in line 1"),
        ('"BASE"', '"smollm2-135n"', 2, "did you mean smollm2-135m?"),
        ('"cpu"', '"CPU"', 3, "did you mean cpu?"),
        ("seeds = [0, 1]", "seeds = [0, -1]", 5, "seeds.1: "),
        ("seeds", "sedes", 5, "sedes: unknown key; did you mean seeds?"),
        ('"parameter_count"', '"parameter_cout"', 8, "did you mean parameter_count?"),
        ('"task_accuracy",', '"task_accuracy"', 6, "a text, list or table begins here and has no"),
        ("[task]", "[taks]", 11, "taks: unknown key; did you mean task?"),
        ("file:", "fil:", 12, "no task named 'fil'; did you mean file?"),
        ("WORDS", "WORDS.jso", 12, "must end in"),
        ("{text}", "{txt}", 13, "has no column 'txt'; did you mean text?"),
        ("template", "templat", 13, "no option 'templat'; did you mean template"),
        ('"label"', '"lable"', 14, "no column 'lable'; did you mean label?"),
        ("test = 0.2", "tset = 0.2", 15, "no option 'split.tset'; did you mean test?"),
        ("test = 0.2", "test = 2", 15, "test=2 must lie between"),
        ("[training]", "[task]", 17, "task stands twice, first in line 11"),
        ("max_steps = 2", "max_step = 2", 18, "training.max_step: unknown key; did you mean max_s"),
        ("batch_size = 4", "batch_size = 'four'", 19, "training.batch_size: "),
        ('kind = "l2sp"', 'kind = "l2s"', 20, "training.keep.kind: "),
        ('"l2sp"', '"l2sp", wieght = 1', 20, "wieght: unknown key; did you mean weight?"),
        ("options.forgetting", "options.forgeting", 22, "did you mean forgetting"),
        ("items = 10", "item = 10", 23, "no option 'item'; did you mean items?"),
        ("= 10", "=", 23, "Invalid value"),
        ('"passages_short"', "3", 25, "suites.0=3"),
        ('"lora"', '"Lora"', 32, "no method named 'Lora'; did you mean lora?"),
        ("rank", "rnk", 33, "no option 'rnk'; did you mean rank?"),
        ("    2,", "    200,", 35, "rank=200 must lie between"),
        ("learning_rate", "learning_rat", 36, "did you mean learning_rate?"),
        ("1e-3", "-1", 36, "learning_rate=-1"),
        ('method = "prompt', 'mehtod = "prompt', 39, "mehtod: unknown key; did you mean method?"),
        ("{ num", "{ learning_rate = 1, num", 40, "it is one of training: write it there"),
        ("virtual_tokens = 4", "virtual_tokens = 'x'", 40, "num_virtual_tokens='x'"),
        ("[runs.training]", "[runs.trainig]", 42, "trainig: unknown key; did you mean training?"),
        ("max_steps = 3", "max_stepz = 3", 43, "max_stepz=3: unknown key; did you mean max_steps?"),
        ("max_steps = 3", "checkpoint_steps = [9]", 43, "9 lies after the last step"),
        (
            '"lora"',
            '"lora"\nlearning_rate = 1e-3',
            33,
            "in training, as in training = { learning_r",
        ),
        ('"lora"', '"lora"\nalpha = 8', 33, "alpha: unknown key; it belongs in config of [[runs]]"),
        (
            "max_steps = 2",
            "max_steps = 2\ntorch_compile = false",
            19,
            "it belongs above all tables",
        ),
        (
            "max_steps = 2",
            "max_steps = 2\nalpha = 16",
            19,
            "it belongs in config of [[runs]], as in",
        ),
        ('"lora"', '"lora"\ncontinual = 2', 33, "it belongs in its own table [continual]"),
        ('"lora"', '"lora"\nname = "small"', 33, "name: unknown key; choose from method, config,"),
        (
            'method = "frozen"',
            "method = 5\nrank = 2",
            30,
            "runs.0.rank: unknown key; choose from method",
        ),
        ("max_steps = 2", "max_steps = 2\nlooks = 3", 19, "it belongs in [decisions]"),
        ('device = "cpu"', 'device = "cpu"\nmax_steps = 3', 4, "it belongs in [training]"),
        ("max_steps = 3", "max_steps = 3 4", 43, "Expected newline"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(context, bases, words, old, new, line, message):
    assert old in TEXT
    text = TEXT.replace(old, new, 1).replace("BASE", str(bases["llama"]))
    with pytest.raises(InputError) as caught:
        plan_study(text.replace("WORDS", str(words)), "tiny.toml", context)
    assert str(caught.value).startswith(f"tiny.toml, line {line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


LARGER = """\
[training]
max_steps = 1
[[runs]]
method = "lora"
[full_scale.training]
batch_size = 2
[[full_scale.runs]]
method = "ia3"
"""


@pytest.mark.parametrize(
    ("place", "small", "full"),
    [
        (("training", "max_steps"), 2, 2),
        (("training", "batch_size"), 1, 6),
        (("runs", 0, "method"), 4, 8),
        (("runs", 0, "grid"), 3, 7),
    ],
)
def test_the_larger_study_has_its_own_lines(place, small, full):
    assert StudyText(LARGER, "x.toml").line(place) == small
    assert StudyText(LARGER, "x.toml", full=True).line(place) == full


def test_an_error_that_names_no_key_is_in_the_first_table():
    text = StudyText(LARGER, "x.toml", full=True)
    assert str(text.error_in([("runs", 0)], "no luck")) == "x.toml, line 7: no luck"
    assert str(text.error_in([("runs", 0)], "'ia3' is bad")) == "x.toml, line 8: 'ia3' is bad"
    assert str(text.error((), "no luck")) == "x.toml: no luck"
