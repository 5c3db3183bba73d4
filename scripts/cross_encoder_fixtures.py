"""Writes worker/encode/tests/fixtures/cross_encoders: for each kind of head a tiny sequence classifier with random weights, in the
layout of published cross-encoders, and how sentence-transformers' CrossEncoder scores pairs of texts with it.

    pip install -r scripts/requirements-reference.txt
    python scripts/cross_encoder_fixtures.py [FAMILY ...]

As in family_fixtures.py, weights are rounded to 16 bits before scores are computed in 32, and every pair is scored alone.
"""

import json
import shutil
import sys

import sentence_transformers
import torch
import transformers
from sentence_transformers import CrossEncoder
from tokenizers import processors

from family_fixtures import (
    POSITIONS,
    ROOT,
    SIZES,
    TEXTS,
    VOCABULARY,
    bytes_bpe,
    edit_json,
    randomised,
    rewrite,
    save,
    unigrams,
    word_pieces,
)
from reference_vectors import PROSE

CROSS_ENCODERS = ROOT.parent / "cross_encoders"
IDENTITY = "torch.nn.modules.linear.Identity"
QUERIES = ["where does the cat sit?", "", " ".join(PROSE[:300])]


def template(tokenizer, single, pair, inputs=("input_ids", "attention_mask")):
    """What a published tokenizer of the family puts around texts, and which inputs its model takes."""
    backend = tokenizer.backend_tokenizer
    used = {part for part in pair.split() if not part.startswith("$")}
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(token, backend.token_to_id(token)) for token in used]
    )
    tokenizer.model_input_names = list(inputs)
    return tokenizer


def scores(model, activation, query, text):
    return float(model.predict([(query, text)], activation_fn=activation, show_progress_bar=False)[0])


def write_reference(folder):
    model = CrossEncoder(str(folder), device="cpu")
    pairs = []
    for query in QUERIES:
        for text in TEXTS:
            # As a batch, which is how the model gets them: one alone is taken for a single text where the second is empty.
            batch = model.tokenizer([query], [text], truncation="longest_first", return_token_type_ids=True)
            tokens = {name: rows[0] for name, rows in batch.items()}
            raw = scores(model, torch.nn.Identity(), query, text)
            pair = {"query": query, "text": text, "ids": tokens["input_ids"], "segments": tokens["token_type_ids"]}
            pairs.append({**pair, "raw": round(raw, 7), "score": round(scores(model, None, query, text), 7)})
    made_with = {m.__name__: m.__version__.split("+")[0] for m in (sentence_transformers, torch, transformers)}
    lines = [f'{{"made_with": {json.dumps(made_with)}, "pairs": [']
    lines += [",\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs), "]}"]
    (folder / "reference.json").write_text("\n".join(lines) + "\n", encoding="utf-8")


def bert(folder):
    """As ms-marco-MiniLM: raw scores, and a tokenizer that numbers segments by what comes in."""
    config = transformers.BertConfig(**SIZES, num_labels=1)
    tokenizer = word_pieces()
    backend = tokenizer.backend_tokenizer
    backend.post_processor = processors.BertProcessing(
        *((token, backend.token_to_id(token)) for token in ("[SEP]", "[CLS]"))
    )
    save(randomised(transformers.BertForSequenceClassification(config), 11), tokenizer, folder)
    edit_json(folder / "config.json", sentence_transformers={"activation_fn": IDENTITY, "version": "4.1.0"})
    # Unless told, the library's plain class keeps segments from the model; that of published tokenizers does not.
    edit_json(folder / "tokenizer_config.json", model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def xlm_roberta(folder):
    """As bge-reranker: nothing is said of an activation."""
    sizes = {**SIZES, "max_position_embeddings": POSITIONS + 2}
    config = transformers.XLMRobertaConfig(**sizes, type_vocab_size=1, num_labels=1)
    tokenizer = template(unigrams(), "<s> $A </s>", "<s> $A </s> </s> $B </s>")
    save(randomised(transformers.XLMRobertaForSequenceClassification(config), 12), tokenizer, folder)


def distilbert(folder):
    """As sentence-transformers saved them before version 4. The tokenizer numbers segments that the network does not have."""
    config = transformers.DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=POSITIONS, num_labels=1
    )
    tokenizer = word_pieces()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    save(randomised(transformers.DistilBertForSequenceClassification(config), 13), tokenizer, folder)
    edit_json(folder / "config.json", sbert_ce_default_activation_function=IDENTITY)


def modernbert(folder):
    """As sentence-transformers saves them today, with a list of modules; the head pools the mean."""
    config = transformers.ModernBertConfig(
        **{**SIZES, "num_hidden_layers": 3, "intermediate_size": 24},
        local_attention=16,
        pad_token_id=1,
        cls_token_id=0,
        sep_token_id=2,
        bos_token_id=0,
        eos_token_id=2,
        classifier_pooling="mean",
        num_labels=1,
    )
    tokenizer = template(bytes_bpe(), "<s> $A </s>", "<s> $A </s> $B </s>")
    save(randomised(transformers.ModernBertForSequenceClassification(config), 14), tokenizer, folder)
    aside = folder.with_suffix(".saved")
    CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity()).save_pretrained(str(aside), create_model_card=False)
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        shutil.move(aside / name, folder / name)
    shutil.rmtree(aside)


FAMILIES = {f.__name__: f for f in (bert, xlm_roberta, distilbert, modernbert)}


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:] or FAMILIES:
        folder = CROSS_ENCODERS / name
        FAMILIES[name](folder)
        rewrite(folder, lambda name: name)
        write_reference(folder)
        for leftover in ("special_tokens_map.json", "vocab.txt", "README.md", "added_tokens.json"):
            (folder / leftover).unlink(missing_ok=True)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{name}: {size:,} bytes")


if __name__ == "__main__":
    main()
