"""Writes a BERT model as ONNX graphs with onnxruntime's own fused operators, which its optimiser would put there: f32, and
with dynamic int8 quantisation as its documentation recommends.

usage: minilm_onnx.py MODEL-DIRECTORY F32-FILE INT8-FILE
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file


def graph(directory):
    config = json.loads((directory / "config.json").read_text())
    weights = load_file(directory / "model.safetensors")
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def weight(name):
        return constant(name, weights[name])

    def node(kind, inputs, output, **attributes):
        domain = "" if kind == "MatMul" else "com.microsoft"
        nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        return output

    embeddings = [weight(f"embeddings.{name}_embeddings.weight") for name in ("word", "position", "token_type")]
    norm = [weight(f"embeddings.LayerNorm.{part}") for part in ("weight", "bias")]
    nodes.append(
        helper.make_node(
            "EmbedLayerNormalization",
            ["input_ids", "token_type_ids", *embeddings, *norm],
            ["embedded", "unused_mask_index"],
            name="embedded",
            domain="com.microsoft",
            epsilon=eps,
        )
    )
    hidden = "embedded"
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"

        def dense(x, name, output):
            kernel = constant(f"{layer}.{name}.kernel", weights[f"{layer}.{name}.weight"].T)
            return node("MatMul", [x, kernel], output)

        def skip(x, residual, name, output):
            inputs = [x, residual]
            inputs += [weight(f"{layer}.{name}.LayerNorm.{part}") for part in ("weight", "bias")]
            inputs.append(weight(f"{layer}.{name}.dense.bias"))
            return node("SkipLayerNormalization", inputs, output, epsilon=eps)

        parts = [f"{layer}.attention.self.{name}" for name in ("query", "key", "value")]
        qkv = constant(f"{layer}.qkv", np.concatenate([weights[f"{part}.weight"].T for part in parts], axis=1))
        bias = constant(f"{layer}.qkv_bias", np.concatenate([weights[f"{part}.bias"] for part in parts]))
        attended = node("Attention", [hidden, qkv, bias, "attention_mask"], f"{layer}.attended", num_heads=heads)
        attended = dense(attended, "attention.output.dense", f"{layer}.projected")
        hidden = skip(attended, hidden, "attention.output", f"{layer}.attention_norm")
        wide = dense(hidden, "intermediate.dense", f"{layer}.wide")
        wide = node("BiasGelu", [wide, weight(f"{layer}.intermediate.dense.bias")], f"{layer}.gelu")
        hidden = skip(dense(wide, "output.dense", f"{layer}.narrow"), hidden, "output", f"{layer}.output_norm")
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "length"]) for name in inputs]
    output = helper.make_tensor_value_info(hidden, TensorProto.FLOAT, ["batch", "length", config["hidden_size"]])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph(nodes, "bert", inputs, [output], constants), opset_imports=opsets, ir_version=8)


def main():
    directory, f32, int8 = map(Path, sys.argv[1:])
    onnx.save(graph(directory), f32)
    float_by_default = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(f32, int8, per_channel=True, weight_type=QuantType.QInt8, extra_options=float_by_default)


if __name__ == "__main__":
    main()
