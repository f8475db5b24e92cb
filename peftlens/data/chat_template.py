"""Chat templates: conversations as token ids, with the tokens that are trained.

Trained are the assistant's tokens. Where the template marks them ({% generation %}), its marks
decide. Otherwise the conversation is rendered turn by turn: what an answer adds behind the prompt
that asks for it is trained. Each rendering must begin with the one before; a template that rewrites
earlier turns has no such tokens, and is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError

from peftlens.data.conversation import Conversation, Message
from peftlens.errors import InputError, suggestion

Turns = Literal["all", "last"]
PLAIN = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
        "{% if message['role'] == 'assistant' %}{% generation %}"
        "{{ message['content'] + '<|im_end|>\n' }}{% endgeneration %}"
        "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "plain": (
        "{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}{{ 'Answer:' }}{% generation %}"
        "{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{{ '\n' }}"
        "{% else %}{{ message['content'] + '\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
    ),
}


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as token ids.

    Attributes:
        ids: token ids of the whole conversation.
        trained: whether each of them is trained, of the same length.
    """

    ids: tuple[int, ...]
    trained: tuple[bool, ...]


def with_template(tokenizer: Any, chat_template: str | None) -> str:
    """Return the template that renders conversations.

    Args:
        tokenizer: tokenizer of the base model.
        chat_template: path of a Jinja file, or the name of a plain template: chatml or plain; None
            for the tokenizer's own.

    Raises:
        InputError: there is no such file, or the tokenizer has no template.
    """
    if chat_template in PLAIN:
        return PLAIN[chat_template]
    if chat_template is not None:
        try:
            return Path(chat_template).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            remedy = suggestion(chat_template, PLAIN, "give a Jinja file or one of")
            raise InputError(f"chat_template {chat_template!r} is not a file; {remedy}") from error
    own = getattr(tokenizer, "chat_template", None)
    if isinstance(own, dict):
        own = own.get("default")
    if not own:
        raise InputError(
            "the base's tokenizer has no chat template; set chat_template to a Jinja file, or to "
            f"one of {', '.join(PLAIN)}"
        )
    return own


@dataclass(frozen=True)
class ChatTemplate:
    """A template together with the tokenizer that it writes for.

    Attributes:
        tokenizer: tokenizer of the base model.
        template: Jinja text.
        turns: which of the assistant's messages are trained.
    """

    tokenizer: Any
    template: str
    turns: Turns = "all"

    def prompt(self, messages: Sequence[Message], tools: Any = None) -> list[int]:
        """Tokenize messages up to where the assistant begins to answer."""
        return self._ids(messages, tools, add_generation_prompt=True)

    def render(self, conversation: Conversation) -> RenderedChat | str:
        """Tokenize a conversation, or return the reason why nothing of it can be trained.

        Raises:
            InputError: the template fails, or rewrites earlier turns.
        """
        marked = "{% generation" in self.template or "{%- generation" in self.template
        ids, trained = (self._marked if marked else self._by_turns)(conversation)
        if not any(trained):
            return "no token of the assistant"
        return RenderedChat(tuple(ids), tuple(trained))

    def _marked(self, conversation: Conversation) -> tuple[list[int], list[bool]]:
        """Read the template's own marks of the assistant's tokens."""
        found = self._apply(
            conversation.messages,
            conversation.tools,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ids, trained = list(found["input_ids"]), [bool(one) for one in found["assistant_masks"]]
        if self.turns == "last":
            last = conversation.assistant_turns[-1]
            before = len(self.prompt(conversation.messages[:last], conversation.tools))
            trained = [one and at >= before for at, one in enumerate(trained)]
        return ids, trained

    def _by_turns(self, conversation: Conversation) -> tuple[list[int], list[bool]]:
        """Compare renderings that end before and after each of the assistant's messages."""
        messages, tools = conversation.messages, conversation.tools
        ids = self._ids(messages, tools)
        trained = [False] * len(ids)
        turns = conversation.assistant_turns
        for turn in turns if self.turns == "all" else turns[-1:]:
            before = self.prompt(messages[:turn], tools)
            after = self._ids(messages[: turn + 1], tools)
            if after[: len(before)] != before or ids[: len(after)] != after:
                raise InputError(
                    f"the chat template writes earlier turns anew once message {turn + 1} follows, "
                    'so its tokens can\'t be told; set turns = "last", or give a chat_template '
                    "that marks the assistant's text by {% generation %}"
                )
            trained[len(before) : len(after)] = [True] * (len(after) - len(before))
        return ids, trained

    def _ids(self, messages: Sequence[Message], tools: Any, **options: Any) -> list[int]:
        return list(self._apply(messages, tools, return_dict=True, **options)["input_ids"])

    def _apply(self, messages: Sequence[Message], tools: Any, **options: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(
                [dict(one) for one in messages],
                tools=list(tools) if tools else None,
                chat_template=self.template,
                tokenize=True,
                **options,
            )
        except (TemplateError, TypeError, KeyError) as error:
            raise InputError(f"the chat template refuses a conversation: {error}") from error
