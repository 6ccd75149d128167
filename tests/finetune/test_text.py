"""Plain text: files plain and compressed, folders, separators, broken files, packing."""

import gzip
import lzma

import numpy as np
import pytest

from theory_lab.finetune import text
from theory_lab.finetune.tokens import word_tokenizer

COMPRESSED = {".txt": bytes, ".txt.gz": gzip.compress, ".txt.xz": lzma.compress}
CONTENT = "One two.\nthree\n<|endoftext|>\n\n<|endoftext|>\r\n  Vier – fünf \n\n6\n".encode()
DOCUMENTS = ["One two.\nthree", "Vier – fünf \n\n6"]
TOKENIZER = word_tokenizer(["a", "b", "c"])


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_files_plain_or_compressed_with_or_without_a_mark(tmp_path, suffix, mark, as_text):
    path = tmp_path / f"small{suffix}"
    path.write_bytes(COMPRESSED[suffix](mark + CONTENT))
    assert list(text.documents(str(path) if as_text else path)) == DOCUMENTS


def test_folders_are_read_in_the_order_of_their_paths_and_only_their_texts(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.txt").write_text("second")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"first"))
    (tmp_path / "c.txt.xz").write_bytes(lzma.compress(b"third"))
    (tmp_path / "README.md").write_text("not this one")
    (tmp_path / "list.tsv.xz").write_bytes(lzma.compress(b"nor this"))
    assert list(text.documents(tmp_path)) == ["first", "second", "third"]
    assert list(text.documents([tmp_path / "README.md", tmp_path / "b"])) == ["not this one", "second"]


def test_windows_line_ends_other_separators_and_empty_files(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\r\n----\r\nthree<|endoftext|>\r\n")
    assert list(text.documents(path, separator="----")) == ["one\ntwo", "three<|endoftext|>"]
    path.write_bytes(b"")
    assert list(text.documents(path)) == []


BROKEN = {
    "cut.txt.gz": gzip.compress(CONTENT * 9)[:-9],
    "cut.txt.xz": lzma.compress(CONTENT * 9)[:-9],
    "plain.txt.gz": CONTENT,
    "plain.txt.xz": CONTENT,
    "spoiled.txt.gz": gzip.compress(CONTENT)[:12] + b"\xff" * 20,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_its_path(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(ValueError, match=rf"^paths must be readable text files, got '.*{name}' \(.+\)$"):
        list(text.documents(tmp_path))


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes("naïve\n".encode() + "naïve\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt line 2 must be UTF-8 text, got b'na\\xefve\\n'$"):
        list(text.documents(tmp_path))


def test_blocks_hold_the_stream_in_order_with_an_end_after_every_document():
    blocks = text.pack(["a b", "c", "a a a"], TOKENIZER, 4)
    assert blocks.dtype == np.int32
    assert blocks.tolist() == [[4, 5, 2, 6], [2, 4, 4, 4]]  # the last end is left over
    assert text.pack(["a b", "c", "a a a"], TOKENIZER, 3, end=9).tolist() == [[4, 5, 9], [6, 9, 4], [4, 4, 9]]


def test_documents_may_be_a_stream():
    stream = ("a" for _ in range(1000))
    assert text.pack(stream, TOKENIZER, 100).shape == (20, 100)
