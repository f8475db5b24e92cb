"""Three hundred damaged adapters: each is refused, named, or loaded as plain peft loads it.

What plain peft computes with the damaged folder is the measure: only where that is still what it
computed with the sound one may an inspection find nothing to say.
"""

import json
import os
import random
import shutil
import warnings
from collections import Counter

import peft
import pytest
import theirs
import torch
from safetensors.torch import load_file, save_file
from tiny import build

from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.external import ExternalAdapter
from peftlens.errors import InputError
from peftlens.inspection.inspect import inspect

MUTANTS = 300
SOUND = [
    ("LORA", {}),
    ("LORA", {"modules_to_save": ["lm_head"]}),
    ("LORA", {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 5}}),
    ("LORA", {"use_dora": True}),
    ("ADALORA", {}),
    ("LOHA", {}),
    ("LOKR", {}),
    ("IA3", {}),
    ("VERA", {}),
    ("PROMPT_TUNING", {}),
]
VALUES = [None, "text", "8", -1, 0, 1e308, float("inf"), float("nan"), [], {}, True, 10**30,
          [1, 2], {"a": "b"}, [["q_proj"]], "(", "*", ""]  # fmt: skip
IDS = torch.arange(3, 19).reshape(2, 8)


def edit(folder, change):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def rewrite(folder, change):
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def other_value(draw, folder):
    """A field of another type; one of its own type could be another sound adapter's."""
    config = json.loads((folder / "adapter_config.json").read_text())
    name = draw.choice(sorted(set(config) - {"peft_type"}))
    values = [one for one in VALUES if type(one) is not type(config[name])]
    edit(folder, lambda old: old | {name: draw.choice(values)})


def drop_field(draw, folder):
    def drop(config):
        del config[draw.choice(sorted(config))]
        return config

    edit(folder, drop)


def rename_field(draw, folder):
    def rename(config):
        name = draw.choice(sorted(config))
        return {f"{key}x" if key == name else key: value for key, value in config.items()}

    edit(folder, rename)


def number_as_base(draw, folder):
    edit(folder, lambda config: config | {"base_model_name_or_path": draw.choice([7, ["a"], {}])})


def other_type(draw, folder):
    kinds = [kind for kind in theirs.TYPES if kind not in ("XLORA", "SHADOW")]
    own = json.loads((folder / "adapter_config.json").read_text())["peft_type"]
    edit(folder, lambda c: c | {"peft_type": draw.choice([k for k in kinds if k != own])})


def bad_expression(draw, folder):
    text = draw.choice(["(", "*q", "[a", "q_proj)", "(?P<a>q)(?P<a>v)", "a{99999999999}"])
    field = draw.choice(["target_modules", "rank_pattern", "alpha_pattern", "exclude_modules"])
    edit(folder, lambda c: c | {field: {text: 8} if field.endswith("pattern") else text})


def endless_expression(draw, folder):
    text = draw.choice([r"((\w|\.)+)+x", r"(\w+|\.)*-"])
    field = draw.choice(["target_modules", "rank_pattern"])
    edit(folder, lambda c: c | {field: {text: 8} if field.endswith("pattern") else text})


