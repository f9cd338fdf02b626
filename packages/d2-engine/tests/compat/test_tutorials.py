"""The code of detectron2's tutorials runs as it is; only what it is given is made here."""

import copy
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg, global_cfg
from d2_data import DatasetCatalog, MetadataCatalog
from d2_modeling import BACKBONE_REGISTRY, ROI_HEADS_REGISTRY
from d2_modeling.layers import ShapeSpec
from d2_structures import Boxes, ImageList, Instances

pytestmark = pytest.mark.usefixtures("detectron2")


def run(sample: str, **given: Any) -> dict[str, Any]:
    """Execute a sample in the presence of what the text around it has introduced."""
    namespace: dict[str, Any] = {"copy": copy, "np": np, "torch": torch, "nn": nn, **given}
    exec(compile(sample, "tutorial", "exec"), namespace)
    return namespace


def test_register_a_dataset():
    def my_dataset_function() -> list[dict[str, Any]]:
        return [{"file_name": "a.jpg"}]

    run(
        """
from typing import Dict, List
from detectron2.data import DatasetCatalog
DatasetCatalog.register("my_dataset", my_dataset_function)
# later, to access the data:
data: List[Dict] = DatasetCatalog.get("my_dataset")
assert data == my_dataset_function()

from detectron2.data import MetadataCatalog
MetadataCatalog.get("my_dataset").thing_classes = ["person", "dog"]
""",
        my_dataset_function=my_dataset_function,
    )
    assert MetadataCatalog.get("my_dataset").thing_classes == ["person", "dog"]
    DatasetCatalog.remove("my_dataset")
    MetadataCatalog.remove("my_dataset")


def test_register_a_coco_format_dataset():
    run("""
from detectron2.data.datasets import register_coco_instances
register_coco_instances("my_dataset", {}, "json_annotation.json", "path/to/image/dir")
""")
    assert MetadataCatalog.get("my_dataset").json_file == "json_annotation.json"
    DatasetCatalog.remove("my_dataset")
    MetadataCatalog.remove("my_dataset")


def test_a_dataloader_with_the_default_mapper(cfg: CfgNode):
    found = run(
        """
from detectron2.data import build_detection_train_loader
import detectron2.data.transforms as T
from detectron2.data import DatasetMapper   # the default mapper
dataloader = build_detection_train_loader(cfg,
   mapper=DatasetMapper(cfg, is_train=True, augmentations=[
      T.Resize((800, 800))
   ]))
# use this dataloader instead of the default
""",
        cfg=cfg,
    )
    batch = next(iter(found["dataloader"]))
    assert [entry["image"].shape for entry in batch] == [(3, 800, 800)] * 2


def test_a_custom_mapper(cfg: CfgNode):
    found = run(
        """
from detectron2.data import build_detection_train_loader
from detectron2.data import transforms as T
from detectron2.data import detection_utils as utils
 # Show how to implement a minimal mapper, similar to the default DatasetMapper
def mapper(dataset_dict):
    dataset_dict = copy.deepcopy(dataset_dict)  # it will be modified by code below
    # can use other ways to read image
    image = utils.read_image(dataset_dict["file_name"], format="BGR")
    # See "Data Augmentation" tutorial for details usage
    auginput = T.AugInput(image)
    transform = T.Resize((800, 800))(auginput)
    image = torch.from_numpy(auginput.image.transpose(2, 0, 1))
    annos = [
        utils.transform_instance_annotations(annotation, [transform], image.shape[1:])
        for annotation in dataset_dict.pop("annotations")
    ]
    return {
       # create the format that the model expects
       "image": image,
       "instances": utils.annotations_to_instances(annos, image.shape[1:])
    }
dataloader = build_detection_train_loader(cfg, mapper=mapper)
""",
        cfg=cfg,
    )
    batch = next(iter(found["dataloader"]))
    assert batch[0]["instances"].image_size == (800, 800)
    assert len(batch[0]["instances"].gt_boxes) > 0


