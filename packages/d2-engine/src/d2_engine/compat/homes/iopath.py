"""The parts of iopath that projects use beside detectron2, and a compiled module of theirs."""

from d2_engine.compat.module_map import each, home

MODULES = {
    "MultiScaleDeformableAttention": home(".shims.deformable_attention"),
    "iopath.common.download": home(names=each(".shims.file_io", "download")),
    "iopath": home(),
    "iopath.common": home(),
    "iopath.common.file_io": home(
        names=each(
            ".shims.file_io",
            "HTTPURLHandler",
            "LazyPath",
            "OneDrivePathHandler",
            "PathHandler",
            "NativePathHandler",
            "PathManagerFactory",
            "g_pathmgr",
            "file_lock",
        )
        | {"PathManager": ".shims.file_io:PathManagerBase"}
    ),
    "iopath.common.s3": home(names=each(".shims.file_io", "S3PathHandler")),
}
