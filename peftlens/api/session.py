"""Session: the base model that calls from Python share, so that it is loaded once."""

from peftlens.adapters.run_context import RunContext
from peftlens.models.base_model_cache import BaseModelCache

_BASE_MODELS = BaseModelCache()


def session_context(*, trust_remote_code: bool = False) -> RunContext:
    """Return access to the base model that the last call used, if it is the same.

    Args:
        trust_remote_code: run Python from the base model's folder.
    """
    return RunContext(base_models=_BASE_MODELS, trust_remote_code=trust_remote_code)
