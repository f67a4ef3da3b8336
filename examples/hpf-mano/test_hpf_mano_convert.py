"""The converter: what it reads, what it refuses, and that nothing in a pickle is run."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hpf_mano import unpickle
from hpf_mano.asset import Asset
from hpf_mano.convert import KEYS, main, mirrored
from hpf_mano.unpickle import arrays_of
from mano_files import Ch, as_python2, little_hand, reference, write_pickle
from safetensors import safe_open
from safetensors.numpy import load_file

from hpf.plugin import DataError, RunError


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    return write_pickle(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl", little_hand())


def refused(source: Path, capsys) -> str:
    """What the command says of a file that it must refuse, having written nothing."""
    before = {path.name: path.stat().st_mtime_ns for path in source.parent.iterdir()}
    assert main([str(source), str(source.with_name("out.safetensors"))]) == 2
    assert {path.name: path.stat().st_mtime_ns for path in source.parent.iterdir()} == before
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert "Traceback" not in said.err
    return said.err


# -------------------------------------------------------------------------------------------------- what it reads


def test_a_published_file(published, tmp_path, capsys):
    plain = little_hand(published=False)
    target = tmp_path / "made" / "right.safetensors"
    assert main([str(published), str(target)]) == 0
    assert "a right hand of 419 vertices, 808 faces" in capsys.readouterr().out
    found = load_file(target)
    for name in ("v_template", "shapedirs", "posedirs"):
        np.testing.assert_allclose(found[name], plain[name], rtol=1e-6)
    np.testing.assert_array_equal(found["faces"], plain["f"])
    np.testing.assert_allclose(found["regressor"], plain["J_regressor"], rtol=1e-6)
    np.testing.assert_allclose(found["deviations"], plain["hands_coeffs"].std(axis=0), rtol=1e-6)
    with safe_open(target, framework="np") as stored:
        assert stored.metadata()["side"] == "right"
    assert [path.name for path in target.parent.iterdir()] == ["right.safetensors"]


def test_the_file_is_like_the_published_ones(published):
    """Of Python 2, with names that no Python of today can import."""
    raw = published.read_bytes()
    assert raw.startswith(b"\x80\x02")
    for name in (b"cchumpy.reordering\nSelect", b"cchumpy.ch\nCh", b"cscipy.sparse.csc\ncsc_matrix"):
        assert name in raw
    assert b"cnumpy.core.multiarray\n_reconstruct" in raw
    assert b"_codecs" not in raw


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_files_that_were_saved_again(published, tmp_path, protocol):
    path = tmp_path / "again.pkl"
    path.write_bytes(pickle.dumps(little_hand(published=False), protocol=protocol))
    again, first = arrays_of(path, KEYS), arrays_of(published, KEYS)
    for key in KEYS:
        np.testing.assert_array_equal(again[key], first[key])
        assert again[key].dtype == first[key].dtype


def test_numbers_of_other_machines(tmp_path):
    """Big-endian, by columns, and a matrix whose entries are given twice."""
    content = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(">f8"), "b": Ch(np.arange(3, dtype=">u2"))}
    found = arrays_of(write_pickle(tmp_path / "big.pkl", content), ("a", "b"))
    np.testing.assert_array_equal(found["a"], np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(found["b"], [0, 1, 2])


def test_a_left_hand_is_mirrored(published, tmp_path, capsys):
    """It is the mirror image in every pose, by the plain loops, and comes out as the right one that it mirrors."""
    right = tmp_path / "right.safetensors"
    assert main([str(published), str(right)]) == 0
    stored = load_file(right)
    left = mirrored(Asset(**{name: values.astype(np.float64) for name, values in stored.items()}))
    content = little_hand(published=False) | {
        "v_template": left.v_template,
        "shapedirs": left.shapedirs,
        "posedirs": left.posedirs,
        "f": left.faces.astype(np.uint32),
        "hands_components": left.components,
        "hands_mean": left.mean,
    }
    # Read as it stands, a left hand.
    as_left = tmp_path / "as_left.safetensors"
    source = write_pickle(tmp_path / "MANO_LEFT.pkl", content)
    assert main([str(source), str(as_left), "--side", "right"]) == 0
    draw = np.random.default_rng(1)
    angles, shape = 0.5 * draw.standard_normal((15, 3)), draw.standard_normal(10)
    here = reference(right, angles, shape)
    there = reference(as_left, angles * [1, -1, -1], shape)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(other, one * [-1, 1, 1], atol=1e-7)

    again = tmp_path / "again.safetensors"
    capsys.readouterr()
    assert main([str(source), str(again)]) == 0
    assert "mirrored from a left one" in capsys.readouterr().out
    found = load_file(again)
    for name, values in stored.items():
        np.testing.assert_allclose(found[name], values, atol=1e-7)


# ------------------------------------------------------------------------------------------------- what it refuses


class Named:
    """Pickled as a call of some function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("posix", "system"),
        ("os", "system"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("__builtin__", "getattr"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "fromfile"),
        ("chumpy.ch", "add"),
        ("scipy.sparse.csc", "isspmatrix_csc"),
        ("hpf_mano.unpickle", "_Array"),
        ("pickle", "loads"),
    ],
)
def test_other_names_are_refused(tmp_path, capsys, module, name):
    path = tmp_path / "evil.pkl"
    path.write_bytes(f"c{module}\n{name}\n(S'touch {tmp_path}/run'\ntR.".encode())
    said = refused(path, capsys)
    assert f"it asks for {module}.{name}" in said
    assert "Nothing of it was run" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["evil.pkl"]