AUGMENTATION = """
from detectron2.data import transforms as T
# Define a sequence of augmentations:
augs = T.AugmentationList([
    T.RandomBrightness(0.9, 1.1),
    T.RandomFlip(prob=0.5),
    T.RandomCrop("absolute", (640, 640))
])  # type: T.Augmentation

# Define the augmentation input ("image" required, others optional):
input = T.AugInput(image, boxes=boxes, sem_seg=sem_seg)
# Apply the augmentation:
transform = augs(input)  # type: T.Transform
image_transformed = input.image  # new image
sem_seg_transformed = input.sem_seg  # new semantic segmentation

# For any extra data that needs to be augmented together, use transform, e.g.:
image2_transformed = transform.apply_image(image2)
polygons_transformed = transform.apply_polygons(polygons)
"""


def picture() -> dict[str, Any]:
    image = np.random.default_rng(0).integers(0, 255, (700, 800, 3), dtype=np.uint8)
    return {
        "image": image,
        "image2": image.copy(),
        "boxes": np.array([[10.0, 20, 400, 500]]),
        "sem_seg": np.zeros((700, 800), np.uint8),
        "polygons": [np.array([[10.0, 20], [400, 20], [400, 500]])],
    }


def test_augmentation():
    found = run(AUGMENTATION, **picture())
    assert found["image_transformed"].shape == (640, 640, 3)
    assert found["sem_seg_transformed"].shape == (640, 640)
    assert found["image2_transformed"].shape == (640, 640, 3)
    assert found["polygons_transformed"][0].shape[1] == 2


def test_new_augmentations():
    found = run(
        AUGMENTATION
        + """
class MyColorAugmentation(T.Augmentation):
    def get_transform(self, image):
        r = np.random.rand(2)
        return T.ColorTransform(lambda x: x * r[0] + r[1] * 10)

class MyCustomResize(T.Augmentation):
    def get_transform(self, image):
        old_h, old_w = image.shape[:2]
        new_h, new_w = int(old_h * np.random.rand()), int(old_w * 1.5)
        return T.ResizeTransform(old_h, old_w, new_h, new_w)

np.random.seed(0)
MyColorAugmentation()(T.AugInput(image.astype("float32")))
augs = MyCustomResize()
transform = augs(input)
resized = input.image.shape

class MyCustomCrop(T.Augmentation):
    def get_transform(self, image, sem_seg):
        # decide where to crop using both image and sem_seg
        return T.CropTransform(0, 0, image.shape[1] // 2, sem_seg.shape[0] // 2)

augs = MyCustomCrop()
assert hasattr(input, "image") and hasattr(input, "sem_seg")
transform = augs(input)
""",
        **picture(),
    )
    assert found["resized"][1] == 960
    assert found["input"].image.shape[1] == 480


def test_keypoints_are_flipped_by_hand():
    found = run(
        AUGMENTATION
        + """
augs = T.AugmentationList([T.RandomFlip(prob=1.0), T.RandomCrop("absolute", (600, 600))])
# augs, input are defined as in previous examples
transform = augs(input)  # type: T.Transform
keypoints_xy = transform.apply_coords(keypoints_xy)   # transform the coordinates

# get a list of all transforms that were applied
transforms = T.TransformList([transform]).transforms
# check if it is flipped for odd number of times
do_hflip = sum(isinstance(t, T.HFlipTransform) for t in transforms) % 2 == 1
if do_hflip:
    keypoints_xy = keypoints_xy[flip_indices_mapping]

transform = augs(input)  # type: T.TransformList
assert isinstance(transform, T.TransformList)
for t in transform.transforms:
    keypoints_xy = t.apply_coords(keypoints_xy)
    visibility &= ((keypoints_xy >= [0, 0]) & (keypoints_xy <= [W, H])).all(axis=1)
""",
        **picture(),
        keypoints_xy=np.array([[100.0, 50], [200, 60]]),
        flip_indices_mapping=[1, 0],
        visibility=np.array([True, True]),
        W=600,
        H=600,
    )
    assert found["do_hflip"]
    assert found["keypoints_xy"].shape == (2, 2)


