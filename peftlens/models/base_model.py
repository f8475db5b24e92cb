"""Base models: load the built-in one, or one from the hub, a folder or a GGUF file."""

import timeit
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
)

from peftlens.errors import InputError, did_you_mean, nearest
from peftlens.io.files import (
    cache_dir,
    canonical_json,
    nearest_file,
    sha256_file,
    sha256_text,
)
from peftlens.io.hub import snapshot
from peftlens.models.architecture import embedding_weight, shapes
from peftlens.models.built_in import BUILT_IN, built_in_folder
from peftlens.models.causality import require_causal, require_finite_outputs
from peftlens.models.gguf_file import convert
from peftlens.models.heads import Head, head_modules, seeded
from peftlens.models.loading import load_proven, quiet, reported_as
from peftlens.models.model_folder import check
from peftlens.models.model_kind import (
    HAS_HEAD,
    Kind,
    NotLanguageModelError,
    has_masked_lm_head,
    kind_of,
    require_language_model,
)
from peftlens.models.origin import Origin, vocabulary_sha256
from peftlens.models.quantized import require_plain
from peftlens.models.snapshot import fingerprint
from peftlens.runs.config import Device, Dtype

# Files that determine a model's outputs: weights, architecture, tokenizer; not README or generation
# config. A model's Python files count too; they run only with trust_remote_code.
_HASHED = ("*.safetensors", "config.json", "tokenizer*", "special_tokens_map.json",
           "added_tokens.json", "*.model", "vocab*", "merges.txt", "*.py")  # fmt: skip
_SHARE_FOR_WEIGHTS = 0.7  # share of each GPU's memory for weights, on several GPUs
_DOWNLOADED = (*_HASHED, "*.json", "*.jinja")
_T = TypeVar("_T")


class NoSuchDevice(InputError):
    """The requested device does not exist on this machine."""


