import pytest
import torch
from small_runs import small_trainer

from peftlens.diffing.prompt_states import PromptStates, frame_rows, prompted_logs
from peftlens.models.base_model import load_base_model
from peftlens.models.snapshot import fingerprint
from peftlens.results.table import NotApplicable

FRAMES = ["Task:", "\nThis is about"]


@pytest.fixture(scope="module")
def trained(bases, words, tmp_path_factory):
    return small_trainer(
        bases, words, tmp_path_factory.mktemp("runs"), max_steps=4, learning_rate=0.05
    )


METHODS = [
    ("prompt_tuning", {"num_virtual_tokens": 3}),
    ("p_tuning", {"num_virtual_tokens": 3, "hidden_size": 8}),
    ("prefix_tuning", {"num_virtual_tokens": 3}),
]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize(("method", "options"), METHODS)
def test_the_trained_states_give_what_the_run_s_own_model_predicts(
    trained, bases, method, options, kind
):
    run = trained(method, kind, **options)
    base = load_base_model(str(bases[kind]), device="cpu", dtype="float32")
    before = fingerprint(base.model)
    states = PromptStates.of(run, base)
    assert states.is_prefix == (method == "prefix_tuning")
    found = list(
        prompted_logs(
            run, base, frame_rows(base, FRAMES), [states.start, states.now],
            as_prefix=states.is_prefix,
        )
    )  # fmt: skip
    assert fingerprint(base.model) == before
    model, tokenizer = run.load()
    for at, frame in enumerate(FRAMES):
        inputs = tokenizer(frame, return_tensors="pt")
        with torch.inference_mode():
            logits = model(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            ).logits[0, -1]
        torch.testing.assert_close(found[1][at], logits.log_softmax(-1), rtol=1e-4, atol=1e-4)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_no_vectors_are_the_base_alone(trained, llama):
    run = trained("prompt_tuning", num_virtual_tokens=3)
    rows = frame_rows(llama, FRAMES)
    (found,) = prompted_logs(run, llama, rows, [torch.empty(0, 1, 32)])
    ids = llama.tokenizer(FRAMES[1], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected = llama.model(ids).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(found[1], expected, rtol=1e-4, atol=1e-4)


def test_random_prompts_move_as_far_as_training_did_from_the_same_start(trained, llama):
    states = PromptStates.of(trained("prefix_tuning", num_virtual_tokens=3), llama)
    assert states.now.shape == (3, 2 * 3, 2 * 8)  # keys and values of 3 layers, 2 heads of 8
    rng = torch.Generator().manual_seed(0)
    one, two = states.displaced(rng), states.displaced(rng)
    moved = (states.now - states.start).norm(dim=-1)
    torch.testing.assert_close((one - states.start).norm(dim=-1), moved, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(one, two)
    unknown = PromptStates(states.now, None, True).displaced(rng)
    torch.testing.assert_close(unknown.norm(dim=-1), states.now.norm(dim=-1))


def test_what_has_no_prompt_says_so(trained, llama, bases):
    with pytest.raises(NotApplicable, match="lora has no soft prompt and no prefix"):
        PromptStates.of(trained("lora"), llama)
    t5 = load_base_model(str(bases["t5"]), device="cpu", dtype="float32")
    with pytest.raises(NotApplicable, match="encoder-decoder"):
        PromptStates.of(trained("prompt_tuning", "t5", num_virtual_tokens=2), t5)
