import pytest
import torch
from tiny import build

from peftlens.errors import InputError
from peftlens.methods.multitask_prompt_tuning import Config, attach, trainable_parameters
from peftlens.models.architecture import shapes


def test_prompt_is_the_shared_one_times_the_tasks_matrix():
    model = build("llama")
    config = Config(num_virtual_tokens=2, rank=1)
    wrapped = attach(model, config)
    prompt = wrapped.prompt_encoder["default"]
    u, v = torch.tensor([2.0, -1.0]), torch.linspace(0.0, 1.0, 32)
    with torch.no_grad():
        prompt.prefix_task_cols.copy_(u[None, :, None])
        prompt.prefix_task_rows.copy_(v[None, None])
    ids = torch.tensor([[5, 6, 7]])
    product = prompt.embedding.weight * torch.outer(u, v)
    embedded = torch.cat([product[None], model.get_input_embeddings()(ids)], dim=1)
    expected = model(inputs_embeds=embedded).logits[:, 2:]
    found = wrapped(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -3:]
    torch.testing.assert_close(found, expected)


def test_count_by_hand():
    config = Config(num_virtual_tokens=3, rank=2)
    assert trainable_parameters(config, shapes(build("llama"))) == 3 * 32 + 2 * (3 + 32)
    # an encoder-decoder has three vectors at each end
    assert trainable_parameters(config, shapes(build("t5"))) == 6 * 32 + 2 * (6 + 32)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Config(num_virtual_tokens=0), "num_virtual_tokens=0 must be .* at least 1"),
        (Config(rank=0), "rank=0 must be .* at least 1"),
    ],
)
def test_values_that_can_not_work(config, message):
    with pytest.raises(InputError, match=message):
        trainable_parameters(config, shapes(build("llama")))
