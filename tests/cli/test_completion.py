"""Shell completion, as a shell asks for it."""

import os
import subprocess

import pytest

from peftlens.cli import completion


@pytest.mark.parametrize(
    ("complete", "begun", "name"),
    [
        (completion.complete_methods, "prompt_", "prompt_tuning"),
        (completion.complete_tasks, "bbc", "bbc_topic"),
        (completion.complete_probes, "task_acc", "task_accuracy"),
        (completion.complete_claims, "mem", "memory"),
    ],
)
def test_names_that_begin_so_have_their_descriptions(complete, begun, name):
    found = dict(complete(begun))
    assert all(one.startswith(begun) and text for one, text in found.items())
    assert name in found
    assert not [*complete("zzz")]


def test_built_in_bases():
    assert completion.complete_bases("sm") == ["smollm2-135m"]
    assert completion.complete_bases("zzz") == []


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("peftlens tra", "train"),
        ("peftlens train lor", "lora_plus"),
        ("peftlens train lora --task bb", "bbc_topic"),
        ("peftlens train lora --base mini", "minilm-l6"),
        ("peftlens probe forg", "forgetting"),
        ("peftlens methods boti", ""),
        ("peftlens methods bit", "bitfit"),
    ],
)
def test_bash_gets_the_names(typed, name):
    words = typed.split()
    asked = {"_PEFTLENS_COMPLETE": "complete_bash", "COMP_WORDS": typed,
             "COMP_CWORD": str(len(words) - 1)}  # fmt: skip
    done = subprocess.run(["peftlens"], env=os.environ | asked, capture_output=True, text=True)
    assert name in done.stdout.split() if name else not done.stdout.strip()
