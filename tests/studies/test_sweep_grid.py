import tomllib

import pytest

from peftlens.errors import InputError
from peftlens.runs.config import RunConfig, TrainingConfig
from peftlens.studies.config import parse
from peftlens.studies.sweep_grid import study_text, sweep_grids

HEAD = 'name = "s"\nbase_model = "smollm2-135m"\nseeds = [4]\n[task]\nname = "bbc_topic"\n'
TRAINING = "[training]\nmax_steps = 8\n"


def study(*runs, training=TRAINING):
    return parse(HEAD + training + "".join(f"[[runs]]\n{run}\n" for run in runs), "s.toml")


def test_rates_of_equal_configurations_are_one_sweep():
    found = sweep_grids(
        study(
            'method = "lora"\ngrid = { rank = [2, 8], learning_rate = [1e-2, 1e-3] }',
            'method = "lora"\ntraining = { learning_rate = 3e-2 }',  # rank 8 by default
            'method = "frozen"',
        )
    )
    assert [one.name for one in found] == ["lora rank=2", "lora rank=8", "frozen"]
    assert [one.rates for one in found] == [(1e-3, 1e-2), (1e-3, 1e-2, 3e-2), (0.0,)]
    assert [one.has_rate for one in found] == [True, True, False]


def test_without_a_rate_the_method_s_own_is_tried():
    (lora,) = sweep_grids(study('method = "lora"'))
    assert lora.rates == (3e-3,)
    (lora,) = sweep_grids(study('method = "lora"', training="[training]\nlearning_rate = 0.5\n"))
    assert lora.rates == (0.5,)


def test_other_training_is_another_sweep():
    long = 'method = "lora"\ntraining = { max_steps = 80 }'
    found = sweep_grids(study('method = "lora"', long))
    assert [one.name for one in found] == ["lora", "lora max_steps=80"]


def test_the_runs_of_a_derived_study_belong_to_their_sweeps():
    given = study('method = "lora"\ngrid = { rank = [2, 8], learning_rate = [1e-2] }')
    sweeps = sweep_grids(given)
    derived = parse(study_text(given, sweeps, [7, 8], []), "derived")
    assert (derived.seeds, derived.probes) == ((7, 8), ())
    assert derived.training == given.training
    assert [one.key for one in sweep_grids(derived)] == [one.key for one in sweeps]
    config = RunConfig(
        method="lora",
        task="bbc_topic",
        method_config={"rank": 2},
        training=TrainingConfig(max_steps=8, learning_rate=1e-2),
        seed=7,
    )
    assert [one.has(config) for one in sweeps] == [True, False]
    planned = config.training.model_copy(update={"max_length": 256})
    assert sweeps[0].has(config.model_copy(update={"training": planned}))
    other = config.training.model_copy(update={"max_steps": 9})
    assert not sweeps[0].has(config.model_copy(update={"training": other}))


def test_a_method_that_trains_nothing_keeps_no_rate_of_the_training():
    given = study('method = "frozen"', training="[training]\nlearning_rate = 0.5\n")
    document = tomllib.loads(study_text(given, sweep_grids(given), [0], None))
    assert document["runs"] == [{"method": "frozen", "config": {}, "training": {}, "grid": {}}]
    assert "learning_rate" not in document["training"]
    assert "probes" not in document


def test_a_wrong_value_of_the_training():
    with pytest.raises(InputError, match="lora: batch_size"):
        sweep_grids(study('method = "lora"\ntraining = { batch_size = 0 }'))


def test_names_tell_apart_what_differs_in_the_last_digit():
    grid = 'method = "lora"\ngrid = { alpha = [1.0000001, 1.0000002] }'
    assert len({one.name for one in sweep_grids(study(grid))}) == 2
