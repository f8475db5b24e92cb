import pandas as pd
import pytest

from peftlens import registry
from peftlens.results import display_names
from peftlens.results.display_names import (
    configuration_name,
    display_name,
    method_name,
    method_of,
    with_display_names,
    with_names,
)
from peftlens.results.table import Table


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("lora rank=8", "LoRA, rank 8"),
        ("lora rank=8 learning_rate=0.001", "LoRA, rank 8, learning rate 0.001"),
        ("prompt_tuning num_virtual_tokens=20", "Prompt tuning, 20 tokens"),
        ("bottleneck bottleneck_size=32", "Bottleneck adapter, size 32"),
        ("last_layers blocks=2", "Last layers, 2 blocks"),
        ("ia3 target_modules=key_value", "(IA)³, on key_value"),
        ("qlora rank=8 double_quant=False", "QLoRA, rank 8, no double quant"),
        ("frozen", "Base model before training"),
        ("peft:GRALORA r=8", "GRALORA (peft), r 8"),
        ("prompt_tuning init=text init_text=a b", "Prompt tuning, start text, start text “a b”"),
        ("lora rank=8 (swapped)", "LoRA, rank 8 (swapped)"),
        ("lora, swapped, words then topics", "LoRA, swapped, words then topics"),
        ("lora (swapped)", "LoRA (swapped)"),
        ("lora--llama-3.2-3B-rank32", "lora--llama-3.2-3B-rank32"),
        ("majority class 'sports'", "majority class 'sports'"),
        ("", ""),
    ],
)  # fmt: skip
def test_names_as_people_write_them(key, name):
    assert display_name(key) == name


def test_a_method_and_its_options():
    assert configuration_name("lora", {"rank": "4", "alpha": "8"}) == "LoRA, rank 4, α 8"
    assert configuration_name("of_somebody", {"rank": "4"}) == "of_somebody, rank 4"


def test_every_method_has_a_name_of_its_own():
    names = [method_name(method) for method in registry.names("methods")]
    assert len(set(names)) == len(names)
    assert all(len(name) <= registry.LONGEST_TITLE and name[0] == name[0].upper() for name in names)


def test_different_keys_have_different_names():
    keys = [
        f"{method}{rank}{rate}"
        for method in ("lora", "qlora", "dora")
        for rank in ("", " rank=1", " rank=11", " alpha=1", " use=True", " use=False")
        for rate in ("", " learning_rate=0.001", " learning_rate=0.0001")
    ]
    assert len({display_name(key) for key in keys}) == len(keys)


def test_the_method_of_a_key():
    assert method_of("lora rank=8") == "lora"
    assert method_of("lora") == "lora"
    assert method_of("peft:GRALORA r=8") == "peft:GRALORA"
    assert method_of("of somebody") is None


def test_tables_keep_their_other_columns_and_types():
    frame = pd.DataFrame(
        {
            "configuration": pd.array(["lora rank=8", None], dtype="string"),
            "other": ["frozen", "lora rank=1"],
            "method": ["lora", "lora"],
        }
    )
    named = with_display_names(Table("paired_accuracy", 1, (), (), frame)).frame
    assert named["configuration"].dtype == "string"
    assert named["configuration"].fillna("").tolist() == ["LoRA, rank 8", ""]
    assert named["other"].tolist() == ["Base model before training", "LoRA, rank 1"]
    assert named["method"].tolist() == ["lora", "lora"]
    assert frame["configuration"][0] == "lora rank=8"
    task = Table("configurations", 1, (), (), pd.DataFrame({"name": ["lora"]}))
    assert with_display_names(task).frame["name"].tolist() == ["lora"]


def test_each_key_is_named_once_however_many_rows_have_it(monkeypatch):
    asked = []
    monkeypatch.setattr(display_names, "display_name", lambda key: asked.append(key) or "Name")
    keys = pd.Series(["lora rank=1", "lora rank=2", None] * 1000, dtype="string")
    frame = pd.DataFrame({"configuration": keys, "value": 1.0})
    named = display_names.with_display_names(Table("t", 1, (), (), frame)).frame
    assert asked == ["lora rank=1", "lora rank=2"]
    assert named["configuration"].dtype == "string"
    assert named["configuration"].isna().sum() == 1000
    assert {*named["configuration"].dropna()} == {"Name"}


def test_keys_in_a_text_are_named_and_words_are_not():
    keys = ["full", "lora rank=1", "lora rank=16", "lora rank=1 target_modules=attention"]
    text = "A full lora rank=16, lora rank=1: lora rank=1 target_modules=attention, lora rank=12."
    assert with_names(text, keys) == (
        "A full LoRA, rank 16, LoRA, rank 1: LoRA, rank 1, on attention, lora rank=12."
    )
    assert with_names(text, []) == text
