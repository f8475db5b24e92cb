"""Shell completion of names: methods, tasks, probes, claims, base models."""

from collections.abc import Iterator

from peftlens import registry


def complete_methods(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the methods that begin so, each with its description."""
    return _plugins("methods", incomplete)


def complete_tasks(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the tasks that begin so, each with its description."""
    return _plugins("tasks", incomplete)


def complete_probes(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the probes that begin so, each with its description."""
    return _plugins("probes", incomplete)


def complete_claims(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the claims that begin so, each with its description."""
    return _plugins("claims", incomplete)


def complete_bases(incomplete: str) -> list[str]:
    """Return the built-in base models that begin so; folders are completed by the shell."""
    from peftlens.models.built_in import BUILT_IN

    return [name for name in BUILT_IN if name.startswith(incomplete)]


def _plugins(kind: registry.Kind, incomplete: str) -> Iterator[tuple[str, str]]:
    for name in registry.names(kind):
        if name.startswith(incomplete):
            yield name, registry.describe(kind, name).summary