def damaged_json(draw, folder):
    file = folder / "adapter_config.json"
    text = file.read_text()
    damaged = ["", text[: len(text) // 2], "[]", "3", "[" * 10_000, "\x00" * 9, "\ufeff" + text]
    file.write_text(draw.choice(damaged))


def special_file(draw, folder):
    file = folder / draw.choice(["adapter_config.json", "adapter_model.safetensors"])
    file.unlink()
    draw.choice([lambda: file.symlink_to("/dev/zero"), lambda: os.mkfifo(file), file.mkdir])()


def drop_tensors(draw, folder):
    share = draw.choice([0.0, 0.5, 0.9])

    def drop(tensors):
        gone = draw.choice(sorted(tensors))
        return {n: t for n, t in tensors.items() if n != gone and draw.random() >= share}

    rewrite(folder, drop)


def rename_tensors(draw, folder):
    prefix = "base_model.model."
    change = draw.choice([
        lambda name: f"_orig_mod.{name}",
        lambda name: name.replace(prefix, f"{prefix}_fsdp_wrapped_module."),
        lambda name: f"module.{name}",
        lambda name: prefix + name,
        lambda name: name.removeprefix(prefix),
        lambda name: name.replace(".weight", ".topics.weight"),
        lambda name: name.replace("lora_", "Lora_").replace("ia3_", "IA3_"),
        lambda name: name.replace("layers.1", "layers.7"),
        lambda name: name.replace("_proj", "_lin"),
    ])  # fmt: skip
    rewrite(folder, lambda tensors: {change(name): value for name, value in tensors.items()})


def one_tensor(draw, folder):
    change = draw.choice([
        lambda t: t.new_zeros(0),
        lambda t: t.flatten(),
        lambda t: torch.full_like(t, torch.nan),
        lambda t: torch.full_like(t, torch.inf),
        lambda t: t.T.contiguous() if t.shape[0] != t.shape[-1] else t.flatten(),
        lambda t: t[: len(t) // 2].contiguous(),
        lambda t: torch.cat([t, t]),
        lambda t: t.bool(),
        lambda t: t.to(torch.int8),
        lambda t: t.to(torch.complex64),
        lambda t: t[None],
    ])  # fmt: skip

    def damage(tensors):
        name = draw.choice(sorted(tensors))
        return tensors | {name: change(tensors[name])}

    rewrite(folder, damage)


def other_dtype(draw, folder):
    dtype = draw.choice([torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn,
                         torch.int8, torch.bool, torch.int64, torch.complex64])  # fmt: skip
    rewrite(folder, lambda tensors: {name: t.to(dtype) for name, t in tensors.items()})


def added_tensor(draw, folder):
    name = draw.choice(["base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight",
                        "base_model.model.score.weight", "x", "\x1b[31m\u202e"])  # fmt: skip
    rewrite(folder, lambda tensors: tensors | {name: torch.ones(8, 32)})


def damaged_weights(draw, folder):
    file = folder / "adapter_model.safetensors"
    data = file.read_bytes()
    place = draw.randrange(8, 8 + int.from_bytes(data[:8], "little"))  # in the header
    damaged = [b"", data[:-50], data[:7], data[:place], b"\xff" * 8 + data[8:],
               data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]]  # fmt: skip
    file.write_bytes(draw.choice(damaged))


def pickled(_, folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


MUTATIONS = [
    *[other_value] * 6, *[one_tensor] * 4, *[rename_tensors] * 3, drop_tensors, drop_tensors,
    drop_field, rename_field, number_as_base, other_type, bad_expression, damaged_json,
    special_file, other_dtype, other_dtype, added_tensor, damaged_weights, pickled,
]  # fmt: skip
UNMEASURED = (special_file, endless_expression)  # plain peft would not return


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Sound adapters, and what plain peft computes with each."""
    folder, found = tmp_path_factory.mktemp("sound"), []
    for number, (kind, changes) in enumerate(SOUND):
        model = theirs.wrapped(kind, **changes)
        place = theirs.save(model, folder / str(number), "org/base")
        found.append((place, plain_logits(place)))
    return found


def plain_logits(folder):
    """What plain peft computes; None where it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = peft.PeftModel.from_pretrained(build("llama"), str(folder)).eval()
            with torch.no_grad():
                return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
        except Exception:  # noqa: BLE001  # whatever peft raises
            return None


def alike(one, other):
    return (
        one is not None
        and one.shape == other.shape
        and bool((one - other).norm() <= 0.003 * other.norm())
    )


def judged(folder):
    """broken, warning or whole; refused if it is no adapter."""
    try:
        found = inspect(folder)
    except InputError as error:
        assert "\n" not in str(error)
        return "refused"
    severities = {one.severity for one in found.findings}
    return next((one for one in ("broken", "warning") if one in severities), "whole")


def attached(folder, base):
    """Logits of the adapter on its base; None where it is refused."""
    try:
        with open_run(ExternalAdapter(folder, "base"), base) as model, torch.no_grad():
            return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    except InputError:
        return None


def test_sound_adapters_are_whole(sound, llama):
    for (folder, logits), (_, changes) in zip(sound, SOUND, strict=True):
        large_copy = "modules_to_save" in changes  # of a head that is most of a tiny adapter
        assert judged(folder) == ("warning" if large_copy else "whole")
        assert torch.allclose(attached(folder, llama), logits, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's own, of what is unusual
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_no_damage_goes_unnoticed(sound, llama, tmp_path):
    draw = random.Random(5)
    counts, wrong = Counter(), []
    choices = [draw.choice(MUTATIONS) for _ in range(MUTANTS - 2)] + [endless_expression] * 2
    for number, mutate in enumerate(choices):
        original, logits = draw.choice(sound)
        folder = shutil.copytree(original, tmp_path / str(number))
        mutate(draw, folder)
        verdict = judged(folder)
        ours = attached(folder, llama)
        counts[verdict, "attached" if ours is not None else "not attached"] += 1
        where = f"{number} {mutate.__name__} of {SOUND[int(original.name)]}: {verdict}"
        if mutate in UNMEASURED:
            right = verdict in ("broken", "refused") and ours is None
        else:
            now = plain_logits(folder)
            right = (verdict != "whole" or alike(now, logits)) and (
                ours is None or alike(ours, now)
            )
        wrong += [] if right else [where]
    assert not wrong, "\n".join(wrong)
    assert sum(counts.values()) == MUTANTS
    assert counts["whole", "not attached"] == 0, counts
