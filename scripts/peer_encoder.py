"""A peer of the encoder, as a process that measures what it is told to: reads lines of JSON
{"file": texts, "batch": size}, writes lines of JSON {"tokens": n, "cpu_s": seconds}. Tokenisation is not measured.

usage: peer_encoder.py onnxruntime MODEL-DIRECTORY ONNX-FILE
       peer_encoder.py torch MODEL-DIRECTORY
A line {"file": ..., "batch": ..., "vectors": FILE} also writes the vectors, normalised, as an array of numpy's.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer


def onnxruntime_encoder(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def encode(ids, mask):
        inputs = {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "attention_mask": mask}
        hidden = session.run(None, {name: array.astype(np.int32) for name, array in inputs.items()})[0]
        if mask.all():
            return hidden.mean(axis=1)
        weights = mask[:, None, :].astype(np.float32)
        return (weights @ hidden)[:, 0] / mask.sum(axis=1, keepdims=True)

    return encode


def torch_encoder(directory):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    model = SentenceTransformer(str(directory), device="cpu").eval()

    def encode(ids, mask):
        with torch.inference_mode():
            features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
            return model(features)["sentence_embedding"].numpy()

    return encode


def batches(tokens, size):
    """Sorted by length, padded to the longest of a batch."""
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i]))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        longest = len(tokens[chosen[0]])
        ids, mask = np.zeros((2, len(chosen), longest), dtype=np.int64)
        for row, i in enumerate(chosen):
            ids[row, : len(tokens[i])] = tokens[i]
            mask[row, : len(tokens[i])] = 1
        yield chosen, ids, mask


def main():
    engine, directory, *file = sys.argv[1:]
    encode = onnxruntime_encoder(*file) if engine == "onnxruntime" else torch_encoder(directory)
    tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    for line in sys.stdin:
        order = json.loads(line)
        texts = Path(order["file"]).read_text().splitlines()
        tokens = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        prepared = list(batches(tokens, order["batch"]))
        encode(*prepared[0][1:])
        start = time.process_time()
        vectors = [encode(ids, mask) for _, ids, mask in prepared]
        cpu = time.process_time() - start
        if "vectors" in order:
            ordered = np.zeros((len(texts), vectors[0].shape[1]), dtype=np.float32)
            for (chosen, _, _), rows in zip(prepared, vectors):
                ordered[chosen] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
            np.save(order["vectors"], ordered)
        print(json.dumps({"tokens": sum(map(len, tokens)), "cpu_s": cpu}), flush=True)


if __name__ == "__main__":
    main()
