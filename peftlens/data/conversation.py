"""Conversations: chat and instruction rows in the four layouts that data sets use.

`messages` (a list with role and content), ShareGPT (`conversations`, a list with from and value),
Alpaca (`instruction`, `input`, `output`), and `prompt` with `completion`, each a text or messages.
All become messages with the roles system, user, assistant and tool.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peftlens.data.cells import unusable
from peftlens.errors import InputError

Layout = Literal["messages", "sharegpt", "alpaca", "prompt_completion"]
Message = Mapping[str, Any]  # role and content, and what a template needs: tool_calls, name
Row = Mapping[str, Any]
LISTS = ("messages", "conversations", "conversation")  # columns that hold a whole conversation
CONVERSATION_COLUMNS = (
    *LISTS, "instruction", "input", "output", "prompt", "completion", "system", "tools",
)  # fmt: skip
LAYOUTS: Mapping[Layout, str] = {
    "messages": "`messages` (role, content)",
    "sharegpt": "ShareGPT: `conversations` (from, value)",
    "alpaca": "Alpaca: `instruction`, `input`, `output`",
    "prompt_completion": "`prompt` and `completion`",
}
_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
    "function": "tool",
    "developer": "system",
}
_KNOWN = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class Conversation:
    """Messages of one row, with what the model could call.

    Attributes:
        messages: messages in order; at least one is the assistant's.
        tools: descriptions of tools, as the chat template takes them; None without tools.
    """

    messages: tuple[Message, ...]
    tools: tuple[Any, ...] | None = None

    @property
    def assistant_turns(self) -> tuple[int, ...]:
        """Positions of the assistant's messages."""
        return tuple(
            at for at, message in enumerate(self.messages) if message["role"] == "assistant"
        )


def layout_of(columns: Sequence[str]) -> Layout | None:
    """Recognize the layout of rows by their columns; None if they are no conversations."""
    names = {*columns}
    if "messages" in names:
        return "messages"
    if names & {*LISTS}:
        return "sharegpt"
    if {"instruction", "output"} <= names:
        return "alpaca"
    if {"prompt", "completion"} <= names:
        return "prompt_completion"
    return None


def conversation(row: Row, layout: Layout) -> Conversation | str:
    """Read the conversation of a row, or return the reason why it has none."""
    read = {
        "messages": _of_list,
        "sharegpt": _of_list,
        "alpaca": _of_alpaca,
        "prompt_completion": _of_pair,
    }[layout]
    messages = read(row)
    if isinstance(messages, str):
        return messages
    if not any(message["role"] == "assistant" for message in messages):
        return "no message of the assistant"
    if messages[-1]["role"] != "assistant":
        last = max(at for at, one in enumerate(messages) if one["role"] == "assistant")
        messages = messages[: last + 1]  # what follows the last answer trains nothing
    tools = _parsed(row.get("tools"))
    if tools is not None and not isinstance(tools, list):
        return "tools are not a list"
    return Conversation(tuple(messages), tuple(tools) if tools else None)


def _of_list(row: Row) -> list[Message] | str:
    name = next(name for name in LISTS if name in row)
    cells = _parsed(row[name])
    if not isinstance(cells, list) or not cells:
        return f"{name} is not a list of messages"
    messages: list[Message] = []
    if isinstance(system := row.get("system"), str) and system.strip():
        messages.append({"role": "system", "content": system})
    for cell in cells:
        message = _message(cell)
        if isinstance(message, str):
            return message
        messages.append(message)
    return messages


def _message(cell: Any) -> Message | str:
    if not isinstance(cell, Mapping):
        return "a message is not an object"
    role = cell.get("role", cell.get("from"))
    role = _ROLES.get(str(role).lower(), str(role).lower())
    if role not in _KNOWN:
        return f"unknown role {role!r}"
    content = cell.get("content", cell.get("value"))
    extra = {key: cell[key] for key in ("tool_calls", "name", "tool_call_id") if cell.get(key)}
    if content is None and "tool_calls" in extra:
        content = ""
    content = _parts(content)
    if not isinstance(content, str) or (reason := unusable(content)) == "missing":
        return "a message has no text"
    if reason and not extra:
        return f"a message is {reason}"
    return {"role": role, "content": content, **extra}


def _parts(content: Any) -> Any:
    """Join a content of text parts, as multimodal rows have it; other parts are no text."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") for part in content if isinstance(part, Mapping)]
    found = [text for text in texts if isinstance(text, str)]
    return "".join(found) if found and len(found) == len(content) else None


def _of_alpaca(row: Row) -> list[Message] | str:
    question, more, answer = (row.get(name) for name in ("instruction", "input", "output"))
    if reason := unusable(question):
        return f"instruction is {reason}"
    if reason := unusable(answer):
        return f"output is {reason}"
    text = f"{question}\n\n{more}" if isinstance(more, str) and more.strip() else str(question)
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    if isinstance(system := row.get("system"), str) and system.strip():
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _of_pair(row: Row) -> list[Message] | str:
    messages: list[Message] = []
    for name, role in (("prompt", "user"), ("completion", "assistant")):
        cell = _parsed(row.get(name), lists_only=True)
        if not isinstance(cell, list):
            if reason := unusable(cell):
                return f"{name} is {reason}"
            cell = [{"role": role, "content": cell}]
        for one in cell:
            message = _message(one)
            if isinstance(message, str):
                return message
            messages.append(message)
    return messages


def messages_in(cell: Any) -> list[Message] | str | None:
    """Read a cell with messages; a text if one can't be read, None if the cell holds no list."""
    cells = _parsed(cell, lists_only=True)
    if not isinstance(cells, list) or not cells:
        return None
    messages = [_message(one) for one in cells]
    reason = next((one for one in messages if isinstance(one, str)), None)
    return reason or [one for one in messages if not isinstance(one, str)]


def _parsed(cell: Any, lists_only: bool = False) -> Any:
    """Parse a list that a table holds as JSON text; other cells stay as they are."""
    if hasattr(cell, "tolist"):
        return cell.tolist()  # NumPy, from Parquet by pandas
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return cell
    try:
        parsed = json.loads(cell)
    except ValueError:
        return cell
    messages = isinstance(parsed, list) and all(isinstance(one, Mapping) for one in parsed)
    return parsed if messages or not lists_only else cell


def require_layout(columns: Sequence[str], source: str) -> Layout:
    """Recognize the layout of rows.

    Raises:
        InputError: they have none of the four layouts.
    """
    if layout := layout_of(columns):
        return layout
    raise InputError(
        f"{source} has no conversations: it needs a column `messages` (role, content), "
        "`conversations` (from, value), `instruction` and `output`, or `prompt` and `completion`; "
        f"it has {', '.join(map(str, columns))}"
    )
