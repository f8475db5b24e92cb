"""Stages of a base model's vocabulary of many tokens, each in a process of its own; see scale.py.

python analyses/performance/scale_vocabulary.py STAGE TOKENS FOLDER

The base is a Llama of one block and width 640, with made-up words as tokens, whose embeddings lie
around a center for every 50 tokens. Prints seconds of processor time and the process's highest
memory in bytes.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scale_study import ROOT, highest_memory, seconds

WIDTH = 640
_SYLLABLES = ("al", "ber", "con", "dra", "el", "fi", "gon", "ha")


def build(tokens: int, folder: Path) -> None:
    """Write the base model."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    base, digits = len(_SYLLABLES), 7  # 8**7 words
    words = [
        "".join(_SYLLABLES[number // base**place % base] for place in range(digits))
        for number in range(tokens - 1)
    ]
    vocabulary = {word: number for number, word in enumerate(["<end>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    config = LlamaConfig(
        vocab_size=tokens, hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1,
        num_attention_heads=10, num_key_value_heads=10, tie_word_embeddings=True,
        eos_token_id=0, bos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(max(1, tokens // 50), WIDTH, generator=generator)
    rows = centers[torch.randint(len(centers), (tokens,), generator=generator)]
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(
            rows + torch.randn(tokens, WIDTH, generator=generator)
        )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


def _base(folder: Path) -> Any:
    from peftlens.models.base_model import load_base_model

    return load_base_model(str(folder), device="cpu", dtype="float32")


def read(_: int, folder: Path) -> float:
    """Read the tokens as text, with their lexical families."""
    from peftlens.vocab.vocabulary import vocabulary

    base = _base(folder)
    return seconds(lambda: vocabulary(base))


def graph(_: int, folder: Path) -> float:
    """Find the exact neighbors of every token."""
    from peftlens.vocab import vocabulary

    base = _base(folder)
    vocabulary.vocabulary(base)
    return seconds(lambda: vocabulary.graph(base))


def projection(_: int, folder: Path) -> float:
    """Draw the map, from the neighbors found before."""
    from peftlens.vocab.projection import vocabulary_map
    from peftlens.vocab.vocabulary import graph

    base = _base(folder)
    graph(base)
    return seconds(lambda: vocabulary_map(base))


def clusters(_: int, folder: Path) -> float:
    """Cluster the tokens, from the neighbors found before."""
    from peftlens.vocab import vocabulary
    from peftlens.vocab.clusters import clusters as cluster

    base = _base(folder)
    vocabulary.graph(base)
    vocabulary.states(base)
    return seconds(lambda: cluster(base))


def null_tests(_: int, folder: Path) -> float:
    """Draw the nulls that all vectors of a base share: 1,000 draws, 20,000 random directions."""
    import numpy as np

    from peftlens.vocab import null_tests, vocabulary

    base = _base(folder)
    vocab = vocabulary.vocabulary(base)
    hidden = vocabulary.states(base)
    space = null_tests.NeighborhoodSpace.of(vocab.table, vocab, hidden)
    rng = np.random.default_rng(0)
    return seconds(lambda: null_tests.Chance.of(space, null_tests.DRAWS, rng))


def page(tokens: int, folder: Path) -> float:
    """Write the explorer's page."""
    sys.path.insert(0, str(ROOT / "tests"))
    import drawn
    import numpy as np

    from peftlens.explorer import page as explorer

    rng = np.random.default_rng(0)
    names = tuple("␣" + "".join(rng.choice(_SYLLABLES, 3)) for _ in range(tokens))
    data = drawn.explorer_data(tokens, tokens=names)
    return seconds(lambda: explorer.write(data, "map", folder / "map.html"))


STAGES: dict[str, Callable[[int, Path], float]] = {
    "tokens as text": read,
    "neighbors of every token": graph,
    "map of the vocabulary": projection,
    "clusters of the vocabulary": clusters,
    "null tests, draws for a base": null_tests,
    "explorer page": page,
}


def main() -> None:
    """Carry out one stage in this process."""
    stage, tokens, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    os.environ["PEFTLENS_CACHE"] = str(folder / "cache")
    print(STAGES[stage](tokens, folder), highest_memory())


if __name__ == "__main__":
    main()
