"""ONNX: written by torch's exporter, with the network's card inside."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from detector.deploy.network import Portable, first_line, quiet
from detector.errors import UserError
from detector.predicting.onnx_backend import FEATURES, INPUT, LOGITS
from detector.predicting.onnx_file import KEY, MAX_BYTES

if TYPE_CHECKING:
    import onnx

INSTALL = "pip install -c constraints.txt onnx onnxscript onnxruntime, or the extra `export`"


def check_installed() -> None:
    """Refuse to begin without what is needed at the end.

    Raises:
        UserError: A package is missing.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"format=onnx needs {error.name}: {INSTALL}") from error


def write_onnx(network: Portable, card: Mapping, file: Path) -> None:
    """Write a file that takes any number of images.

    Args:
        network: Float.
        card: Plain data, kept in the file's metadata.
        file: To be written; all weights are inside.

    Raises:
        UserError: torch's exporter cannot express the network, or it is larger than 2 GB.
    """
    outputs = [LOGITS, FEATURES] if network.has_features else [LOGITS]
    try:
        with quiet():
            program = torch.onnx.export(
                network,
                (network.example(2),),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=outputs,
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            )
            model = program.model_proto
    except Exception as error:  # anything that tracing somebody's network can raise
        raise UserError(
            f"torch.onnx cannot express this network ({first_line(error)}): choose another one"
        ) from error
    keep(model, card, file)


def keep(model: "onnx.ModelProto", card: Mapping, file: Path) -> None:
    """Write a model with its card, and without what the exporter notes of this machine.

    Raises:
        UserError: It is larger than 2 GB.
    """
    # Stack traces with the paths of this machine's files, and names of classes.
    for holder in (*model.graph.node, *model.graph.value_info, *model.graph.initializer,
                   *model.graph.input, *model.graph.output, model.graph):  # fmt: skip
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    used = {"", *(node.domain for node in model.graph.node)}
    needed = [one for one in model.opset_import if one.domain in used]
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend(needed)  # onnxruntime names all domains that it knows
    model.metadata_props.add(key=KEY, value=json.dumps(card, allow_nan=False))
    if model.ByteSize() > MAX_BYTES:
        raise UserError(
            "this network is larger than an ONNX file can be (2 GB): format=safetensors"
        )
    file.write_bytes(model.SerializeToString())
