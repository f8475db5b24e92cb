"""Preference rows: a prompt with a chosen and a rejected answer."""

from collections.abc import Mapping
from typing import Any

from peftlens.data.cells import as_text, unusable
from peftlens.data.conversation import Message, messages_in
from peftlens.data.task import ChatPair, Example, TextPair

PREFERENCE_COLUMNS = ("prompt", "chosen", "rejected")


def preference(row: Mapping[str, Any], chat_template: str | None) -> Example | str:
    """Read a row of preferences, or return the reason why it can't be used.

    Args:
        row: `prompt`, `chosen` and `rejected`: texts, or lists of messages. Without a prompt,
            `chosen` and `rejected` are whole conversations that differ in their last answer.
        chat_template: template of the conversations.
    """
    lists = {name: messages_in(row.get(name)) for name in PREFERENCE_COLUMNS}
    if lists["chosen"] is None or lists["rejected"] is None:
        return _texts(row)
    if reason := next((one for one in lists.values() if isinstance(one, str)), None):
        return reason
    return _conversations(row, lists, chat_template)


def _texts(row: Mapping[str, Any]) -> Example | str:
    texts = {name: as_text(row.get(name)) for name in PREFERENCE_COLUMNS}
    for name, text in texts.items():
        if reason := unusable(text):
            return f"{name} is {reason}"
    if texts["chosen"].strip() == texts["rejected"].strip():
        return "equal answers"
    answers = (f" {texts['chosen'].strip()}", f" {texts['rejected'].strip()}")
    return TextPair(texts["prompt"], answers)


def _conversations(
    row: Mapping[str, Any], lists: Mapping[str, Any], chat_template: str | None
) -> Example | str:
    before: list[Message] = list(lists["prompt"] or ())
    if not before and (text := as_text(row.get("prompt"))):
        before = [{"role": "user", "content": text}]
    answers = []
    for name in ("chosen", "rejected"):
        messages = list(lists[name])
        if messages[-1]["role"] != "assistant":
            return f"{name} does not end with the assistant"
        if not before:
            before = messages[:-1]
        if messages[:-1] not in ([], before):
            return "the answers have different prompts"
        answers.append(messages[-1]["content"])
    if not before:
        return "prompt is missing"
    if answers[0] == answers[1]:
        return "equal answers"
    prompt = "\n".join(f"{one['role']}: {one['content']}" for one in before)
    return ChatPair(prompt, tuple(answers), messages=tuple(before), chat_template=chat_template)
