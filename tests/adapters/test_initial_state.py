import pytest
import torch

import peftlens
from peftlens.adapters.checkpoint import open_run, state
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.initial_state import initial_state, open_start
from peftlens.results.table import NotApplicable
from peftlens.runs.config import RunConfig


@pytest.fixture
def train(bases, words, tmp_path):
    def train(method, continue_from=None, max_steps=3, **options):
        return peftlens.train(
            RunConfig(
                method=method, task=f"file:{words}", base_model=str(bases["llama"]), device="cpu",
                dtype="float32", method_config=options, continue_from=continue_from,
                training={"max_steps": max_steps, "batch_size": 4, "checkpoint_steps": [0]},
            ),
            tmp_path,
        )  # fmt: skip

    return train


@pytest.mark.parametrize("method", ["lora", "ln_tuning", "prompt_tuning", "bottleneck", "ia3"])
def test_the_seed_gives_the_checkpoint_before_the_first_step(train, llama, method):
    run = train(method)
    again = initial_state(run, llama)
    with open_run(run, llama, 0) as model:
        for name, tensor in state(model).items():
            torch.testing.assert_close(again[name], tensor, rtol=0, atol=0)


def test_a_continued_run_starts_where_the_other_ended(train, llama):
    first = train("lora")
    second = train("lora", continue_from=first.id, max_steps=2)
    with open_run(first, llama) as model:
        ends = {name: tensor.clone() for name, tensor in state(model).items()}
    for name, tensor in initial_state(second, llama).items():
        assert torch.equal(tensor, ends[name])


@pytest.mark.parametrize(
    ("method", "known"),
    [("ia3", "all"), ("ln_tuning", "all"), ("prompt_tuning", "none"), ("bottleneck", "some"),
     ("lora", "some"), ("adalora", "none")],
)  # fmt: skip
def test_of_another_program_s_adapter_only_what_no_seed_decides_is_known(
    train, llama, method, known
):
    run = train(method)
    start, true = initial_state(ExternalAdapter(run.adapter()), llama), initial_state(run, llama)
    for name, tensor in start.items():
        assert torch.equal(tensor, true[name])
    assert (len(start) == len(true)) == (known == "all")
    assert (len(start) == 0) == (known == "none")


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "p_tuning", "bottleneck", "full"])
def test_a_run_before_training_says_what_its_first_checkpoint_says(train, llama, method):
    run = train(method)
    ids = torch.tensor([[5, 9, 7]])
    said = []
    for opened in (open_start(run, llama), open_run(run, llama, 0)):
        with opened as model, torch.inference_mode():
            said.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits)
    torch.testing.assert_close(*said)


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "bottleneck", "full"])
def test_partway_the_trained_tensors_lie_between_start_and_end(train, llama, method):
    run = train(method)
    start = initial_state(run, llama)
    with open_run(run, llama) as model:
        end = {name: tensor.clone() for name, tensor in state(model).items()}
    for share in (0.25, 1.0):
        with open_start(run, llama, share) as model:
            for name, tensor in state(model).items():
                expected = start[name].double() * (1 - share) + end[name].double() * share
                torch.testing.assert_close(tensor, expected.to(tensor), rtol=1e-5, atol=1e-6)


def test_an_unknown_start_can_t_be_opened(train, llama):
    adapter = ExternalAdapter(train("prompt_tuning").adapter())
    with pytest.raises(NotApplicable, match="is unknown"), open_start(adapter, llama):
        pass
