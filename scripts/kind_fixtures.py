"""Writes worker/encode/tests/fixtures/kinds: tiny models with random weights whose embeddings are sparse or one vector a token,
in the layouts of published ones, and what the libraries they were published with make of a list of texts.

    pip install -r scripts/requirements-reference.txt
    python scripts/kind_fixtures.py [NAME ...]
    python scripts/kind_fixtures.py --splade DIR > worker/encode/tests/fixtures/splade_reference.json

The last line writes the reference of a SPLADE model with real weights.
"""

import json
import string
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder
from tokenizers import Tokenizer
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    PreTrainedTokenizerFast,
)

from family_fixtures import BERT_SPECIALS, POSITIONS, SIZES, TEXTS, VOCABULARY, randomised, rewrite, save, word_pieces

ROOT = Path(__file__).resolve().parent.parent / "worker/encode/tests/fixtures/kinds"
QUERY_LENGTH = 32
DOCUMENT_LENGTH = 60
DIMENSIONS = 12


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def write_reference(folder, texts):
    lines = ",\n ".join(json.dumps(text, ensure_ascii=False) for text in texts)
    (folder / "reference.json").write_text(f'{{"texts": [\n {lines}\n]}}\n')


def splade_texts(folder, texts, digits=6):
    """max over tokens of log(1 + relu(logits)), as in the paper, each text alone."""
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    entries = []
    for text in texts:
        features = tokenizer(text, truncation=True, max_length=POSITIONS, return_tensors="pt")
        with torch.no_grad():
            weights = torch.log1p(torch.relu(model(**features).logits[0])).max(0).values
        indices = weights.nonzero().flatten().tolist()
        values = [round(weights[index].item(), digits) for index in indices]
        ids = features["input_ids"][0].tolist()
        entries.append({"text": text, "ids": ids, "vector": {"indices": indices, "values": values}})
    return entries


def splade_bert(folder):
    """Without modules.json, with the old names of norms and without the decoder that is the table of words."""
    model = randomised(BertForMaskedLM(BertConfig(**SIZES)), 21)
    model.tie_weights()
    save(model, word_pieces(), folder)
    rewrite(folder, lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"))
    path = folder / "model.safetensors"
    weights = {name: tensor for name, tensor in load_file(path).items() if "decoder" not in name}
    reference = splade_texts(folder, TEXTS)
    save_file(weights, path)
    write_reference(folder, reference)


def splade_distilbert(folder):
    """In the layout of a SparseEncoder, and with a decoder of its own."""
    config = DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=48,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=False,
    )
    save(randomised(DistilBertForMaskedLM(config), 22), word_pieces(), folder)
    rewrite(folder, lambda name: name)
    modules = [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")]
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.sparse_encoder.models.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ],
    )
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": VOCABULARY}
    write_json(folder / "1_SpladePooling/config.json", pooling)
    write_reference(folder, splade_texts(folder, TEXTS))


def with_markers():
    """A tokenizer whose vocabulary has markers that are no special tokens, as BERT's has."""
    tokenizer = json.loads(word_pieces().backend_tokenizer.to_str())
    for offset, marker in enumerate(["[unused0]", "[unused1]", *string.punctuation]):
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary.setdefault(marker, len(vocabulary))
    named = {f"{role}_token": token for role, token in BERT_SPECIALS.items()}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(tokenizer)), model_max_length=POSITIONS, **named
    )
    return wrapped, len(tokenizer["model"]["vocab"])


def late_texts(folder):
    model = MultiVectorEncoder(str(folder), device="cpu")
    entries = []
    for text in TEXTS:
        query = model.encode_query([text], convert_to_numpy=True)[0]
        document = model.encode_document([text], convert_to_numpy=True)[0]
        short = lambda rows: [[round(float(x), 5) for x in row] for row in rows]
        entries.append({"text": text, "query": short(query), "document": short(document)})
    return entries


def colbert(folder, attend=False):
    """The layout of colbert-ir/colbertv2.0: the linear layer lies beside the network's weights."""
    tokenizer, vocabulary = with_markers()
    save(randomised(BertModel(BertConfig(**{**SIZES, "vocab_size": vocabulary})), 23), tokenizer, folder)
    weights = rewrite(folder, lambda name: f"bert.{name}")
    weights = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    weights["linear.weight"] = (0.3 * torch.randn(DIMENSIONS, 32, generator=torch.Generator().manual_seed(24))).half()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    metadata = {
        "query_token_id": "[unused0]",
        "doc_token_id": "[unused1]",
        "query_maxlen": QUERY_LENGTH,
        "doc_maxlen": DOCUMENT_LENGTH,
        "dim": DIMENSIONS,
        "mask_punctuation": True,
        "attend_to_mask_tokens": attend,
        "similarity": "cosine",
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata, indent=1) + "\n")
    write_reference(folder, late_texts(folder))


def pylate(folder):
    """The layout of PyLate: a dense module, and in the configuration what is particular to late interaction."""
    tokenizer, vocabulary = with_markers()
    tokenizer.add_tokens(["[Q] ", "[D] "])
    network = randomised(BertModel(BertConfig(**{**SIZES, "vocab_size": vocabulary + 2}), add_pooling_layer=False), 25)
    save(network, tokenizer, folder)
    rewrite(folder, lambda name: name)
    kinds = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds)]
    write_json(folder / "modules.json", modules)
    dense = {"in_features": 32, "out_features": DIMENSIONS, "bias": False}
    write_json(folder / "1_Dense/config.json", {**dense, "activation_function": "torch.nn.modules.linear.Identity"})
    weight = (0.3 * torch.randn(DIMENSIONS, 32, generator=torch.Generator().manual_seed(26))).half()
    save_file({"linear.weight": weight}, folder / "1_Dense/model.safetensors")
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": DOCUMENT_LENGTH - 1, "do_lower_case": False})
    config = {
        "model_type": "ColBERT",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
        "query_prefix": "[Q] ",
        "document_prefix": "[D] ",
        "query_length": QUERY_LENGTH,
        "document_length": DOCUMENT_LENGTH,
        "attend_to_expansion_tokens": True,
        "skiplist_words": ["!", ",", "."],
        "do_query_expansion": True,
    }
    write_json(folder / "config_sentence_transformers.json", config)
    write_reference(folder, late_texts(folder))


NAMES = {f.__name__: f for f in (splade_bert, splade_distilbert, colbert, pylate)}


def main():
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--splade"]:
        texts = [text for text in TEXTS if 0 < len(text) < 400]
        print(json.dumps({"texts": splade_texts(sys.argv[2], texts, digits=4)}, ensure_ascii=False))
        return
    for name in sys.argv[1:] or NAMES:
        folder = ROOT / name
        NAMES[name](folder)
        for leftover in ("special_tokens_map.json", "vocab.txt", "README.md", "added_tokens.json"):
            (folder / leftover).unlink(missing_ok=True)
        print(f"{name}: {sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()):,} bytes")


if __name__ == "__main__":
    main()
