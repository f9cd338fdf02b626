import subprocess
import sys

import d2_eval
import d2_eval.live
import d2_eval.report


def test_public_names_of_the_package():
    assert sorted(d2_eval.__all__) == [
        "COCOEvaluator",
        "COCOPanopticEvaluator",
        "CityscapesInstanceEvaluator",
        "CityscapesSemSegEvaluator",
        "CocoCurves",
        "CocoGroundTruth",
        "CocoMetric",
        "CocoSettings",
        "DatasetEvaluator",
        "DatasetEvaluators",
        "LVISEvaluator",
        "PanopticQuality",
        "PascalVOCDetectionEvaluator",
        "RotatedCOCOEvaluator",
        "SemSegEvaluator",
        "convert_to_coco_dict",
        "convert_to_coco_json",
        "evaluate_coco_files",
        "evaluate_coco_results",
        "evaluate_files",
        "evaluate_lvis_files",
        "evaluate_lvis_results",
        "evaluate_panoptic_files",
        "evaluate_semantic_files",
        "flatten_results_dict",
        "inference_context",
        "inference_on_dataset",
        "instances_to_coco_json",
        "print_csv_format",
        "progress",
        "results_as_entries",
        "standard_evaluators",
        "verify_results",
    ]


def test_public_names_of_the_reports():
    assert sorted(d2_eval.report.__all__) == [
        "annotation_page",
        "annotation_sheet",
        "class_table",
        "contact_sheet",
        "format_table",
        "loss_curves",
        "precision_recall_plot",
        "results_table",
        "write",
    ]


def test_public_names_of_the_live_lines():
    assert sorted(d2_eval.live.__all__) == [
        "Fact",
        "LineContent",
        "LiveLine",
        "ProgressBar",
        "progress",
    ]


def test_every_public_name_exists():
    for module in (d2_eval, d2_eval.live, d2_eval.report):
        assert all(hasattr(module, name) for name in module.__all__)


def test_importing_neither_loads_optional_packages_nor_registers_datasets():
    script = (
        "import sys, d2_eval, d2_eval.report\n"
        "from d2_data import MetadataCatalog\n"
        "assert not {'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not MetadataCatalog.data\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
