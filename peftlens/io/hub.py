"""Hugging Face hub: download the files of a model or adapter by `org/name@revision`."""

from collections.abc import Sequence
from pathlib import Path

from peftlens.errors import InputError


def snapshot(reference: str, patterns: Sequence[str], what: str, remedy: str) -> Path:
    """Return a folder with the matching files of a repository, downloaded if not cached.

    Args:
        reference: `org/name`, optionally with @revision.
        patterns: glob patterns of file names.
        what: kind of repository, for the message.
        remedy: alternative for the user, for the message.

    Raises:
        InputError: there is no such repository, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    name, _, revision = reference.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=[*patterns]))
    except HFValidationError as error:
        raise InputError(f"no {what} named {reference!r}; {remedy}") from error
    except OSError as error:  # the hub's errors of every kind
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{what} {reference!r} is neither a folder nor available from the hub ({line}); "
            f"{remedy}"
        ) from error
