"""``d2 export``, and predicting with what it wrote."""

import json
from pathlib import Path

import pytest

from d2_engine.cli import main

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def exported(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.ts"
    assert (
        main(["export", str(tiny_run), "--format", "torchscript-trace", "--output", str(path)]) == 0
    )
    return path


def test_what_is_exported_predicts_what_the_run_predicts(
    exported: Path, tiny_run: Path, shapes: Path, tmp_path: Path
) -> None:
    picture = sorted((shapes / "images").iterdir())[0]
    found = []
    for name, source in (
        ("run", ["--run", str(tiny_run)]),
        ("exported", ["--exported", str(exported), "--allow-unsafe"]),
    ):
        folder = tmp_path / name
        words = [str(picture), *source, "--confidence", "0", "--output", str(folder)]
        assert main(["predict", *words]) == 0
        content = json.loads((folder / "predictions.json").read_text())
        # An artefact knows the names of classes, not the ids of the data set.
        called = {each["id"]: each["name"] for each in content["categories"]}
        found.append(
            [{**each, "class": called[each["category_id"]]} for each in content["annotations"]]
        )
    assert len(found[0]) == len(found[1]) > 0
    for one, other in zip(*found, strict=True):
        assert one["class"] == other["class"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_file_with_preprocessing_predicts_what_the_run_predicts(
    tiny_run: Path, shapes: Path, tmp_path: Path
) -> None:
    picture = sorted((shapes / "images").iterdir())[0]
    path = tmp_path / "model.ts"
    words = ["--format", "torchscript-trace", "--output", str(path), "--include-preprocessing"]
    assert main(["export", str(tiny_run), *words, "--example", str(picture)]) == 0
    assert json.loads((tmp_path / "model.ts.json").read_text())["preprocessing"]["inside"] is True
    scores = []
    for source in (["--run", str(tiny_run)], ["--exported", str(path), "--allow-unsafe"]):
        folder = tmp_path / source[0]
        words = [str(picture), *source, "--confidence", "0", "--output", str(folder)]
        assert main(["predict", *words]) == 0
        content = json.loads((folder / "predictions.json").read_text())
        scores.append(sorted(each["score"] for each in content["annotations"]))
    assert len(scores[0]) == len(scores[1]) > 0
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_steps_that_no_file_can_hold_are_named() -> None:
    from d2_data.transforms import AugmentationList, Resize
    from d2_engine.cli.export import _sizes

    steps = AugmentationList([Resize((32, 32))])
    assert _sizes(steps, inside=False) == (0, 0)
    with pytest.raises(ValueError, match="knows ResizeShortestEdge, but test images go through"):
        _sizes(steps, inside=True)


def test_a_program_is_not_run_unless_asked(
    exported: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = sorted((shapes / "images").iterdir())[0]
    assert main(["predict", str(picture), "--exported", str(exported)]) == 1
    assert "--allow-unsafe" in capsys.readouterr().err


def test_the_command_knows_the_formats():
    from d2_engine.cli.export import _FORMATS
    from d2_modeling.export.formats import FORMATS

    assert tuple(FORMATS) == _FORMATS
