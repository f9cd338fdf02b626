"""ImageNet classification with torchvision's ResNet-50: training that has nothing of detection.

It needs torchvision, and the folder of ImageNet in ``dataloader.train.dataset.root``.
"""

from collections import OrderedDict

import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional

from d2_config import LazyCall as L
from d2_data.samplers import TrainingSampler
from d2_engine.solver import MultiStepParamScheduler, WarmupParamScheduler
from d2_eval import DatasetEvaluator
from d2_structures import comm

from ..common.optim import SGD as optimizer
from ..common.train import train

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_TRANSFORMS = "torchvision.transforms"


def build_data_loader(dataset, batch_size, num_workers, training=True):
    """Pairs of images and labels: without end for training, else once through."""
    return torch.utils.data.DataLoader(
        dataset,
        sampler=TrainingSampler(len(dataset)) if training else None,
        batch_size=batch_size,
        num_workers=num_workers,
        drop_last=training,
        pin_memory=True,
    )


class ClassificationNet(nn.Module):
    """A classifier as training loop and evaluation expect it: pairs in, loss or scores out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        images, labels = batch
        device = next(self.parameters()).device
        scores = self.model(images.to(device))
        return functional.cross_entropy(scores, labels.to(device)) if self.training else scores


class ClassificationAcc(DatasetEvaluator):
    """Share of images, in percent, whose highest score is that of their label."""

    def reset(self):
        self.correct = self.total = 0

    def process(self, inputs, outputs):
        _, labels = inputs
        self.correct += int((outputs.argmax(dim=1).cpu() == labels).sum())
        self.total += len(labels)

    def evaluate(self):
        counts = comm.all_gather((self.correct, self.total))
        correct, total = (sum(numbers) for numbers in zip(*counts, strict=True))
        return OrderedDict(accuracy=100 * correct / max(total, 1))


def _images(split, root, transforms):
    return L("torchvision.datasets.ImageNet")(
        root=root, split=split, transform=L(f"{_TRANSFORMS}.Compose")(transforms=transforms)
    )


_to_normalized_tensor = [
    L(f"{_TRANSFORMS}.ToTensor")(),
    L(f"{_TRANSFORMS}.Normalize")(mean=_MEAN, std=_STD),
]

dataloader = OmegaConf.create()
dataloader.train = L(build_data_loader)(
    dataset=_images(
        "train",
        "/path/to/imagenet",
        [
            L(f"{_TRANSFORMS}.RandomResizedCrop")(size=224),
            L(f"{_TRANSFORMS}.RandomHorizontalFlip")(),
            *_to_normalized_tensor,
        ],
    ),
    batch_size=256 // 8,
    num_workers=4,
    training=True,
)
dataloader.test = L(build_data_loader)(
    dataset=_images(
        "val",
        "${...train.dataset.root}",
        [
            L(f"{_TRANSFORMS}.Resize")(size=256),
            L(f"{_TRANSFORMS}.CenterCrop")(size=224),
            *_to_normalized_tensor,
        ],
    ),
    batch_size=256 // 8,
    num_workers=4,
    training=False,
)
dataloader.evaluator = L(ClassificationAcc)()

model = L(ClassificationNet)(model=L("torchvision.models.resnet50")())

optimizer.lr = 0.1
optimizer.momentum = 0.9
optimizer.weight_decay = 1e-4
del optimizer.params.weight_decay_norm
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(
        values=[1.0, 0.1, 0.01, 0.001], milestones=[30, 60, 90, 100]
    ),
    warmup_length=1 / 100,
    warmup_factor=0.1,
)

train.init_checkpoint = None
train.max_iter = 100 * 1281167 // 256
