"""Configurations of others: each field that is wrong is named, and nothing is read for ever."""

import json
import os

import pytest
import theirs

from peftlens.adapters.adapter_config import InvalidAdapterError, adapters_below, read_config
from peftlens.errors import InputError


@pytest.fixture
def file(tmp_path):
    theirs.save(theirs.wrapped("LORA"), tmp_path, "org/base")
    return tmp_path / "adapter_config.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_alpha": None}, "lora_alpha=None, which is not of the type"),
        ({"lora_alpha": float("nan")}, "lora_alpha=nan; it must be a finite number"),
        ({"r": float("inf")}, "r=inf; it must be a whole number, at least 1"),
        ({"r": 10**400}, "it must be a whole number"),
        ({"rank_pattern": [1]}, r"rank_pattern=\[1\], which is not of the type"),
        ({"rank_pattern": {"q_proj": "8"}}, r"rank_pattern\['q_proj'\]='8'; it must be a finite"),
        ({"alpha_pattern": {"q_proj": 0}}, r"alpha_pattern\['q_proj'\]=0; it must be a finite"),
        ({"rank_pattern": {"(": 8}}, "is not a regular expression"),
        ({"target_modules": {"a": 1}}, "target_modules=.*, which is not of the type"),
        ({"target_modules": [["q_proj"]]}, "target_modules=.*, which is not of the type"),
        ({"target_modules": "*q"}, "target_modules with '\\*q', which is not a regular expression"),
        ({"base_model_name_or_path": 7}, "base_model_name_or_path=7; it must be a name or a path"),
        ({"bias": "some"}, "bias='some', which is not of the type"),
        ({"task_type": "TALK"}, "can't be used by peft: Invalid task type"),
    ],
)
def test_a_wrong_field_is_named(file, changes, message):
    theirs.edit(file.parent, **changes)
    with pytest.raises(InvalidAdapterError, match=message) as refused:
        read_config(file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_alpha": 16.0},
        {"use_dora": None},
        {"fan_in_fan_out": 0},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "lora_ga"},
        {"some_new_field": {"a": 1}},
        {"runtime_config": "anything"},
    ],
)
def test_what_peft_takes_is_taken(file, changes):
    theirs.edit(file.parent, **changes)
    assert read_config(file)["peft_type"] == "LORA"


def test_only_regular_files_are_opened(file):
    for make in (lambda: file.symlink_to("/dev/zero"), lambda: os.mkfifo(file), file.mkdir):
        file.unlink()
        make()
        with pytest.raises(InvalidAdapterError, match="is not a regular file"):
            read_config(file)
        if file.is_dir():
            break


def test_deep_and_large_files_are_damage(file):
    file.write_text("[" * 100_000)
    with pytest.raises(InvalidAdapterError, match="is damaged"):
        read_config(file)
    file.write_text(" " * 17_000_000)
    with pytest.raises(InvalidAdapterError, match="has 17 MB"):
        read_config(file)


def test_named_adapters_below_are_listed(file, tmp_path):
    (tmp_path / "moods").mkdir()
    file.rename(tmp_path / "moods" / "adapter_config.json")
    assert adapters_below(tmp_path) == ["moods"]
    with pytest.raises(InputError, match="give one of the adapters below it: moods"):
        read_config(file)


def test_another_programs_configuration_is_named(file):
    file.write_text(json.dumps({"fine_tune_type": "lora", "lora_parameters": {}}))
    with pytest.raises(InputError, match="it is of mlx-lm"):
        read_config(file)
