"""Session: base model shared by calls of the public API, so that it is loaded once."""

from peftlens.adapters.run_context import RunContext
from peftlens.models.base_model_cache import BaseModelCache

_BASE_MODELS = BaseModelCache()


def session_context(*, trust_remote_code: bool = False) -> RunContext:
    """Return a run context with the base model of the last call in memory.

    Args:
        trust_remote_code: whether Python code from the base model's folder may run.
    """
    return RunContext(base_models=_BASE_MODELS, trust_remote_code=trust_remote_code)