@pytest.mark.parametrize("where", ["another key", "a wanted key", "an array's bytes"])
def test_a_call_inside_of_a_mano_file_isnt_made(tmp_path, capsys, where):
    content = little_hand()
    evil = Named(os.system, f"touch {tmp_path}/run")
    if where == "an array's bytes":
        content["v_template"] = np.array([evil, None], dtype=object)
    else:
        content["v_template" if where == "a wanted key" else "bs_type"] = evil
    said = refused(write_pickle(tmp_path / "MANO_RIGHT.pkl", content), capsys)
    assert "system" in said
    assert not (tmp_path / "run").exists()
    pickle.loads(as_python2(evil))  # as people load such files, the call is made
    assert (tmp_path / "run").exists()


def test_a_pickle_cant_change_the_classes_that_read_it(tmp_path):
    kept = dict(vars(unpickle._Array)), dict(vars(unpickle._Inert))
    for state in (b"}S'__setstate__'\nI1\ns", b"N}S'__setstate__'\nI1\ns\x86"):
        path = tmp_path / "evil.pkl"
        path.write_bytes(b"\x80\x02cnumpy\nndarray\n" + state + b"b.")
        with pytest.raises(DataError, match="damaged"):
            arrays_of(path, ("v_template",))
    assert (dict(vars(unpickle._Array)), dict(vars(unpickle._Inert))) == kept


def test_damaged_files_never_get_through(published, tmp_path, capsys):
    """Cut off anywhere, or with bytes changed anywhere: it is read or refused, and says so in a line."""
    raw = published.read_bytes()
    path = tmp_path / "damaged.pkl"
    for length in (0, 1, 2, 100, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:length])
        refused(path, capsys)
    draw = np.random.default_rng(0)
    starts = [raw.index(name) for name in (b"v_template", b"shapedirs", b"J_regressor", b"hands_mean")]
    for trial in range(60):
        changed = bytearray(raw)
        changed[starts[trial % 4] + int(draw.integers(0, 250))] = int(draw.integers(0, 256))
        path.write_bytes(changed)
        if main([str(path), str(tmp_path / "out.safetensors")]) == 0:
            (tmp_path / "out.safetensors").unlink()
        assert [entry.name for entry in tmp_path.iterdir()] == ["damaged.pkl"]
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.pop("posedirs"), "has no 'posedirs'"),
        (lambda c: c.update(v_template="text"), "'v_template' isn't an array"),
        (lambda c: c.update(v_template=np.array(["a", "b"])), "'v_template' isn't an array"),
        (lambda c: c.update(v_template=c["v_template"] * 1000), "MANO's is in metres"),
        (lambda c: c.update(v_template=c["v_template"][:, :2]), "v_template is (419, 2), not (419, 3)"),
        (lambda c: c["hands_mean"].__setitem__(4, np.nan), "mean has entries that aren't finite"),
        (lambda c: c["weights"].__setitem__((0, 0), 2.0), "rows of weights don't sum to 1"),
        (lambda c: c["f"].__setitem__((0, 0), 419), "a face has a number that is none of the 419 vertices'"),
        (lambda c: c.update(f=np.concatenate([c["f"], c["f"][:1]])), "the skin isn't a surface"),
        (lambda c: c.update(f=c["f"].astype(float)), "f has entries of type float64"),
        (lambda c: c.update(kintree_table=c["kintree_table"][:, :15]), "kintree_table is (2, 15)"),
        (lambda c: c["kintree_table"].__setitem__((0, 5), 0), "the skeleton isn't MANO's"),
        (lambda c: c.update(hands_coeffs=c["hands_coeffs"][:, :6]), "hands_coeffs is (60, 6)"),
        (lambda c: c.update(shapedirs=np.zeros((419, 3, 4))), "shapedirs is (419, 3, 4)"),
        (lambda c: c.update(hands_mean=np.zeros(45)), "add `--side right`"),
        (lambda c: c.update(J_regressor=c["J_regressor"][[0, 7, 8, 9, 4, 5, 6, 1, 2, 3, *range(10, 16)]]), "knuckles"),
    ],
)
def test_what_isnt_mano(tmp_path, capsys, change, said):
    content = little_hand(published=False)
    change(content)
    assert said in refused(write_pickle(tmp_path / "MANO_RIGHT.pkl", content), capsys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.indptr.__setitem__(3, 10**6), "its columns don't fit"),
        (lambda m: m.indices.__setitem__(0, 99), "its entries don't fit"),
        (lambda m: setattr(m, "_shape", (2**30, 2**30)), "its columns don't fit"),
        (lambda m: delattr(m, "data"), "'J_regressor' isn't an array"),
    ],
)
def test_a_sparse_matrix_that_isnt_one(tmp_path, capsys, change, said):
    content = little_hand()
    change(content["J_regressor"])
    assert said in refused(write_pickle(tmp_path / "MANO_RIGHT.pkl", content), capsys)


def test_places_that_wont_do(published, tmp_path, capsys):
    assert main([str(tmp_path / "none.pkl"), str(tmp_path / "out.safetensors")]) == 2
    assert "Can't read" in capsys.readouterr().err
    assert main([str(published), str(published)]) == 2
    assert "name another one" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([str(published), str(tmp_path / "file" / "out.safetensors")]) == RunError.exit_code == 1
    assert "Can't write" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main([str(published)])
    assert stopped.value.code == 2


def test_an_older_result_stays_where_the_new_one_fails(published, tmp_path, capsys):
    target = tmp_path / "right.safetensors"
    assert main([str(published), str(target)]) == 0
    kept = target.read_bytes()
    content = little_hand()
    content["hands_mean"][0] = np.inf
    assert main([str(write_pickle(tmp_path / "bad.pkl", content)), str(target)]) == 2
    assert target.read_bytes() == kept
