"""Preference rows: a prompt with a chosen and a rejected answer."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from peftlens.data.cells import as_text, unusable
from peftlens.data.conversation import Message, messages_in
from peftlens.data.task import ChatPair, Example, TextPair

PREFERENCE_COLUMNS = ("prompt", "chosen", "rejected")
_ANSWERS = ("chosen", "rejected")


def preference(row: Mapping[str, Any], chat_template: str | None) -> Example | str:
    """Read a row of preferences, or return the reason why it can't be used.

    Args:
        row: `prompt`, `chosen` and `rejected`: texts, or lists of messages. Without a prompt,
            `chosen` and `rejected` are whole texts with a common beginning, or whole conversations
            that differ in their last answer.
        chat_template: template of the conversations.
    """
    lists = {name: messages_in(row.get(name)) for name in PREFERENCE_COLUMNS}
    are_messages = [lists[name] is not None for name in _ANSWERS]
    if not any(are_messages):
        return _texts(row)
    if not all(are_messages):
        one, other = _ANSWERS if are_messages[0] else _ANSWERS[::-1]
        cell = unusable(as_text(row.get(other))) or "a text"
        return f"{one} is messages, but {other} is {cell}"
    if reason := next((one for one in lists.values() if isinstance(one, str)), None):
        return reason
    return _conversations(row, lists, chat_template)


def _texts(row: Mapping[str, Any]) -> Example | str:
    texts = {name: as_text(row.get(name)) for name in PREFERENCE_COLUMNS}
    for name in _ANSWERS:
        if reason := unusable(texts[name]):
            return f"{name} is {reason}"
    answers = [texts[name] for name in _ANSWERS]
    if answers[0].strip() == answers[1].strip():
        return "equal answers"
    prompt = texts["prompt"]
    if prompt is None:
        prompt, *answers = _common_beginning(answers)
        if not prompt.strip():
            return "prompt is missing, and the answers have no common beginning"
        if not all(answer.strip() for answer in answers):
            return "one of the answers is the beginning of the other"
    elif reason := unusable(prompt):
        return f"prompt is {reason}"
    return TextPair(prompt, tuple(_separated(prompt, answer) for answer in answers))


def _common_beginning(texts: Sequence[str]) -> tuple[str, ...]:
    """Divide texts at the last white space of what they begin with in common.

    Returns:
        The common beginning without that white space, and what follows it in each text.
    """
    common = os.path.commonprefix([*texts])  # noqa: RUF071  # of characters, as is meant here
    end = max((at for at, one in enumerate(common) if one.isspace()), default=0)
    return (common[:end], *(text[end:] for text in texts))


def _separated(prompt: str, answer: str) -> str:
    """Put a space before an answer where neither text has white space between them."""
    return answer if prompt[-1].isspace() or answer[0].isspace() else f" {answer}"


def _conversations(
    row: Mapping[str, Any], lists: Mapping[str, Any], chat_template: str | None
) -> Example | str:
    answers: list[str] = []
    before: list[Message] = list(lists["prompt"] or ())
    for name in _ANSWERS:
        *earlier, last = lists[name]
        if last["role"] != "assistant":
            return f"{name} does not end with the assistant"
        before = before or earlier
        if earlier not in ([], before):
            return "the answers have different prompts"
        answers.append(last["content"])
    if answers[0] == answers[1]:
        return "equal answers"
    question = None if lists["prompt"] else as_text(row.get("prompt"))
    messages = _with_question(before, question)
    if isinstance(messages, str):
        return messages
    prompt = "\n".join(f"{one['role']}: {one['content']}" for one in messages)
    return ChatPair(prompt, tuple(answers), messages=tuple(messages), chat_template=chat_template)


def _with_question(before: list[Message], question: Any) -> list[Message] | str:
    """Add a question that the row has as a text, unless the conversations end with it."""
    if not isinstance(question, str) or not question.strip():
        return before or "prompt is missing"
    if not before:
        return [{"role": "user", "content": question}]
    if before[-1]["content"].strip() != question.strip():
        return "prompt is not the last message before the answers"
    return before
