import collections
import json
import os.path
import sys
from pathlib import Path

import pytest

from d2_config import locate
from d2_config.dotted_name import qualified_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("collections.Counter", collections.Counter),
        ("collections.Counter.most_common", collections.Counter.most_common),
        ("json.decoder.JSONDecoder", json.JSONDecoder),
        ("os.path.join", os.path.join),
        ("int", int),
        ("builtins.dict", dict),
        ("json", json),
    ],
)
def test_names_lead_to_their_objects(name: str, expected: object) -> None:
    if name == "json":
        with pytest.raises(ImportError, match="'builtins' has no 'json'"):
            locate(name)
        return
    assert locate(name) == expected


def test_submodules_are_imported_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far_app" / "inner").mkdir(parents=True)
    (tmp_path / "far_app" / "inner" / "parts.py").write_text("class Part: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate("far_app.inner.parts.Part").__name__ == "Part"


def test_misspelt_attribute_gets_close_matches() -> None:
    with pytest.raises(ImportError, match=r"'collections' has no 'Countr'\. Did you mean Counter"):
        locate("collections.Countr")


def test_missing_package_is_named() -> None:
    with pytest.raises(ImportError, match="importing 'no_such_package' failed"):
        locate("no_such_package.Thing")


def test_module_that_fails_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_app.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"importing 'broken_app' failed \(RuntimeError: no lic"):
        locate("broken_app.Thing")


@pytest.mark.parametrize("name", ["", ".", "a..b", "os.system('x')", "a b", "os.path:join"])
def test_what_is_not_a_dotted_name_is_refused(name: str) -> None:
    with pytest.raises(ImportError, match="not a dotted Python name"):
        locate(name)


def test_qualified_name_is_the_shortest_that_exports_the_object() -> None:
    assert qualified_name(json.decoder.JSONDecoder) == "json.JSONDecoder"


@pytest.mark.parametrize(
    "name",
    [
        "collections.Counter",
        "builtins.int",
        "fractions.Fraction.from_float",
        "pathlib.PosixPath.cwd",  # which it inherits
        "builtins.bool.from_bytes",
        "fractions.Fraction.limit_denominator",
    ],
)
def test_name_and_object_round_trip(name: str) -> None:
    assert qualified_name(locate(name)) == name


def test_what_cannot_be_imported_again_has_no_name() -> None:
    def local() -> None: ...

    for thing in (local, lambda: None, 3, collections.Counter("ab")):
        assert qualified_name(thing) is None  # type: ignore[arg-type]  # any object is allowed


def test_shadowed_object_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shadow_app.py").write_text("def f(): ...\nfirst = f\ndef f(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import shadow_app

    assert qualified_name(shadow_app.first) is None
    assert qualified_name(shadow_app.f) == "shadow_app.f"


def test_looking_up_a_name_imports_nothing() -> None:
    before = set(sys.modules)
    qualified_name(json.decoder.JSONDecoder)
    assert set(sys.modules) == before
