"""Tokenizers without ``transformers``: files of ``tokenizers``, in the form that `SpanMarkerTokenizer` wraps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, Encoding, Tokenizer

LISTS_OF_TOKENS = ("additional_special_tokens", "extra_special_tokens")
"""Keys of ``tokenizer_config.json`` with any number of special tokens."""


class Encodings(NamedTuple):
    """The encodings of several inputs.

    Attributes:
        encodings: One encoding per input.
    """

    encodings: list[Encoding]


class PlainTokenizer:
    """The part of a tokenizer of ``transformers`` that `SpanMarkerTokenizer` needs.

    Args:
        backend: The tokenizer, as saved by ``transformers``.
        settings: The contents of ``tokenizer_config.json``.

    Attributes:
        backend_tokenizer: The tokenizer.
        model_max_length: The recommended maximum number of tokens of a text.
        pad_token_id: Token ID of padding; None if there is none.
        unk_token_id: Token ID of unknown text; None if there is none.
        all_special_ids: Token IDs of all special tokens that have a purpose, such as padding.

    Raises:
        TypeError: If a setting has the wrong type.
    """

    is_fast = True

    def __init__(self, backend: Tokenizer, settings: Mapping[str, Any]) -> None:
        backend.no_padding()
        backend.no_truncation()
        self.backend_tokenizer = backend
        self.model_max_length = int(settings.get("model_max_length", 10**30))
        names = {name: _content(token) for name, token in settings.items() if name.endswith("_token")}
        self.pad_token_id, self.unk_token_id = (
            None if name not in names else backend.token_to_id(names[name]) for name in ("pad_token", "unk_token")
        )
        lists = [settings.get(name) or [] for name in LISTS_OF_TOKENS]
        more = [token for tokens in lists for token in (tokens.values() if isinstance(tokens, dict) else tokens)]
        ids = map(backend.token_to_id, [*names.values(), *map(_content, more)])
        self.all_special_ids = sorted({index for index in ids if index is not None})

    @classmethod
    def from_folder(cls, folder: Path) -> PlainTokenizer:
        """Read the files of a tokenizer.

        Args:
            folder: The folder of a checkpoint.

        Returns:
            The tokenizer.

        Raises:
            Exception: The error of ``tokenizers`` if ``tokenizer.json`` is invalid.
            FileNotFoundError: If a file is missing.
            ValueError: If ``tokenizer_config.json`` is invalid.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{str(folder)!r} has no tokenizer.json. Tokenizers that are written in Python, such as PhoBERT's, "
                "need transformers: load the model with SpanMarkerModel.from_pretrained"
            )
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        return cls(Tokenizer.from_file(str(path)), settings)

    def __call__(
        self,
        inputs: Sequence[Any],
        is_split_into_words: bool = False,
        add_special_tokens: bool = True,
        split_special_tokens: bool = False,
        **options: Any,
    ) -> Encodings:
        """Encode texts or lists of words, as a tokenizer of ``transformers`` does.

        Args:
            inputs: The texts, or the lists of words.
            is_split_into_words: Whether they are lists of words.
            add_special_tokens: Whether to add special tokens around each text.
            split_special_tokens: Whether to treat text that spells a special token as ordinary text.
            **options: Not used. They control how ``transformers`` converts the encodings.

        Returns:
            The encodings, without padding and without truncation.
        """
        if self.backend_tokenizer.encode_special_tokens != split_special_tokens:  # other threads may be reading
            self.backend_tokenizer.encode_special_tokens = split_special_tokens
        return Encodings(
            self.backend_tokenizer.encode_batch(
                list(inputs), is_pretokenized=is_split_into_words, add_special_tokens=add_special_tokens
            )
        )

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens that were added to the vocabulary, by ID."""
        added: dict[int, AddedToken] = self.backend_tokenizer.get_added_tokens_decoder()
        return added

    def add_tokens(self, tokens: Sequence[str], special_tokens: bool = False) -> int:
        """Add tokens to the vocabulary, unless they already exist.

        Args:
            tokens: The tokens.
            special_tokens: Whether they are special.

        Returns:
            Number of new tokens.
        """
        add = self.backend_tokenizer.add_special_tokens if special_tokens else self.backend_tokenizer.add_tokens
        return int(add(list(tokens)))

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int | None]:
        """Look up tokens.

        Args:
            tokens: The tokens.

        Returns:
            Their IDs; None for unknown ones.
        """
        return [self.backend_tokenizer.token_to_id(token) for token in tokens]


def _content(token: Any) -> str:
    """The text of a special token, which may be saved as a string or as a dict with matching options."""
    content = token["content"] if isinstance(token, Mapping) else token
    if not isinstance(content, str):
        raise TypeError(f"the special token {token!r} must be a string")
    return content
