"""ONNX files of strangers: what reaches outside the file is refused before anything runs."""

import json

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from detector.errors import UserError
from detector.predicting.onnx_file import KEY, read_onnx

CARD = {"format": 1, "gate": {"mean": [0.5, -1e-9]}, "class_names": ["fake", "rëal"]}
CARD_TEXT = json.dumps(CARD)
WEIGHTS = numpy_helper.from_array(np.ones((4, 2), np.float32), "weights")


def model(nodes=None, initializer=(WEIGHTS,), card=CARD_TEXT, **more):
    """A network of one layer."""
    nodes = nodes or [helper.make_node("MatMul", ["images", "weights"], ["logits"])]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        list(initializer),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **more)
    if card is not None:
        helper.set_model_props(made, {"other": "thing", KEY: card})
    return made


def refused(folder, made, words):
    file = folder / "made.onnx"
    file.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    with pytest.raises(UserError) as told:
        read_onnx(file)
    assert words in str(told.value)
    assert "\n" not in str(told.value) and str(file) in str(told.value)


def test_it_gives_the_file_and_the_card(tmp_path):
    file = tmp_path / "made.onnx"
    file.write_bytes(model().SerializeToString())
    assert read_onnx(file) == (file.read_bytes(), CARD)
    assert read_onnx(str(file))[1] == CARD


def test_a_file_that_onnx_runtime_may_take_for_another_format_is_refused(tmp_path):
    """A whole ONNX file, and by its mark one of ONNX Runtime's, of which nothing was looked at."""
    data = model(producer_name="ORTM").SerializeToString()
    onnx.checker.check_model(onnx.load_from_string(data))
    assert data[4:8] == b"ORTM"
    refused(tmp_path, data, "own format, which is refused")
    (tmp_path / "named.onnx").write_bytes(model(producer_name="pORTM").SerializeToString())
    assert read_onnx(tmp_path / "named.onnx")[1] == CARD


def test_what_onnx_writes_with_weights_beside_it_is_refused(tmp_path):
    onnx.save(
        model(), tmp_path / "outside.onnx", save_as_external_data=True, size_threshold=0,
        location="weights.bin",
    )  # fmt: skip
    assert (tmp_path / "weights.bin").is_file()
    refused(tmp_path, (tmp_path / "outside.onnx").read_bytes(), "other files")


@pytest.mark.parametrize("where", ["initializer", "attribute", "attributes", "path alone"])
def test_weights_elsewhere_are_refused_wherever_they_are_named(tmp_path, where):
    secret = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[4, 2])
    secret.external_data.add(key="location", value="../../etc/passwd")
    if where != "path alone":
        secret.data_location = TensorProto.EXTERNAL
    if where in ("initializer", "path alone"):
        made = model(initializer=[secret])
    else:
        value = secret if where == "attribute" else [secret]
        nodes = [
            helper.make_node("Constant", [], ["weights"], value=value),
            helper.make_node("MatMul", ["images", "weights"], ["logits"]),
        ]
        made = model(nodes, ())
    refused(tmp_path, made, "other files")


@pytest.mark.parametrize("domain", ["com.microsoft", "my.ops", "ai.onnx.ml", "AI.ONNX"])
def test_operators_of_others_are_refused(tmp_path, domain):
    node = helper.make_node("MatMul", ["images", "weights"], ["logits"], domain=domain)
    refused(tmp_path, model([node]), domain)
    made = model()
    made.opset_import.add(domain=domain, version=1)
    refused(tmp_path, made, domain)


def test_functions_loops_and_sparse_weights_are_refused(tmp_path):
    body = model().graph
    loop = helper.make_node("Loop", ["", "", ""], ["logits"], body=body)
    refused(tmp_path, model([loop]), "loops")
    branch = helper.make_node("If", ["images"], ["logits"], then_branch=body, else_branch=body)
    refused(tmp_path, model([branch]), "branches")
    node = helper.make_node("Identity", ["a"], ["b"])
    function = helper.make_function("my", "f", ["a"], ["b"], [node], [helper.make_opsetid("", 18)])
    refused(tmp_path, model(functions=[function]), "operators or a training of its own")
    made = model()
    made.training_info.add()
    refused(tmp_path, made, "operators or a training of its own")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    values = numpy_helper.from_array(np.ones(1, np.float32), "weights")
    made = model(initializer=())
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [8]))
    refused(tmp_path, made, "sparse")


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (None, "metadata"),
        ("", "not a whole"),
        ("[1]", "no JSON object"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1e999}', ""),
        ("{" * 100_000, "not a whole"),
        ('{"a":' * 100_000, "not a whole"),
    ],
)
def test_cards_that_are_none(tmp_path, card, words):
    if card == '{"a": 1e999}':  # an infinity by another name: the card's own checks meet it
        file = tmp_path / "made.onnx"
        file.write_bytes(model(card=card).SerializeToString())
        assert read_onnx(file)[1] == {"a": float("inf")}
        return
    refused(tmp_path, model(card=card), words)


def test_what_is_no_onnx_file(tmp_path):
    for name in ("missing.onnx", "."):
        with pytest.raises(UserError, match="cannot read"):
            read_onnx(tmp_path / name)
    for content in (b"", b"a text file\n", b"\x80\x02.", b"\xff" * 40, b"PK\x03\x04" * 9):
        refused(tmp_path, content, "not a whole ONNX file")


def test_a_file_cut_anywhere_is_refused_or_lost_its_card(tmp_path):
    whole = model().SerializeToString()
    assert read_whole(tmp_path, whole) == CARD
    for end in range(len(whole)):
        assert read_whole(tmp_path, whole[:end]) is None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_are_read_or_refused_and_never_crash(tmp_path_factory, data):
    whole = bytearray(model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    read_whole(tmp_path_factory.getbasetemp(), bytes(whole))


def read_whole(folder, content):
    file = folder / "cut.onnx"
    file.write_bytes(content)
    try:
        return read_onnx(file)[1]
    except UserError as error:
        assert "\n" not in str(error)
        return None
