"""Options of the training loop."""

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
    # The memory format in which convolutions are fastest, on the CPU by far.
    "channels_last": False,
}