@dataclass(frozen=True)
class BaseModel:
    """A base model in memory.

    Attributes:
        model: model of transformers.
        tokenizer: tokenizer of the model.
        reference: name of the model, as the user wrote it.
        sha256: hash of the weights, configuration and tokenizer files.
        device: torch device of the model.
        dtype: dtype of the weights in memory.
        trusted: whether Python code from the model's folder may run.
        state: `snapshot.fingerprint` of a cached model after loading.
        head: new head of the model; None for the model as its file has it.
    """

    model: PreTrainedModel
    tokenizer: Any
    reference: str
    sha256: str
    device: str
    dtype: str
    trusted: bool = False
    state: str | None = None
    head: Head | None = None
    _derived: dict[str, OrderedDict[Hashable, Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def kind(self) -> Kind:
        """Encoder, decoder or encoder-decoder."""
        return kind_of(self.model.config)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by name, without a new head's; a tied one appears once."""
        return shapes(self.model)

    @cached_property
    def origin(self) -> Origin:
        """Origin that adapters trained on this model record."""
        return Origin(self.reference, vocabulary_sha256(self.tokenizer.get_vocab()))

    def require_text(self) -> None:
        """Refuse a model that predicts no text, where predicted tokens are read.

        Raises:
            NotLanguageModelError: it has a head for a task, or is an encoder.
        """
        if self.head:
            raise NotLanguageModelError(HAS_HEAD)
        require_language_model(self.kind, self.reference)

    def changed(self) -> bool:
        """Whether a cached model differs from its state after loading."""
        return fingerprint(self.model) != self.state

    def derived(
        self, name: str, compute: Callable[[], _T], *, key: Hashable = None, most: int = 1
    ) -> _T:
        """Return a value derived from this model, computed once and cached as long as the model.

        Args:
            name: name of the value.
            compute: function that computes the value, with nothing attached to the model.
            key: inputs of the value in addition to the model.
            most: largest number of cached keys; the least recently used one is dropped first.
        """
        values = self._derived.setdefault(name, OrderedDict())
        if key not in values:
            values[key] = compute()
        values.move_to_end(key)
        while len(values) > most:
            values.popitem(last=False)
        return values[key]


def load_base_model(
    reference: str = "smollm2-135m",
    *,
    device: Device = "auto",
    dtype: Dtype = "auto",
    trust_remote_code: bool = False,
    head: Head | None = None,
) -> BaseModel:
    """Load a model and its tokenizer.

    An encoder has the head that predicts masked tokens where its file holds one.

    Example:
        ```python
        base = pl.load_base_model("smollm2-135m")
        base.model, base.tokenizer
        ```

    Args:
        reference: a built-in name, `org/name@revision`, a folder, or a .gguf file.
        device: torch device; auto prefers CUDA, then Apple's MPS, then the CPU.
        dtype: dtype of the weights in memory.
        trust_remote_code: whether Python code from the model's folder may run.
        head: head to put on it in place of its own; drawn anew for each run.

    Raises:
        InputError: it can't be found, is not a model, or is not safe to open.
    """
    folder = locate(reference)
    check(folder, trust_remote_code)
    on, precision = resolve(device, dtype)
    with quiet():
        model, tokenizer = _open(folder, reference, on, precision, trust_remote_code, head)
    _fit_tokenizer(tokenizer, model)
    # peft writes this name into adapters: the user's name, not a path of this machine
    model.name_or_path = model.config.name_or_path = reference
    return BaseModel(
        model,
        tokenizer,
        reference,
        folder_sha256(folder),
        on,
        precision,
        trust_remote_code,
        head=head,
    )


def base_kind(reference: str, trust_remote_code: bool = False) -> Kind:
    """Return the kind of a model by its configuration, without loading it.

    Raises:
        InputError: see `load_base_model`.
    """
    return kind_of(base_config(reference, trust_remote_code))


def base_config(reference: str, trust_remote_code: bool = False) -> Any:
    """Return the configuration of a model, as transformers reads it, without loading the model.

    Raises:
        InputError: see `load_base_model`.
    """
    folder = locate(reference)
    check(folder, trust_remote_code)
    return _read_config(folder, reference, trust_remote_code)


def _read_config(folder: Path, reference: str, trust_remote_code: bool) -> Any:
    with quiet(), reported_as(f"base {reference!r} can't be loaded: config.json", "correct it"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)


def _open(  # noqa: PLR0913  # an argument each
    folder: Path,
    reference: str,
    device: str,
    dtype: str,
    trust_remote_code: bool,
    head: Head | None,
) -> tuple[PreTrainedModel, Any]:
    """Load model and tokenizer from a checked folder, onto the device."""
    config = _read_config(folder, reference, trust_remote_code)
    remedy = "save it again by tokenizer.save_pretrained"
    with reported_as(f"base {reference!r} can't be loaded: its tokenizer", remedy):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    _require_decoder_start(config, reference)
    with seeded(0):  # what the file lacks is the same each time
        model = load_proven(
            _auto_class(config, head, reference),
            folder,
            reference,
            other_head=head is not None or kind_of(config) == "encoder",
            config=head.configured(config) if head else config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            **_placement(device),
        )
    if not hasattr(model, "hf_device_map") and model.device.type != device:
        cast("torch.nn.Module", model).to(device)
    model.eval()
    if head or kind_of(config) == "encoder":
        require_finite_outputs(model, reference)
    else:
        require_causal(model, reference)
    return model, tokenizer


def _auto_class(config: Any, head: Head | None, reference: str) -> Any:
    """Return the class of transformers that opens a model of this kind, with this head."""
    if head:
        return head.auto_class(config, reference)
    if kind_of(config) == "encoder":
        return AutoModelForMaskedLM if has_masked_lm_head(config) else AutoModel
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def _require_decoder_start(config: Any, reference: str) -> None:
    """Refuse an encoder-decoder whose decoder has no first token."""
    start = getattr(config, "decoder_start_token_id", None)
    if not config.is_encoder_decoder or (isinstance(start, int) and 0 <= start < config.vocab_size):
        return
    wrong = "no decoder_start_token_id" if start is None else f"decoder_start_token_id={start!r}"
    raise InputError(
        f"base {reference!r}: config.json has {wrong}, the id of the decoder's first token below "
        f"{config.vocab_size}; add it (T5 starts with its pad token, BART with its end token)"
    )


def _fit_tokenizer(tokenizer: Any, model: PreTrainedModel) -> None:
    """Tell the tokenizer the table's size, and agree on a pad token that the table has.

    A decoder with a head finds the last token of a text by the pad token of its configuration.
    """
    rows = len(embedding_weight(model))
    tokenizer.embedding_rows = rows  # read by `tokenization.require_rows`
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so any token works
    if (tokenizer.pad_token_id or 0) >= rows:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    if head_modules(model):
        config: Any = model.config
        configured = config.pad_token_id
        if configured is not None and 0 <= configured < rows:
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(configured)
        else:
            config.pad_token_id = tokenizer.pad_token_id


def _placement(device: str) -> dict[str, Any]:
    """Return a device map that fills several GPUs in order, with memory reserved for training."""
    if device != "cuda" or torch.cuda.device_count() < 2:
        return {}
    limits = {
        index: int(_SHARE_FOR_WEIGHTS * torch.cuda.get_device_properties(index).total_memory)
        for index in range(torch.cuda.device_count())
    }
    return {"device_map": "sequential", "max_memory": limits}


def in_float32(base: BaseModel) -> BaseModel:
    """Return the model in float32, a second copy if needed: bfloat16 can't resolve updates.

    Raises:
        InputError: its weights are quantized.
    """
    require_plain(base.model.named_parameters(), "no exact update of it can be computed")
    if base.dtype == "float32":
        return base
    return load_base_model(
        base.reference,
        device=base.device,  # pyright: ignore[reportArgumentType]
        dtype="float32",
        trust_remote_code=base.trusted,
        head=base.head,
    )


def resolve(device: Device, dtype: Dtype) -> tuple[str, str]:
    """Resolve auto for this machine: bfloat16 only where its matrix products are faster."""
    chosen = str(device)
    if device == "auto":
        chosen = "cuda" if torch.cuda.is_available() else _without_cuda()
    elif device == "cuda" and not torch.cuda.is_available():
        raise NoSuchDevice("device='cuda' was requested, but this machine has none; choose cpu")
    elif device == "mps" and not torch.backends.mps.is_available():
        raise NoSuchDevice("device='mps' was requested, but this machine has none; choose cpu")
    if dtype != "auto":
        return chosen, dtype
    fast = {
        "cuda": lambda: torch.cuda.get_device_capability() >= (8, 0),
        "mps": lambda: False,
        "cpu": _cpu_is_faster_in_bfloat16,
    }
    return chosen, "bfloat16" if fast[chosen]() else "float32"


@cache
def _cpu_is_faster_in_bfloat16() -> bool:
    """Measure, in a few hundredths of a second, whether bfloat16 is faster than float32.

    The instructions alone do not guarantee it: with avx512_bf16 an AMD Genoa takes half of
    float32's time, an Intel Emerald Rapids 1.7 times.
    """
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False  # emulated
    return _product_seconds(torch.bfloat16) < 0.8 * _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """Return the shortest time of several matrix products of a small model's size."""
    states = torch.ones(512, 576, dtype=dtype)  # (tokens, d_in)
    weight = torch.ones(1536, 576, dtype=dtype)  # (d_out, d_in)
    return min(timeit.repeat(lambda: states @ weight.T, number=1, repeat=20))


def _without_cuda() -> str:
    return "mps" if torch.backends.mps.is_available() else "cpu"


def locate(reference: str) -> Path:
    """Return the folder of a model's files, downloaded or converted if needed.

    Raises:
        InputError: the model does not exist, or there is no network to download it.
    """
    if reference in BUILT_IN:
        return built_in_folder(reference)
    path = Path(reference).expanduser()
    if path.is_dir():
        return path
    if path.suffix == ".gguf":
        if not path.is_file():
            remedy = nearest_file(path) or "give the path of a .gguf file"
            raise InputError(f"no file {reference!r}; {remedy}")
        return convert(path, cache_dir("models") / f"gguf-{sha256_file(path)[:16]}")
    if "/" not in reference and (close := nearest(reference, BUILT_IN)):
        raise InputError(f"no base model named {reference!r}; {did_you_mean(close)}")
    remedy = f"built in: {', '.join(BUILT_IN)}; or give a hub id, a folder or a .gguf file"
    return snapshot(reference, _DOWNLOADED, "base model", remedy)


def folder_sha256(folder: Path) -> str:
    """Hash the names and contents of the files that determine a model's outputs, by SHA-256."""
    found = {path for pattern in _HASHED for path in folder.glob(pattern)}
    files = [path for path in found if not path.name.startswith(".")]  # a file manager's
    return sha256_text(canonical_json({path.name: sha256_file(path) for path in files}))
