"""``d2 export``, and predicting with what it wrote."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from d2_engine.cli import main
from d2_modeling.export import Exported

pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit")


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


@pytest.mark.parametrize("format", ["torchscript-trace", "torchscript-script", "aotinductor"])
def test_a_file_with_preprocessing_predicts_what_the_run_predicts(
    format: str, tiny_run: Path, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if format == "aotinductor" and os.environ.get("D2_EXPORT_ALL") != "1":
        pytest.skip("compiling takes minutes; nox -s export does it")
    picture = sorted((shapes / "images").iterdir())[0]
    path = tmp_path / "model.bin"
    words = ["--format", format, "--output", str(path), "--include-preprocessing"]
    assert main(["export", str(tiny_run), *words, "--example", str(picture)]) == 0
    assert json.loads((tmp_path / "model.bin.json").read_text())["preprocessing"]["inside"] is True
    scores = []
    for source in (["--run", str(tiny_run)], ["--exported", str(path), "--allow-unsafe"]):
        folder = tmp_path / source[0]
        words = [str(picture), *source, "--confidence", "0", "--output", str(folder)]
        assert main(["predict", *words]) == 0
        content = json.loads((folder / "predictions.json").read_text())
        scores.append(sorted(each["score"] for each in content["annotations"]))
    assert len(scores[0]) == len(scores[1]) > 0
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    words = ["eval", "--exported", str(path), "--allow-unsafe", str(tiny_run), "--json"]
    capsys.readouterr()
    assert main([*words, "--output", str(tmp_path / "figures")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exported"]["bbox"]["AP50"] == pytest.approx(found["model"]["bbox"]["AP50"], abs=5)


def test_its_figures_stand_beside_those_of_the_run(
    exported: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "--exported", str(exported), str(tiny_run), "--output", str(tmp_path)]
    assert main([*words, "--allow-unsafe", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [*found] == ["model", "exported"]
    for task, scores in found["model"].items():
        assert found["exported"][task] == pytest.approx(scores, abs=1e-2)
    assert main(words) == 1
    assert "--allow-unsafe" in capsys.readouterr().err


def test_one_table_has_a_row_for_each_and_the_difference() -> None:
    from d2_engine.run.exported_evaluation import side_by_side

    model = {"bbox": {"AP": 31.5, "AP50": 50.0, "AP-cat": 1.0}}
    exported = {"bbox": {"AP": 30.0, "AP50": 50.5, "AP-cat": 2.0}}
    assert side_by_side({"model": model, "exported": exported}) == {
        "bbox, model": {"AP": 31.5, "AP50": 50.0},
        "bbox, exported": {"AP": 30.0, "AP50": 50.5},
        "bbox, difference": {"AP": -1.5, "AP50": 0.5},
    }
    assert side_by_side({"exported": exported}) == {"bbox, exported": {"AP": 30.0, "AP50": 50.5}}
    by_set = side_by_side({"model": {"val": model}, "exported": {"val": exported}})
    assert [*by_set["val"]] == ["bbox, model", "bbox, exported", "bbox, difference"]


def test_data_of_other_classes_is_refused(
    exported: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (exported, exported.with_name(f"{exported.name}.json")):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    sidecar = tmp_path / f"{exported.name}.json"
    content = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(content | {"class_names": ["dog", "cat"]}))
    words = ["--exported", str(tmp_path / exported.name), "--allow-unsafe"]
    assert main(["eval", *words, str(tiny_run), "--output", str(tmp_path)]) == 1
    assert "knows the classes ['dog', 'cat'], but" in capsys.readouterr().err


def test_steps_that_no_file_can_hold_are_named(caplog: pytest.LogCaptureFixture) -> None:
    from d2_data.transforms import AugmentationList, Resize
    from d2_engine.cli.export import _sizes

    steps = AugmentationList([Resize((32, 32))])
    with caplog.at_level("WARNING", "d2_engine.cli.export"):
        assert _sizes(steps, inside=False) == (0, 0)
    assert "test images go through [Resize" in caplog.text
    with pytest.raises(ValueError, match="knows ResizeShortestEdge, but test images go through"):
        _sizes(steps, inside=True)


def test_a_program_is_not_run_unless_asked(
    exported: Path, shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = sorted((shapes / "images").iterdir())[0]
    assert main(["predict", str(picture), "--exported", str(exported)]) == 1
    assert "--allow-unsafe" in capsys.readouterr().err


def test_the_command_knows_the_formats():
    from d2_engine.cli.export import _FORMATS, _PRECISIONS
    from d2_modeling.export.formats import FORMATS
    from d2_modeling.export.precision import PRECISIONS

    assert tuple(FORMATS) == _FORMATS
    assert PRECISIONS == _PRECISIONS


def test_int8_is_calibrated_on_images_of_the_training_data(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def exported(*arguments: Any, calibration_inputs: Any, precision: str, **more: Any) -> Exported:
        given.update(precision=precision, images=[each["image"] for each in calibration_inputs])
        return Exported(tmp_path, tmp_path, {})

    monkeypatch.setattr("d2_modeling.export.export", exported)
    words = ["export", str(tiny_run), "--output", str(tmp_path / "model.onnx")]
    assert main([*words, "--precision", "int8", "--calibration-images", "3"]) == 0
    assert given["precision"] == "int8"
    assert [tuple(image.shape) for image in given["images"]] == [(3, 64, 64)] * 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibration-images", "0"], "must be at least 1, got 0"),
        (["--calibration-dataset", "nowhere"], "nowhere"),
    ],
)
def test_calibration_on_nothing_is_refused(
    words: list[str], message: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(tiny_run), "--output", "model.onnx", "--precision", "int8"]
    assert main([*command, *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "--calibration-images", "3"], "--calibration-images is for --precision int8"),
        (["export", "--calibration-dataset", "a"], "--calibration-dataset is for --precision int8"),
        (["eval", "--allow-unsafe"], "--allow-unsafe is for --exported FILE"),
        (["predict", "--allow-unsafe", "--run"], "--allow-unsafe is for --exported FILE"),
    ],
)
def test_options_that_would_say_nothing_are_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main([*words, "some_run", *output, *(["a.jpg"] if words[0] == "predict" else [])])
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
