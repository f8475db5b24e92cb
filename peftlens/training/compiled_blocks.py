"""Transformer blocks compiled by torch.compile: the same computation in fewer, fused operations.

Each block is compiled by itself with its sizes left open, so that one compilation serves all blocks
of a model, all lengths and all later runs of a method with these hyperparameters. The results are
those of a plain run up to rounding. Compilations are kept in peftlens' cache, on disk. A pass that
goes on from keys and values runs the blocks as they are: torch.compile takes a block's layer of the
cache for a constant, and would compile all blocks one by one.
"""

import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peftlens.errors import InputError
from peftlens.io.files import cache_dir
from peftlens.models.architecture import blocks
from peftlens.models.base_model import BaseModel

_VARIANTS = 64  # of a block in one process: runs with other hyperparameters, with and without mask


def why_not(device: str) -> str | None:
    """Return the reason why nothing can be compiled for a device; None if it can."""
    if device != "cpu":
        return f"compiling for {device} was not tried"
    compiler = os.environ.get("CXX", "g++")
    if not shutil.which(compiler):
        return f"it needs a C++ compiler, and there is no {compiler}"
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        return "it needs Python's header files (Debian: python3-dev)"
    return None


def compile_blocks(base: BaseModel) -> bool:
    """Let training passes run compiled blocks until the modules of the base are restored.

    Those above the lowest trained block are compiled: all of them have an input with a gradient.
    Passes without gradients, such as those of validation, run the blocks as they are.

    Args:
        base: base model with a method attached.

    Returns:
        Whether there are blocks to compile, and a compiler.
    """
    if why_not(base.device):
        return False
    try:
        named = {name: base.model.get_submodule(name) for name in blocks(base.shapes)}
    except InputError:  # no numbered blocks
        return False
    trained = [name for name, block in named.items() if _is_trained(block)]
    lowest = [*named].index(trained[0]) if trained else 0
    upper = [*named.values()][lowest + 1 :]
    for block in upper:
        block._compiled_call_impl = partial(_call, _compiled(), block)
    return bool(upper)


def _is_trained(block: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in block.parameters())


def _call(compiled: Callable[..., Any], block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    continues = kwargs.get("past_key_values") is not None
    if continues or not (torch.is_grad_enabled() and block.training):
        return block._call_impl(*args, **kwargs)
    # each implementation of attention is compiled for itself
    return compiled(block, torch.backends.cuda.flash_sdp_enabled(), *args, **kwargs)


@cache
def _compiled() -> Callable[..., Any]:
    """Return the compiled call of a block, which all models of this process share."""
    # imported here, as they take two seconds
    from torch._dynamo import config as dynamo
    from torch._functorch import config as functorch
    from torch._inductor import config as inductor
    from torch.fx.experimental import _config as symbolic_shapes

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir("compiled", torch.__version__)))
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = _VARIANTS
    inductor.compile_threads = 1  # a worker has its share of the cores
    inductor.cpp.threads = torch.get_num_threads()  # part of a compilation's key on disk
    # its key is the same for both implementations of attention
    functorch.enable_autograd_cache = False
    # otherwise a batch of as many rows as tokens would be compiled for such batches alone
    symbolic_shapes.use_duck_shape = False

    def call(block: nn.Module, fused: bool, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return block._call_impl(*args, **kwargs)

    return torch.compile(call, dynamic=True)
