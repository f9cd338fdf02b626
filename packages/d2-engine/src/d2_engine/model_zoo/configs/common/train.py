"""Options of the training loop."""

from d2_engine.run_options import option_defaults

train = {
    "output_dir": "./output",
    "init_checkpoint": "",
    "max_iter": 90000,
    # Mixed precision: true, false, or "auto" for where it is faster.
    "amp": {"enabled": False},
    "ddp": {
        "broadcast_buffers": False,
        "find_unused_parameters": False,
        "fp16_compression": False,
    },
    "checkpointer": {"period": 5000, "max_to_keep": 100},
    "eval_period": 5000,
    "log_period": 20,
    # "auto" is CUDA where there is a device, else the CPU.
    "device": "cuda",
    "seed": None,  # None draws one
    # Clip gradients: "value" of each element, "norm" of each parameter, "full_model" of all.
    "clip_gradients": {
        "enabled": False,
        "clip_type": "full_model",
        "clip_value": 1.0,
        "norm_type": 2.0,
    },
    # Batch-norm statistics over so many batches, before each evaluation.
    "precise_bn": {"enabled": False, "num_iter": 200},
    # Evaluate the final weights also on several versions of each image.
    "tta": {
        "enabled": False,
        "min_sizes": (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),
        "max_size": 4000,
        "flip": True,
    },
    # Number of processes the values are meant for; 0: do not adapt them to the actual number.
    "reference_world_size": 0,
    "expected_results": [],  # [task, metric, value, tolerance], ["bbox", "AP", 38.5, 0.2]
    # Accumulation, averaged weights, compiling and the like.
    **option_defaults(),
}
