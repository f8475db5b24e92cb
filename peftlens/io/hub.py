"""Files of a model or adapter from the Hugging Face hub, by `org/name@revision`."""

from collections.abc import Sequence
from pathlib import Path

from peftlens.errors import InputError


def snapshot(reference: str, patterns: Sequence[str], what: str, remedy: str) -> Path:
    """The folder with the files of a repository that match, fetched where they are not yet here.

    Args:
        reference: `org/name`, with @revision or without.
        patterns: of file names.
        what: is looked for, for the message.
        remedy: what else the user may give.

    Raises:
        InputError: there is no such repository, or no network to get it by.
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
            f"{what} {reference!r} is neither a folder nor to be had from the hub ({line}); "
            f"{remedy}"
        ) from error