def test_transforms_are_inverted():
    found = run(
        """
from detectron2.data import transforms as T
augs = T.AugmentationList([T.RandomFlip(prob=1.0), T.Resize((350, 400))])
input = T.AugInput(image)
transform = augs(input)
pred_mask = make_prediction(input.image)
inv_transform = transform.inverse()
pred_mask_orig = inv_transform.apply_segmentation(pred_mask)
""",
        make_prediction=lambda image: np.ones(image.shape[:2], np.uint8),
        **picture(),
    )
    assert found["pred_mask_orig"].shape == (700, 800)


def test_a_new_data_type():
    found = run(
        """
from typing import Any
from detectron2.data import transforms as T
from detectron2.data.transforms import HFlipTransform
@T.HFlipTransform.register_type("rotated_boxes")
def func(flip_transform: T.HFlipTransform, rotated_boxes: Any):
    # do the work
    flipped_rotated_boxes = rotated_boxes * [-1, 1, 1, 1, -1] + [flip_transform.width, 0, 0, 0, 0]
    return flipped_rotated_boxes

t = HFlipTransform(width=800)
transformed_rotated_boxes = t.apply_rotated_boxes(rotated_boxes)  # func will be called
""",
        rotated_boxes=np.array([[100.0, 50, 20, 10, 30]]),
    )
    assert found["transformed_rotated_boxes"].tolist() == [[700, 50, 20, 10, -30]]


MODEL = """
from detectron2.modeling import build_model
model = build_model(cfg)  # returns a torch.nn.Module
"""


