"""Names of the datasets that are known without being registered by the user.

The table maps a name to the function that registers it. Nothing here is imported
or registered until a name is first asked for from a catalog, so ``import d2_data``
costs nothing for datasets that a program does not use.

The contract of a registrar ``"module:function"``:

* it takes no arguments and registers *every* name that the table lists under it,
  by ``DatasetCatalog.register(name, load)``, and sets the metadata by
  ``MetadataCatalog.get(name).set(...)``;
* it is called at most once in a process, on the first ``get`` of any of its names;
* it does no work beyond that: reading, downloading or generating files belongs in
  ``load``, which runs when the samples are asked for;
* it resolves folders through :func:`datasets_root`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

REGISTRARS: Mapping[str, str] = MappingProxyType(
    {
        "shapes_train": "d2_data.datasets.shapes:register_builtin_shapes",
        "shapes_val": "d2_data.datasets.shapes:register_builtin_shapes",
    }
)


def datasets_root() -> Path:
    """Folder that holds the built-in datasets.

    ``$D2_DATASETS``, else ``$DETECTRON2_DATASETS``, else ``datasets`` in the current
    folder; read at each call.
    """
    for variable in ("D2_DATASETS", "DETECTRON2_DATASETS"):
        value = os.environ.get(variable)
        if value:
            return Path(value).expanduser()
    return Path("datasets")
