"""Loaders: bundled data, and LIBSVM files plain, compressed, broken and missing."""

import bz2
import gzip
import lzma

import numpy as np
import pytest

import theory_lab as tl
from theory_lab.problems import data

pytest.importorskip("sklearn", reason="needs the extra 'data'")

TEXT = b"+1 1:0.5 3:-2\n-1 2:1.5\n+1 1:1 2:2 3:3 # a comment\n"
ROWS = [[0.5, 0.0, -2.0], [0.0, 1.5, 0.0], [1.0, 2.0, 3.0]]
COMPRESSED = {"plain": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


@pytest.mark.parametrize("loader, shape", [(data.breast_cancer, (569, 30)), (data.digits, (1797, 64))])
def test_bundled_data_is_standardised_and_binary(loader, shape):
    features, labels = loader()
    assert features.shape == shape
    assert set(labels) == {-1.0, 1.0}
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-12)
    deviation = features.std(axis=0)
    assert (np.isclose(deviation, 1, rtol=1e-10) | (deviation == 0)).all()
    assert (deviation > 0).sum() >= shape[1] - 3  # three pixels of the digits are always white


def test_breast_cancer_is_solved_to_its_certificate():
    features, labels = data.breast_cancer()
    problem = tl.logistic(features, labels, columns={"x": slice(0, 20), "y": slice(20, 30)}, l2=1e-3)
    gradient = problem.gradient(problem.optimum)
    assert np.sqrt(sum(float(np.sum(np.square(g))) for g in gradient.values())) < 1e-11
    assert 0.05 < problem.constants.optimal_value < 0.08  # well below log 2: the data are nearly separable


@pytest.mark.parametrize("suffix", COMPRESSED)
@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_libsvm_files_are_read_plain_or_compressed(tmp_path, suffix, as_text):
    path = tmp_path / f"small.libsvm{suffix if suffix != 'plain' else ''}"
    path.write_bytes(COMPRESSED[suffix](TEXT))
    features, labels = data.libsvm(str(path) if as_text else path)
    assert features.tolist() == ROWS
    assert labels.tolist() == [1.0, -1.0, 1.0]
    assert features.dtype == labels.dtype == np.float64
    problem = tl.logistic(features, labels, columns={"x": [0, 1], "y": [2]}, l2=0.1)
    assert problem.n == 3


BROKEN = {
    "words.txt": b"once upon a time\n",
    "half.txt": b"+1 1:0.5\n-1 2:\n",
    "pairs.txt": b"+1 1=0.5\n",
    "order.txt": b"+1 3:1 1:2\n",
    "cut.xz": lzma.compress(TEXT)[:-8],
    "cut.gz": gzip.compress(TEXT)[:-8],
    "spoiled.gz": gzip.compress(TEXT)[:12] + b"\xff" * 20,
    "cut.bz2": bz2.compress(TEXT)[:-8],
    "plain.xz": TEXT,
    "plain.gz": TEXT,
    "plain.bz2": TEXT,
    "bytes.txt": bytes(range(256)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_its_path(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    with pytest.raises(ValueError, match=rf"^path must be a readable LIBSVM-format file, got '.*{name}' \(.+\)$"):
        data.libsvm(path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"+1\n-1\n"], ids=["empty", "blank", "no features"])
def test_a_file_without_data_is_refused(tmp_path, content):
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^path must be a .*LIBSVM-format file.*, got '.*empty.txt'"):
        data.libsvm(path)


def test_a_missing_library_is_answered_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r"needs scikit-learn: pip install 'theory_lab\[data\]'"):
        data.breast_cancer()


def test_standardising_leaves_constant_columns_at_zero():
    features = np.array([[1.0, 5.0, 1e-30], [3.0, 5.0, 2e-30]])
    np.testing.assert_allclose(data.standardise(features)[:, 0], [-1, 1])
    assert (data.standardise(features)[:, 1:] == 0).all() or np.isfinite(data.standardise(features)).all()
