import pytest
import torch
from tiny import ANSWERS, build, byte_tokenizer, setting

from peftlens.data.task import Example
from peftlens.errors import InputError
from peftlens.methods.cpt import Config, attach, resolve_config, trainable_parameters
from peftlens.models.architecture import shapes

ids = byte_tokenizer().encode
# two tokens of input, one answer's token, one separator's
PROMPT = Config(token_ids=(8, 9, 10, 11), token_types=(2, 2, 4, 2), epsilon=0.5)


def test_ids_and_types_of_an_example():
    found = resolve_config(Config(shots=1, separator="\n"), setting((Example("ab", ANSWERS, 0),)))
    assert found.token_ids == tuple(ids("ab up\n"))
    # "ab", then " up", then the separator
    assert found.token_types == (2, 2, 4, 4, 4, 2)


def test_types_count_the_examples():
    train = (Example("a", (" x", " y"), 0), Example("b", (" x", " y"), 1))
    found = resolve_config(Config(shots=2, separator="\n"), setting(train))
    assert found.token_types == (2, 4, 4, 2, 6, 8, 8, 6)
    assert found.token_ids in (tuple(ids("a x\nb y\n")), tuple(ids("b y\na x\n")))


def test_logits_at_the_start_are_those_behind_the_examples():
    model = build("llama")
    expected = model(torch.tensor([[8, 9, 10, 11, 5, 6]])).logits[:, -2:]
    inputs = torch.tensor([[5, 6]])
    found = attach(model, PROMPT)(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits
    torch.testing.assert_close(found[:, -2:], expected)


def test_tokens_stay_in_their_ball_and_answers_where_they_are():
    model = build("llama")
    rows = model.get_input_embeddings().weight[[8, 9, 10, 11]].detach()
    prompt = attach(model, PROMPT).prompt_encoder["default"]
    with torch.no_grad():
        prompt.delta_embedding.weight.fill_(1.0)
    moved = (prompt(torch.arange(4)) - rows).norm(dim=1)
    # peft's radius: epsilon √(d / 2048)
    radius = 0.5 * (32 / 2048) ** 0.5
    torch.testing.assert_close(
        moved, torch.tensor([radius, radius, 0.0, radius]), atol=1e-6, rtol=0
    )


def test_only_changes_are_trained():
    wrapped = attach(build("llama"), PROMPT)
    trained = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    assert trained == ["prompt_encoder.default.delta_embedding.weight"]


def test_count_by_hand():
    assert trainable_parameters(PROMPT, shapes(build("llama"))) == 4 * 32


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        (PROMPT, "t5", "supports decoders only"),
        (Config(), "llama", "once its examples are drawn"),
        (Config(token_ids=(5,), epsilon=-1), "llama", "epsilon=-1"),
    ],
)
def test_values_that_can_not_work(config, kind, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build(kind)))


def test_task_without_questions():
    with pytest.raises(InputError, match="needs questions with answers"):
        resolve_config(Config(), setting(kind="language_modeling"))
