"""Tokenizers of Hugging Face folders: `tokenizer.json`, or `vocab.json` with `merges.txt` (byte-level BPE).

The pieces of text are the library's work (`tokenizers`, extra "lm"); what is decided here is which special tokens stand
around a text: OPT puts </s> (id 2) first and pads with <pad> (id 1), Llama puts <s> first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab.models import tensorfile

SINGLE, VOCABULARY, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
SETTINGS, OLDER, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens_decoder"
NUMBERS, PIECES = "added_tokens.json", "tokenizer.model"  # PIECES is for others: transformers makes SINGLE of it
SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>")


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids and back; `load_tokenizer` makes it.

    Attributes:
        pieces: the tokenizer of the library.
        first: the id before every text, or None.
        end: the id after a complete text, or None; `encode` does not add it.
        pad: the id that fills rows up; whatever it is, the mask says where it stands.
    """

    pieces: Any
    first: int | None
    end: int | None
    pad: int

    @property
    def size(self) -> int:
        return int(self.pieces.get_vocab_size())

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """The ids of a text, after the first one if ``special``."""
        if not isinstance(text, str):
            raise _checks.refuse("text", "a str", text)
        ids = list(self.pieces.encode(text, add_special_tokens=False).ids)
        return [self.first, *ids] if special and self.first is not None else ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, without special ones."""
        return str(self.pieces.decode([int(i) for i in ids]))


def load_tokenizer(path: Any) -> Tokenizer:
    """The tokenizer in a folder.

    Args:
        path: the folder. `tokenizer_config.json`, `special_tokens_map.json` and `config.json`, where they are, say which
            tokens are special or added, and whether a text has one before it. To what length texts are cut or filled up is
            not looked at: `padded` fills them up.

    Raises:
        ValueError: no folder, none of the files, files that cannot be read, special ids beyond the vocabulary.
        ImportError: the extra "lm" is not installed.
    """
    where = tensorfile.folder(path)
    settings, older, model = (_read(where, name) for name in (SETTINGS, OLDER, "config.json"))
    told = older | settings if ADDED in settings else settings | older  # as transformers has them
    pieces = _pieces(where, told)
    names = {name: _special_id(name, pieces, told, model) for name in ("bos", "eos", "pad")}
    begins = told.get("add_bos_token")
    if begins is None:  # the file's own rule, or where there is none that of the two kinds of models
        kind = model.get("model_type") in ("opt", "llama") and str(told.get("tokenizer_class", "Llama")).startswith("Llama")
        begins = _begins(pieces, names["bos"]) or (kind and names["bos"] is not None)
    fallback = names["eos"] if names["eos"] is not None else 0
    return Tokenizer(
        pieces, names["bos"] if begins else None, names["eos"], fallback if names["pad"] is None else names["pad"]
    )


def copy_tokenizer(path: Any, to: Any) -> None:
    """Put the tokenizer of a folder into another one, of a model that was trained from there; there may be none.

    Args:
        path: the folder with the tokenizer's files.
        to: the other folder; made if it is not there. What was in it under the same names is replaced.

    Raises:
        ValueError: a path that is no folder.
        OSError: a file that cannot be read or written.
    """
    source, target = tensorfile.folder(path), tensorfile.new_folder(to)
    for name in (SINGLE, VOCABULARY, MERGES, SETTINGS, OLDER, NUMBERS, PIECES):
        if (source / name).is_file():
            tensorfile.write_bytes(target / name, [(source / name).read_bytes()])


def padded(
    texts: Sequence[Sequence[int]], pad: int, *, side: str = "right", length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one length and their mask.

    Args:
        texts: the ids of every text.
        pad: the id that fills up.
        side: "right" or "left", where it stands.
        length: of the rows; None is that of the longest text.

    Returns:
        Tokens and mask, (B, T) int32 each; 1 in the mask at tokens.

    Raises:
        ValueError: no texts, an unknown side, a text longer than ``length``.

    Example:
        >>> tokens, mask = padded([[5, 6, 7], [8]], pad=1)
        >>> tokens.tolist(), mask.tolist()
        ([[5, 6, 7], [8, 1, 1]], [[1, 1, 1], [1, 0, 0]])
    """
    if not texts:
        raise _checks.refuse("texts", "at least one text", texts)
    _checks.choice("side", side, ("left", "right"))
    longest = max(len(text) for text in texts)
    size = longest if length is None else _checks.count("length", length)
    if longest > size:
        raise _checks.refuse("length", f"at least {longest}, that of the longest text", length)
    tokens, mask = np.full((len(texts), size), pad, np.int32), np.zeros((len(texts), size), np.int32)
    for row, text in enumerate(texts):
        place = slice(0, len(text)) if side == "right" else slice(size - len(text), size)
        tokens[row, place], mask[row, place] = text, 1
    return tokens, mask


