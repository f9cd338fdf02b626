import pytest
import yaml

from d2_config import ConfigFileError
from d2_config.safe_yaml import parse_yaml

PAYLOADS = [
    "!!python/object/apply:os.system ['true']",
    "!!python/object/new:subprocess.Popen [['true']]",
    "!!python/object:collections.Counter {}",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/object/apply:eval ['1+1']",
    "!!python/tuple [1, 2]",
    "!custom 3",
]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    "template",
    ["x: {}", "a: 1\nx:\n  - 1\n  - {}", "? {}\n: 1", "x: &a {}\ny: *a", "a: {{b: {} }}"],
)
def test_tags_that_construct_objects_are_refused_wherever_they_stand(
    payload: str, template: str
) -> None:
    with pytest.raises(ConfigFileError) as caught:
        parse_yaml(template.format(payload), "evil.yaml")
    assert repr(payload.split()[0]) in str(caught.value)
    assert "evil.yaml, line " in str(caught.value)
    assert "allow_unsafe=True" in str(caught.value)


def test_tag_declared_by_a_directive_is_refused_as_well() -> None:
    text = "%TAG !p! tag:yaml.org,2002:python/\n---\nx: !p!object/apply:os.system ['true']\n"
    with pytest.raises(ConfigFileError, match="!!python/object/apply:os.system"):
        parse_yaml(text, "evil.yaml")


def test_refusal_names_line_and_key() -> None:
    with pytest.raises(ConfigFileError, match=r"f\.yaml, line 3, key MODEL\.X\[1\]: the tag"):
        parse_yaml("MODEL:\n  X: [1,\n    !!python/name:os.system ]\n", "f.yaml")


def test_unsafe_tags_work_on_request() -> None:
    text = "x: !!python/tuple [1, 2]\ny: !!python/object/apply:eval ['1 + 1']"
    assert parse_yaml(text, "f", allow_unsafe=True).data == {"x": (1, 2), "y": 2}


def test_places_name_file_and_line_of_every_key() -> None:
    document = parse_yaml("A: 1\n\nB:\n  C: 2\n  D:\n  - E: 3\n", "f.yaml")
    assert document.where("B.C") == "f.yaml, line 4"
    assert document.where("B.D[0].E") == "f.yaml, line 6"
    assert document.where("UNKNOWN") == "f.yaml"


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a:\n  b: 1\n  b: 2\n"])
def test_repeated_keys_are_refused(text: str) -> None:
    with pytest.raises(ConfigFileError, match=r"f\.yaml, line \d: the key .* appears twice"):
        parse_yaml(text, "f.yaml")


def test_anchors_and_merge_keys_work() -> None:
    text = "base: &b {x: 1, y: 2}\nsub:\n  <<: *b\n  y: 3\n"
    assert parse_yaml(text, "f").data["sub"] == {"x": 1, "y": 3}


@pytest.mark.parametrize("text", ["a: &a [1, *a]\n", "a: &a {b: {c: *a}}\n", "a: &a {<<: *a}\n"])
def test_anchor_that_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(ConfigFileError, match="f, line 1: this holds an alias of itself"):
        parse_yaml(text, "f")


def doubled(levels: int, line: str = "a{0}: &a{0} [*a{1}, *a{1}]") -> str:
    return "\n".join(["a0: &a0 {x: 1}", *(line.format(i, i - 1) for i in range(1, levels + 1))])


@pytest.mark.parametrize(
    "line", ["a{0}: &a{0} [*a{1}, *a{1}]", "a{0}: &a{0} {{<<: [*a{1}, *a{1}]}}"]
)
def test_aliases_that_multiply_are_refused_before_anything_is_made(line: str) -> None:
    assert parse_yaml(doubled(8), "f").data["a8"]
    for levels in (20, 90):
        with pytest.raises(ConfigFileError, match="f: its aliases make .* values of"):
            parse_yaml(doubled(levels, line), "f")


@pytest.mark.parametrize(
    "text",
    ["a: " + "[" * 5000, "[" * 101 + "]" * 101, "\n".join(" " * i + "a:" for i in range(300))],
)
@pytest.mark.parametrize("allow_unsafe", [False, True])
def test_deep_nesting_is_refused_with_its_line(text: str, allow_unsafe: bool) -> None:
    with pytest.raises(ConfigFileError, match=r"f, line \d+: .*more than 100 levels deep"):
        parse_yaml(text, "f", allow_unsafe=allow_unsafe)


def test_a_text_that_is_too_large_is_refused_unless_its_reader_wrote_it() -> None:
    text = f"a: {'x' * 1_000_000}"
    with pytest.raises(ConfigFileError, match=r"f has 1,000,003 characters.*allow_unsafe=True"):
        parse_yaml(text, "f")
    assert len(parse_yaml(text, "f", allow_unsafe=True).data["a"]) == 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        *("9" * 5000, "0x" + "f" * 5000, "1" + ":59" * 5000, "!!int '_'", "!!bool x", "!!float x"),
        *("2020-13-45", "2001-12-14t21:59:43.10-99:99", "!!timestamp x"),
    ],
)
def test_numbers_and_dates_that_are_none_have_their_line(value: str) -> None:
    with pytest.raises(ConfigFileError, match=r"f, line 2"):
        parse_yaml(f"a: 1\nb: {value}\n", "f")


def test_a_character_that_no_text_has_is_named() -> None:
    with pytest.raises(ConfigFileError, match="f: not valid YAML: unacceptable character"):
        parse_yaml("a: \0", "f")


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\tx: 1", "a: 'x", "--- 1\n--- 2\n"])
def test_invalid_yaml_names_file_and_line(text: str) -> None:
    with pytest.raises(ConfigFileError, match=r"f\.yaml, line \d: not valid YAML"):
        parse_yaml(text, "f.yaml")


def test_empty_text_is_none() -> None:
    assert parse_yaml("", "f").data is None
    assert parse_yaml("# nothing\n", "f").data is None


def test_plain_documents_read_as_pyyaml_reads_them() -> None:
    text = "a: [1, 2.5, .inf, null, yes, 'no', 2020-01-02]\nb: !!str 1e3\nc: !!binary aGk=\n"
    assert parse_yaml(text, "f").data == yaml.safe_load(text)


@pytest.mark.parametrize("allow_unsafe", [False, True])
def test_numbers_without_a_dot_are_numbers_and_none_is_none(allow_unsafe: bool) -> None:
    data = parse_yaml("a: 1e-4\nb: [-2E3, None]\nc: '1e-4'\n", "f", allow_unsafe=allow_unsafe).data
    assert data == {"a": 1e-4, "b": [-2e3, None], "c": "1e-4"}
