"""Hugging Face hub: download a model or adapter by `org/name@revision`, and upload a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def require_repository(name: str) -> None:
    """Check that a name has the form of a repository's, `org/name`.

    Raises:
        InputError: it has another form.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"{name!r} is no name of a repository; write org/name") from error


def upload(
    folder: Path, repository: str, *, message: str, private: bool, revision: str | None = None
) -> str:
    """Upload a folder's files in one commit, into a repository that is created when missing.

    Files of the same names are replaced; the others of the repository stay.

    Args:
        folder: folder with the files.
        repository: `org/name`.
        message: message of the commit.
        private: whether a new repository is private.
        revision: branch, created when missing; the main one by default.

    Returns:
        Address of the commit.

    Raises:
        InputError: there is no token, no network or no permission, or the hub refuses a file.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError

    # OSError, and the errors of the hub's HTTP client, whichever package that is
    client_errors: Any = HfHubHTTPError.__bases__
    if constants.is_offline_mode():
        raise InputError("HF_HUB_OFFLINE is set, and a push needs the hub; unset it")
    if not get_token():
        raise InputError(
            "a push needs a token with write access; set HF_TOKEN, or run `hf auth login`"
        )
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision:
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=message, revision=revision
        )
    except (*client_errors, ValueError) as error:
        raise InputError(_refusal(repository, error)) from error
    return commit.commit_url


def _refusal(repository: str, error: Exception) -> str:
    """Describe why an upload failed, with the remedy that its status suggests."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    remedies = {
        401: "the token is not valid; make one with write access at huggingface.co/settings/tokens",
        403: "the token may not write there; give it write access, or name a repository of yours",
        404: "there is no such repository or branch, or the token may not see it",
    }
    status = getattr(getattr(error, "response", None), "status_code", None)
    remedy = "try again, or see whether huggingface.co can be reached"
    if status is not None:
        remedy = remedies.get(status, remedy)
    return f"the hub did not take {repository}: {line}; {remedy}"