def _read(where: Path, name: str) -> dict[str, Any]:
    return tensorfile.read_json(where / name) if (where / name).exists() else {}


def _pieces(where: Path, told: Mapping[str, Any]) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "tokenizers is not installed; it comes with the extra 'lm': pip install 'theory_lab[lm]'"
        ) from error
    found = [name for name in (SINGLE, VOCABULARY, MERGES) if (where / name).exists()]
    try:
        if SINGLE in found:
            pieces = tokenizers.Tokenizer.from_file(str(where / SINGLE))
            pieces.no_truncation()
            pieces.no_padding()
            return _with_added(pieces, where, told)
        if found == [VOCABULARY, MERGES]:
            pieces = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(where / VOCABULARY), str(where / MERGES)))
            space = bool(told.get("add_prefix_space", False))
            pieces.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=space)
            pieces.decoder = tokenizers.decoders.ByteLevel()
            named = [word for name in told if name.endswith("_token") and (word := _word(told[name]))]
            pieces.add_special_tokens([word for word in named or SPECIAL if pieces.token_to_id(word) is not None])
            return _with_added(pieces, where, told)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises bare Exceptions, and panics, which are none
        raise _checks.refuse(f"{found[0]} in {str(where)!r}", "a tokenizer", str(error)) from None
    rule = f"with {SINGLE}, or with {VOCABULARY} and {MERGES}"
    if (where / PIECES).exists():
        rule += " (transformers makes it of tokenizer.model: AutoTokenizer.from_pretrained(...).save_pretrained(...))"
    raise _checks.refuse(f"folder {str(where)!r}", rule, sorted(p.name for p in where.iterdir()))


def _with_added(pieces: Any, where: Path, told: Mapping[str, Any]) -> Any:
    """With the tokens that were added to the vocabulary, at the numbers that the settings give them."""
    from tokenizers import AddedToken

    added = {number: {"content": word} for word, number in _read(where, NUMBERS).items()}
    added |= {int(number): entry for number, entry in (told.get(ADDED) or {}).items()}
    for number, entry in sorted(added.items()):
        pieces.add_tokens([AddedToken(**entry)])
        if (found := pieces.token_to_id(entry["content"])) != number:
            raise ValueError(f"token {entry['content']!r}, to be number {number}, is {found}")
    return pieces


def _special_id(name: str, pieces: Any, told: Mapping[str, Any], model: Mapping[str, Any]) -> int | None:
    """By the tokenizer's own settings, else by the model's; None where neither says."""
    word = _word(told.get(f"{name}_token"))
    found = pieces.token_to_id(word) if word is not None else model.get(f"{name}_token_id")
    found = found[0] if isinstance(found, list) and found else found
    if found is None or found == -1:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < pieces.get_vocab_size():
        raise _checks.refuse(f"{name}_token_id", f"in the vocabulary, 0..{pieces.get_vocab_size() - 1}", found)
    return found


def _word(told: Any) -> str | None:
    """A token as settings have it: its word, or an object with its word among more."""
    word = told.get("content") if isinstance(told, Mapping) else told
    return word if isinstance(word, str) else None


def _begins(pieces: Any, first: int | None) -> bool:
    """Whether the file itself puts that id before a text."""
    ids = pieces.encode("a", add_special_tokens=True).ids
    return first is not None and ids[:1] == [first]
