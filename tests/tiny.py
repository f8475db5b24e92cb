"""Tiny random models, a tokenizer that knows every byte, and a run for methods to look at."""

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
)

from peftlens.data.method_context import MethodContext
from peftlens.data.task import Example, Task


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token, and three tokens are special; no word is unknown to it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {
        token: index for index, token in enumerate(["<pad>", "<eos>", "<bos>", *alphabet])
    }
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )


MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "[unused2]"]
WHOLE = ["good", "bad", "fine", "poor", "great", "awful", "kind", "mean", "calm", "rude", "walk",
         "talk", "play", "the", "sport", "sports", "up", "down"]  # fmt: skip
PIECES = ["##ing", "##ed", "##s", "##er", "##ness"]


def word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """BERT's kind of vocabulary, lower case: words, pieces that go on with a word, and marks."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [*"0123456789.,"]
    pieces = [f"##{letter}" for letter in letters]
    words = dict.fromkeys([*MARKS, *WHOLE, *PIECES, *letters, *pieces])
    ids = {token: index for index, token in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, ids[mark]) for mark in ("[CLS]", "[SEP]")],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


SIZES = {"vocab_size": 259, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}


def build(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "llama":
        model = LlamaForCausalLM(
            LlamaConfig(**SIZES, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
                        num_attention_heads=4, num_key_value_heads=2,
                        max_position_embeddings=128, tie_word_embeddings=True)
        )  # fmt: skip
    elif kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(**SIZES, n_embd=32, n_layer=2, n_head=4, n_positions=128,
                       resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
        )  # fmt: skip
    elif kind == "neox":
        model = GPTNeoXForCausalLM(
            GPTNeoXConfig(**SIZES, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                          num_attention_heads=4, max_position_embeddings=128)
        )  # fmt: skip
    elif kind == "opt":
        model = OPTForCausalLM(
            OPTConfig(**SIZES, hidden_size=32, ffn_dim=64, num_hidden_layers=2,
                      num_attention_heads=4, max_position_embeddings=128, word_embed_proj_dim=32,
                      dropout=0.0)
        )  # fmt: skip
    else:
        model = T5ForConditionalGeneration(
            T5Config(**SIZES, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                     decoder_start_token_id=0, dropout_rate=0.0)
        )  # fmt: skip
    return model.eval()


ENCODERS = ("bert", "roberta", "deberta", "modernbert")
_NARROW = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
           "num_attention_heads": 4, "max_position_embeddings": 128}  # fmt: skip


def build_encoder(kind: str) -> torch.nn.Module:
    """A tiny encoder with the head that predicts masked tokens."""
    torch.manual_seed(0)
    if kind == "bert":
        model = BertForMaskedLM(BertConfig(**SIZES, **_NARROW))
    elif kind == "roberta":
        model = RobertaForMaskedLM(RobertaConfig(**SIZES, **_NARROW))
    elif kind == "deberta":
        options = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
        model = DebertaV2ForMaskedLM(DebertaV2Config(**SIZES, **_NARROW, **options))
    else:
        special = {"cls_token_id": 2, "sep_token_id": 1, "global_attn_every_n_layers": 2}
        model = ModernBertForMaskedLM(ModernBertConfig(**SIZES, **_NARROW, **special))
    return model.eval()


class Stack(torch.nn.Module):
    """Linear layers without biases, one a block, of these weights."""

    device = torch.device("cpu")

    def __init__(self, *weights: list[list[float]]) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList()
        for weight in map(torch.tensor, weights):
            layer = torch.nn.Linear(*reversed(weight.shape), bias=False)
            layer.weight = torch.nn.Parameter(weight.float())
            self.layers.append(layer)

    def weights(self) -> list[list[list[float]]]:
        return [layer.weight.detach().tolist() for layer in self.layers]


ANSWERS = (" up", " down")


def setting(
    train: tuple[Example, ...] = (), labels: tuple[str, ...] = ANSWERS, **changes
) -> MethodContext:
    """A run on a task made by hand, for `resolve`; what is not training data may not be read."""
    kind = changes.get("kind", "classification")
    task = Task("by hand", kind, labels, {"train": train}, {}, "0" * 64)
    tokenizer = changes.get("tokenizer") or byte_tokenizer()
    return MethodContext(tokenizer, task, changes.get("seed", 0), changes.get("steps", 10))
