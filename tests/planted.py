"""A vocabulary whose clusters are known, and the model, runs and prompts that live in it."""

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from peftlens.data.task import Example, build

GROUPS, MEMBERS, LONERS, WIDTH = 30, 12, 1000, 64
_ROOTS = "bcdfghjklmnprtvz"


def word(number: int) -> str:
    """A made-up word of its own: no two share a stem."""
    letters = []
    for _ in range(3):
        number, at = divmod(number, 16)
        letters.append(_ROOTS[at] + "aeiou"[at % 5])
    return "".join(letters) + "x"


def group(number: int) -> list[str]:
    """The words of one planted cluster."""
    return [word(number * MEMBERS + member) for member in range(MEMBERS)]


def table() -> torch.Tensor:
    """Embeddings (V, d): three marks, the groups around centers of their own, and loners."""
    generator = torch.Generator().manual_seed(0)

    def noise(rows):
        return torch.randn(rows, WIDTH, generator=generator)

    centers = noise(GROUPS).repeat_interleave(MEMBERS, dim=0)
    groups = centers + 0.5 * noise(GROUPS * MEMBERS)
    common = noise(1)  # embeddings point into one half of the space
    return torch.cat([noise(3), groups, noise(LONERS)]) + 0.7 * common


def save(folder) -> None:
    """A Llama with these embeddings, tied, and a tokenizer that splits at spaces."""
    words = ["<pad>", "<eos>", "<unk>", *(word(n) for n in range(GROUPS * MEMBERS + LONERS))]
    assert len(set(words)) == len(words)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(words), hidden_size=WIDTH, intermediate_size=96,
                    num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=128,
                    tie_word_embeddings=True, pad_token_id=0, eos_token_id=1, bos_token_id=None)
    )  # fmt: skip
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(table())
    model.save_pretrained(folder)


def around(number: int, count: int, spread: float = 0.3) -> torch.Tensor:
    """Vectors (count, d) scattered around the center of one planted cluster."""
    first = 3 + number * MEMBERS
    center = table()[first : first + MEMBERS].mean(dim=0)
    generator = torch.Generator().manual_seed(1_000 + number)  # the table has seed 0
    return center + spread * torch.randn(count, WIDTH, generator=generator)


def directions(count: int, seed: int) -> torch.Tensor:
    """Vectors (count, d) that point anywhere, as long as tokens are."""
    generator = torch.Generator().manual_seed(2_000 + seed)  # the table has seed 0
    noise = torch.randn(count, WIDTH, generator=generator)
    return noise / noise.norm(dim=1, keepdim=True) * table().norm(dim=1).median()


def topic(name, number):
    """A task about one planted cluster."""
    words = group(number)
    answers = (f" {words[0]}", f" {words[1]}")
    examples = [Example(f"{one} {word(500 + i)}", answers, i % 2)
                for i in range(40) for one in words[2:]]  # fmt: skip
    return build(name, "classification", examples)


def put(run, vectors: torch.Tensor) -> None:
    """Make these the prompt that a run has ended with."""
    file = run.adapter() / "adapter_model.safetensors"
    (name,) = load_file(file)
    save_file({name: vectors.contiguous()}, file, metadata={"format": "pt"})