def test_models_are_built_saved_and_loaded(cfg: CfgNode, tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    run(
        MODEL
        + """
from detectron2.checkpoint import DetectionCheckpointer
torch.save({"model": model.state_dict()}, file_path_or_url)
DetectionCheckpointer(model).load(file_path_or_url)  # load a file, usually from cfg.MODEL.WEIGHTS

checkpointer = DetectionCheckpointer(model, save_dir="output")
checkpointer.save("model_999")  # save to output/model_999.pth
""",
        cfg=cfg,
        file_path_or_url="weights.pth",
    )
    assert Path("output/model_999.pth").is_file()


def inputs() -> list[dict[str, Any]]:
    box = Boxes(torch.tensor([[4.0, 4, 40, 44]]))
    instances = Instances((64, 64), gt_boxes=box, gt_classes=torch.tensor([1]))
    from d2_structures import PolygonMasks

    instances.gt_masks = PolygonMasks([[[4.0, 4, 40, 4, 40, 44]]])
    return [{"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "instances": instances}]


def test_models_train_under_a_storage_and_detect(cfg: CfgNode):
    found = run(
        MODEL
        + """
from detectron2.utils.events import EventStorage
with EventStorage() as storage:
    losses = model(inputs)
model.eval()
with torch.no_grad():
    outputs = model(inputs)
""",
        cfg=cfg,
        inputs=inputs(),
    )
    assert "loss_mask" in found["losses"]
    assert "roi_head/num_fg_samples" in found["storage"].latest()
    assert found["outputs"][0]["instances"].has("pred_masks")


def test_models_are_executed_in_part(cfg: CfgNode):
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    found = run(
        """
from detectron2.modeling import build_model
model = build_model(cfg)
model.eval()
features = model.backbone(images.tensor)
proposals, _ = model.proposal_generator(images, features)
instances, _ = model.roi_heads(images, features, proposals)
mask_features = [features[f] for f in model.roi_heads.in_features]
mask_features = model.roi_heads.mask_pooler(mask_features, [x.pred_boxes for x in instances])
""",
        cfg=cfg,
        images=ImageList.from_tensors([torch.zeros(3, 64, 64)], 32),
    )
    assert found["mask_features"].shape[1:] == (8, 14, 14)


def test_a_new_backbone_is_registered_and_named(cfg: CfgNode):
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["conv1"]
    found = run(
        """
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, ShapeSpec, build_model

@BACKBONE_REGISTRY.register()
class ToyBackbone(Backbone):
  def __init__(self, cfg, input_shape):
    super().__init__()
    # create your own backbone
    self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=16, padding=3)

  def forward(self, image):
    return {"conv1": self.conv1(image)}

  def output_shape(self):
    return {"conv1": ShapeSpec(channels=64, stride=16)}

cfg.MODEL.BACKBONE.NAME = 'ToyBackbone'   # or set it in the config file
model = build_model(cfg)  # it will find `ToyBackbone` defined above
""",
        cfg=cfg,
    )
    assert type(found["model"].backbone).__name__ == "ToyBackbone"
    assert len(found["model"].eval()(inputs())) == 1
    del BACKBONE_REGISTRY._objects["ToyBackbone"]


def test_a_head_gets_a_loss_of_ones_own(cfg: CfgNode):
    found = run(
        """
from detectron2.modeling import build_model, build_backbone
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads import (
    ROI_HEADS_REGISTRY, FastRCNNOutputLayers, StandardROIHeads)

class MyRCNNOutput(FastRCNNOutputLayers):
    def losses(self, predictions, proposals):
        return {"loss_of_mine": predictions[0].sum() * 0 + 3}

def output():
    return MyRCNNOutput(
        ShapeSpec(channels=12), box2box_transform=Box2BoxTransform((1, 1, 1, 1)), num_classes=4)

backbone = build_backbone(cfg)
roi_heads = StandardROIHeads(
  cfg, backbone.output_shape(),
  box_predictor=output()
)

@ROI_HEADS_REGISTRY.register()
class MyStandardROIHeads(StandardROIHeads):
  def __init__(self, cfg, input_shape):
    super().__init__(cfg, input_shape,
                     box_predictor=output())

cfg.MODEL.ROI_HEADS.NAME = "MyStandardROIHeads"
losses = build_model(cfg)(inputs)
""",
        cfg=cfg,
        inputs=inputs(),
        ShapeSpec=ShapeSpec,
    )
    assert type(found["roi_heads"].box_predictor).__name__ == "MyRCNNOutput"
    assert found["losses"]["loss_of_mine"] == 3
    del ROI_HEADS_REGISTRY._objects["MyStandardROIHeads"]


def test_a_hook_says_hello(capsys: pytest.CaptureFixture[str]):
    run(
        """
from detectron2.engine import HookBase, SimpleTrainer
class HelloHook(HookBase):
  def after_step(self):
    if self.trainer.iter % 100 == 0:
      print(f"Hello at iteration {self.trainer.iter}!")

class Model(nn.Linear):
    def forward(self, x):
        return {"loss": super().forward(x).sum()}

model = Model(1, 1)
trainer = SimpleTrainer(model, [torch.ones(1)] * 101, torch.optim.SGD(model.parameters(), lr=1e-4))
trainer.register_hooks([HelloHook()])
trainer.train(0, 101)
"""
    )
    assert capsys.readouterr().out.splitlines() == [
        "Hello at iteration 0!",
        "Hello at iteration 100!",
    ]


def test_models_log_metrics():
    found = run(
        """
from detectron2.utils.events import get_event_storage, EventStorage
def forward(self):
    # inside the model:
    if self.training:
        value = 0.5  # compute the value from inputs
        storage = get_event_storage()
        storage.put_scalar("some_accuracy", value)

with EventStorage() as storage:
    forward(nn.Identity())
"""
    )
    assert found["storage"].latest()["some_accuracy"] == (0.5, 0)


def test_evaluators(cfg: CfgNode, dataset: str, tmp_path: Path):
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    found = run(
        MODEL
        + """
from detectron2.data import build_detection_test_loader
from detectron2.evaluation import (
    COCOEvaluator, DatasetEvaluator, DatasetEvaluators, inference_on_dataset)

class Counter(DatasetEvaluator):
  def reset(self):
    self.count = 0
  def process(self, inputs, outputs):
    for output in outputs:
      self.count += len(output["instances"])
  def evaluate(self):
    # save self.count somewhere, or print it, or return it.
    return {"count": self.count}

model.eval()
evaluator = Counter()
data_loader = build_detection_test_loader(cfg, NAME)
def get_all_inputs_outputs():
  for data in data_loader:
    yield data, model(data)

evaluator.reset()
with torch.no_grad():
    for inputs, outputs in get_all_inputs_outputs():
      evaluator.process(inputs, outputs)
by_hand = evaluator.evaluate()

eval_results = inference_on_dataset(
    model,
    data_loader,
    DatasetEvaluators([COCOEvaluator(NAME, output_dir=folder), Counter()]))
""",
        cfg=cfg,
        NAME=dataset,
        folder=str(tmp_path),
    )
    assert found["by_hand"]["count"] == found["eval_results"]["count"] > 0
    assert "AP" in found["eval_results"]["bbox"]
    assert json.loads((tmp_path / "coco_instances_results.json").read_text())


def test_yacs_configs(tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("SOLVER: {BASE_LR: 0.5, MAX_ITER: 7}\n")
    Path("my_cfg.yaml").write_text("_BASE_: base.yaml\nSOLVER: {BASE_LR: 0.25}\n")
    found = run(
        """
from detectron2.config import get_cfg
cfg = get_cfg()    # obtain detectron2's default config
cfg.xxx = yyy      # add new configs for your own custom components
cfg.merge_from_file("my_cfg.yaml")   # load values from a file

cfg.merge_from_list(["MODEL.WEIGHTS", "weights.pth"])   # can also load values from a list of str
print(cfg.dump())  # print formatted configs
""",
        yyy=3,
    )
    cfg = found["cfg"]
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.xxx) == (0.25, 7, 3)
    assert "weights.pth" in capsys.readouterr().out


def test_configs_of_projects():
    found = run("""
from detectron2.config import get_cfg
from detectron2.projects.point_rend import add_pointrend_config
cfg = get_cfg()  # obtain detectron2's default config
add_pointrend_config(cfg)  # add pointrend's default config
# ... ...
""")
    assert "POINT_HEAD" in found["cfg"].MODEL


def test_lazy_configs(tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    Path("path/to").mkdir(parents=True)
    Path("path/to/config.py").write_text("a = dict(x=1, y=2, z=dict(xx=1))\nb = dict(x=3, y=4)\n")
    run("""
from detectron2.config import LazyConfig
cfg = LazyConfig.load("path/to/config.py")  # an omegaconf dictionary
assert cfg.a.z.xx == 1
""")


def test_recursive_instantiation(monkeypatch: Any):
    app: Any = types.ModuleType("my_app")
    exec(
        "class Optimizer:\n    def __init__(self, lr, algo): self.lr, self.algo = lr, algo\n"
        "class Trainer:\n    def __init__(self, optimizer): self.optimizer = optimizer\n",
        app.__dict__,
    )
    monkeypatch.setitem(sys.modules, "my_app", app)
    found = run("""
from detectron2.config import LazyCall as L
from my_app import Trainer, Optimizer
cfg = L(Trainer)(
  optimizer=L(Optimizer)(
    lr=0.01,
    algo="SGD"
  )
)
from detectron2.config import instantiate
trainer = instantiate(cfg)
# equivalent to:
# from my_app import Trainer, Optimizer
# trainer = Trainer(optimizer=Optimizer(lr=0.01, algo="SGD"))
""")
    assert (found["trainer"].optimizer.lr, found["trainer"].optimizer.algo) == (0.01, "SGD")


def test_the_global_config(capsys: pytest.CaptureFixture[str]):
    run("""
from detectron2.config import global_cfg, set_global_cfg, get_cfg
set_global_cfg(get_cfg())
from detectron2.config import global_cfg
print(global_cfg.MODEL.DEVICE)
""")
    assert capsys.readouterr().out == f"{get_cfg().MODEL.DEVICE}\n"
    global_cfg.clear()


def test_models_of_the_zoo_are_named_by_their_configs():
    found = run("""
from detectron2 import model_zoo
cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
url = model_zoo.get_checkpoint_url("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
""")
    assert found["cfg"].MODEL.MASK_ON
    assert found["url"].endswith("model_final_a54504.pkl")
