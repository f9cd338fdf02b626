"""Old config versions."""

from pathlib import Path

import pytest

from d2_config import ConfigFileError, ConfigKeyError, downgrade_config, get_cfg, upgrade_config


def test_downgrading_and_upgrading_gives_the_config_back() -> None:
    cfg = get_cfg()
    for version in (0, 1):
        old = downgrade_config(cfg, version)
        assert version == old.VERSION
        assert upgrade_config(old) == cfg
    assert cfg == get_cfg()


def test_an_old_config_has_the_old_names() -> None:
    old = downgrade_config(get_cfg(), 1)
    assert "WEIGHTS" not in old.MODEL
    assert old.MODEL.WEIGHT == get_cfg().MODEL.WEIGHTS
    assert old.TEST.AUG_FLIP is True
    assert old.MODEL.RPN.ANCHOR_SIZES == get_cfg().MODEL.ANCHOR_GENERATOR.SIZES
    assert downgrade_config(get_cfg(), 0).MODEL.RPN_HEAD.NAME == get_cfg().MODEL.RPN.HEAD_NAME


@pytest.mark.parametrize(
    ("convert", "version"), [(downgrade_config, 99), (downgrade_config, -1), (upgrade_config, 99)]
)
def test_a_version_that_does_not_exist_is_refused(convert, version: int) -> None:
    with pytest.raises(ValueError, match="known versions are 0 to 2"):
        convert(get_cfg(), version)


def test_a_file_of_an_older_version_is_converted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "old.yaml").write_text(
        "VERSION: 1\n"
        "MODEL: {WEIGHT: w.pth, RPN: {ANCHOR_SIZES: [[16]]}, ROI_HEADS: {NMS: 0.25}}\n"
        "TEST: {AUG_ON: true}\n"
    )
    cfg = get_cfg()
    cfg.merge_from_file(tmp_path / "old.yaml")
    expected = get_cfg()
    expected.MODEL.WEIGHTS = "w.pth"
    expected.MODEL.ANCHOR_GENERATOR.SIZES = [[16]]
    expected.MODEL.ROI_HEADS.NMS_THRESH_TEST = 0.25
    expected.TEST.AUG.ENABLED = True
    assert cfg == expected
    assert "is a config of version 1; its keys are converted to version 2" in caplog.text


def test_the_anchors_of_an_old_retinanet_are_those_of_its_own_section(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(
        "VERSION: 1\nMODEL: {META_ARCHITECTURE: RetinaNet, RETINANET: {ANCHOR_SIZES: [[8]]}}\n"
    )
    cfg = get_cfg()
    cfg.merge_from_file(tmp_path / "old.yaml")
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES == [[8]]
    assert "ANCHOR_SIZES" not in cfg.MODEL.RETINANET


@pytest.mark.parametrize(
    ("text", "version"),
    [("MODEL: {WEIGHT: w.pth}\n", 1), ("TEST: {AUG_ON: true}\n", 1), ("SEED: 3\n", 2)],
)
def test_a_version_that_is_not_stated_is_guessed_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, version: int
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    get_cfg().merge_from_file(tmp_path / "a.yaml")
    assert f"does not state its VERSION; taking it to be {version}" in caplog.text


@pytest.mark.parametrize("version", ["3", "two", "-1"])
def test_a_file_of_an_unknown_version_is_refused(tmp_path: Path, version: str) -> None:
    (tmp_path / "a.yaml").write_text(f"VERSION: {version}\n")
    with pytest.raises(ConfigFileError, match=rf"VERSION '?{version}'?, which cannot be merged"):
        get_cfg().merge_from_file(tmp_path / "a.yaml")


def test_an_unknown_key_of_an_old_file_is_named_and_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("VERSION: 1\nMODEL: {WEIGHT: w.pth, NOPE: 1}\n")
    cfg = get_cfg()
    with pytest.raises(ConfigKeyError, match=r"old\.yaml, line 2: .*MODEL\.NOPE"):
        cfg.merge_from_file(tmp_path / "old.yaml")
    assert cfg == get_cfg()
