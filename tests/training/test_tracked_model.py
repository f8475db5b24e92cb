import warnings

import peft
import pytest
import theirs
import torch
from tiny import build, byte_tokenizer

from peftlens.errors import InputError
from peftlens.models.origin import vocabulary_sha256
from peftlens.training.tracked_model import (
    TrainedPart,
    has_resized_tables,
    parameter_counts,
    trained_part,
    unwrapped,
    vocabulary_of,
)


def lora(**changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tied tables
        return peft.get_peft_model(build("llama"), theirs.config("LORA", **changes))


@pytest.mark.parametrize("kind", theirs.BUILDABLE)
def test_the_trained_part_of_every_type(kind):
    found = trained_part(theirs.wrapped(kind))
    assert found == TrainedPart(f"peft:{kind}", "default")


def test_a_whole_model():
    assert trained_part(build("llama")) == TrainedPart("full", "")


def test_two_trained_adapters_are_too_many():
    model = lora()
    model.add_adapter("other", theirs.config("LORA"))
    model.base_model.set_adapter(["default", "other"])
    with pytest.raises(InputError, match="adapters 'default', 'other', of which 2 are trained"):
        trained_part(model)


def test_weights_that_the_adapters_file_would_lack():
    model = lora()
    model.get_output_embeddings().weight.requires_grad_(True)
    with pytest.raises(InputError, match="1 weights outside of the adapter are trained, such as"):
        trained_part(model)
    for saved in (lora(modules_to_save=["lm_head"]), lora(bias="all"), lora(bias="lora_only")):
        assert trained_part(saved).adapter == "default"


def test_weights_on_several_processes():
    model = lora()
    name, weight = next((n, p) for n, p in model.named_parameters() if p.requires_grad)
    weight.data = torch.empty(0)
    with pytest.raises(InputError, match=f"distributed over several processes.*{name}"):
        trained_part(model)


def test_wrappers():
    model = build("llama")
    assert unwrapped(torch.nn.DataParallel(torch.compile(model, backend="eager"))) is model


def test_counts_leave_other_adapters_out():
    model = lora()
    alone = parameter_counts(model, "default")
    model.add_adapter("ref", theirs.config("LORA"))
    model.set_adapter("default")
    assert parameter_counts(model, "default") == alone
    assert alone["base_parameters"] == sum(p.numel() for p in build("llama").parameters())


class Processor:
    tokenizer = byte_tokenizer()


def test_vocabularies():
    expected = vocabulary_sha256(byte_tokenizer().get_vocab())
    assert vocabulary_of(byte_tokenizer()) == vocabulary_of(Processor()) == expected
    assert vocabulary_of(None) is None
    assert vocabulary_of(object()) is None


def test_resized_tables(bases):
    model = build("llama")
    model.config._name_or_path = str(bases["llama"])
    assert not has_resized_tables(model)
    model.resize_token_embeddings(264, mean_resizing=False)
    assert has_resized_tables(model)
    model.config._name_or_path = "org/nowhere"
    assert not has_resized_tables(model)
