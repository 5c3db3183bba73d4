"""Writes worker/encode/tests/fixtures/families: for each family of networks a tiny checkpoint with random weights, in the
layout of published models, and what sentence-transformers makes of a list of texts with it.

    pip install -r scripts/requirements-reference.txt
    python scripts/family_fixtures.py [FAMILY ...]

The weights are random, so the vectors mean nothing; they are large, so that every part of a network shows in them. They
are rounded to 16 bits before the reference is computed in 32, which is how they are stored. Every text is encoded alone.
JinaBERT is not part of transformers: its reference is written here, in plain torch, after arXiv:2310.19923.
"""

import json
import shutil
import sys
from pathlib import Path

import sentence_transformers
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from reference_vectors import PROSE, rounded

ROOT = Path(__file__).resolve().parent.parent / "worker/encode/tests/fixtures/families"
POSITIONS = 300
VOCABULARY = 300

TEXTS = [
    "",
    "a",
    "The cat sits on the mat.",
    "A catalogue stands between the reader and the shelf",
    "Größenwahn, naïveté, Łódź and İstanbul",
    "Москва - столица России.",
    "東京は日本の首都です",
    "القاهرة هي عاصمة مصر",
    "🚀🔥 shipping it! 👩‍👩‍👧‍👦 🇫🇷",
    "written as text: [PAD] <pad> [SEP] </s> [MASK]",
    "zero\u200bwidth, combining e\u0301, a tab\tand a line\nbreak",
    " ".join(PROSE[:40]),
    " ".join(PROSE[20:90]),
    " ".join(PROSE * 4),
]

BERT_SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA_SPECIALS = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
CORPUS = [" ".join(PROSE), *TEXTS[:9]]


def finished(tokenizer, trainer, specials, max_length, template="{cls} $A {sep}", pair="{cls} $A {sep} $B:1 {sep}:1"):
    """Trains, adds what every text gets, and wraps for transformers."""
    tokenizer.train_from_iterator(CORPUS, trainer)
    used = [(token, tokenizer.token_to_id(token)) for token in specials.values()]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template.format(**specials), pair=pair.format(**specials), special_tokens=used
    )
    named = {f"{role}_token": token for role, token in specials.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length, **named)


def word_pieces(specials=BERT_SPECIALS, max_length=POSITIONS):
    tokenizer = Tokenizer(models.WordPiece(unk_token=specials["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, limit_alphabet=80, special_tokens=list(specials.values()), show_progress=False
    )
    return finished(tokenizer, trainer, specials, max_length)


def bytes_bpe(specials=ROBERTA_SPECIALS, max_length=POSITIONS, **template):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(specials.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return finished(tokenizer, trainer, specials, max_length, **template)


def unigrams(specials=ROBERTA_SPECIALS, max_length=POSITIONS):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY, special_tokens=list(specials.values()), unk_token=specials["unk"], show_progress=False
    )
    return finished(tokenizer, trainer, specials, max_length)


SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=POSITIONS,
)


def randomised(model, seed, dtype=torch.float16):
    """Random weights that fit `dtype`, computed with in f32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                # A bias around 0, or the weight of a norm around 1.
                parameter.copy_(parameter.round() + 0.2 * noise)
            else:
                parameter.copy_(0.25 * noise)
            parameter.copy_(parameter.to(dtype).float())
    return model.float().eval()


def save(model, tokenizer, folder):
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def rewrite(folder, change, dtype=torch.float16):
    """Stores the weights in 16 bits, under the names that `change` gives them."""
    path = folder / "model.safetensors"
    weights = {change(name): tensor.to(dtype).contiguous() for name, tensor in load_file(path).items()}
    save_file(weights, path)
    return weights


def edit_json(path, **changes):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}, indent=1))


def assemble(folder, *modules, max_length=POSITIONS, prompts=None, **options):
    """A sentence encoder on the checkpoint in `folder`, saved around it."""
    transformer = Transformer(str(folder), max_seq_length=max_length)
    model = SentenceTransformer(modules=[transformer, *modules], device="cpu", prompts=prompts, **options)
    aside = folder.with_suffix(".saved")
    model.save(str(aside), create_model_card=False)
    for name in aside.iterdir():
        if name.name.startswith(("modules", "sentence_bert", "config_sentence", "tokenizer_config")) or name.is_dir():
            shutil.rmtree(folder / name.name, ignore_errors=True)
            shutil.move(name, folder / name.name)
    shutil.rmtree(aside)
    return model


def write_reference(folder, model, notes="", **more):
    def encoded(method, text):
        return rounded(method([text], show_progress_bar=False, convert_to_numpy=True)[0])

    tokenizer = model.tokenizer
    texts = []
    for text in TEXTS:
        document = encoded(model.encode_document, text)
        query = encoded(model.encode_query, text)
        ids = tokenizer(text, truncation=True, max_length=model.max_seq_length)["input_ids"]
        entry = {"text": text, "ids": ids, "document": document}
        if query != document:
            entry["query"] = query
        texts.append(entry)
    made_with = {m.__name__: m.__version__.split("+")[0] for m in (sentence_transformers, torch, transformers)}
    content = {"made_with": made_with, "notes": notes, **more, "texts": texts}
    lines = ["{"]
    lines += [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}," for key, value in content.items() if key != "texts"]
    lines += ['"texts": [', ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in texts), "]", "}"]
    (folder / "reference.json").write_text("\n".join(lines) + "\n", encoding="utf-8")


def bert(folder):
    """With the names of a model with a head, and the norms' old names."""
    config = transformers.BertConfig(**SIZES)
    save(randomised(transformers.BertModel(config, add_pooling_layer=False), 1), word_pieces(), folder)
    model = assemble(folder, Pooling(32, pooling_mode="cls"))
    few = [0, 1, 2, 11]
    poolings = {}
    for mode in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"):
        variant = SentenceTransformer(modules=[model[0], Pooling(32, pooling_mode=mode)], device="cpu")
        poolings[mode] = [
            {"text": i, "vector": rounded(variant.encode([TEXTS[i]], convert_to_numpy=True)[0])} for i in few
        ]
        without = SentenceTransformer(
            modules=[model[0], Pooling(32, pooling_mode=mode, include_prompt=False)],
            device="cpu",
            prompts={"query": "a question: ", "document": ""},
        )
        poolings[f"{mode} without prompt"] = [
            {"text": i, "vector": rounded(without.encode_query([TEXTS[i]], convert_to_numpy=True)[0])} for i in few
        ]
    write_reference(folder, model, poolings=poolings)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    rewrite(folder, lambda name: "bert." + next((name.replace(n, o) for n, o in old.items() if n in name), name))


def roberta(folder):
    config = transformers.RobertaConfig(**{**SIZES, "max_position_embeddings": POSITIONS + 2}, type_vocab_size=1)
    save(randomised(transformers.RobertaModel(config, add_pooling_layer=False), 2), bytes_bpe(), folder)
    write_reference(folder, assemble(folder, Pooling(32, pooling_mode="mean")))
    rewrite(folder, lambda name: "roberta." + name)


def xlm_roberta(folder):
    """In several files."""
    config = transformers.XLMRobertaConfig(**{**SIZES, "max_position_embeddings": POSITIONS + 2}, type_vocab_size=1)
    save(randomised(transformers.XLMRobertaModel(config, add_pooling_layer=False), 3), unigrams(), folder)
    model = assemble(
        folder, Pooling(32, pooling_mode="cls"), Normalize(), prompts={"query": "query: ", "passage": "passage: "}
    )
    write_reference(folder, model)
    weights = rewrite(folder, lambda name: name)
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    files = [f"model-{i + 1:05}-of-{len(parts):05}.safetensors" for i in range(len(parts))]
    for part, file in zip(parts, files):
        save_file({name: weights[name] for name in part}, folder / file)
    by_name = {name: file for part, file in zip(parts, files) for name in part}
    edit_json(folder / "model.safetensors.index.json", metadata={}, weight_map=by_name)


def distilbert(folder):
    """In PyTorch's own format, with a dense module behind the pooling."""
    config = transformers.DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=POSITIONS
    )
    save(randomised(transformers.DistilBertModel(config), 4), word_pieces(), folder)
    dense = randomised(Dense(32, 20, activation_function=torch.nn.Tanh()), 44)
    write_reference(folder, assemble(folder, Pooling(32, pooling_mode="mean"), dense, max_length=200))
    weights = rewrite(folder, lambda name: "distilbert." + name)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def mpnet(folder):
    config = transformers.MPNetConfig(**{**SIZES, "max_position_embeddings": POSITIONS + 2})
    tokenizer = word_pieces(ROBERTA_SPECIALS)
    save(randomised(transformers.MPNetModel(config, add_pooling_layer=False), 5), tokenizer, folder)
    dense = randomised(Dense(32, 32, bias=False, activation_function=torch.nn.Identity()), 55)
    write_reference(folder, assemble(folder, Pooling(32, pooling_mode="mean"), Normalize(), dense))
    rewrite(folder, lambda name: name)


def modernbert(folder):
    config = transformers.ModernBertConfig(
        **{**SIZES, "num_hidden_layers": 4, "intermediate_size": 24},
        local_attention=16,
        pad_token_id=1,
        cls_token_id=0,
        sep_token_id=2,
        bos_token_id=0,
        eos_token_id=2,
    )
    save(randomised(transformers.ModernBertModel(config), 6), bytes_bpe(), folder)
    model = assemble(
        folder,
        Pooling(32, pooling_mode="mean"),
        Normalize(),
        prompts={"query": "search_query: ", "document": "search_document: "},
    )
    write_reference(folder, model)
    rewrite(folder, lambda name: "model." + name)


def nomic(folder):
    """By the names of the published checkpoints."""
    config = transformers.NomicBertConfig(**SIZES, rope_parameters={"rope_type": "default", "rope_theta": 1000.0})
    save(randomised(transformers.NomicBertModel(config), 7), word_pieces(), folder)
    write_reference(folder, assemble(folder, Pooling(32, pooling_mode="mean")))
    rewrite(folder, lambda name: name)
    (folder / "config.json").write_text(json.dumps(NOMIC_CONFIG, indent=1))


NOMIC_CONFIG = {
    "model_type": "nomic_bert",
    "architectures": ["NomicBertModel"],
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 48,
    "n_positions": POSITIONS,
    "type_vocab_size": 2,
    "layer_norm_epsilon": 1e-12,
    "activation_function": "swiglu",
    "prenorm": False,
    "qkv_proj_bias": False,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_base": 1000,
    "rotary_emb_interleaved": False,
    "rotary_scaling_factor": None,
    "use_rms_norm": False,
}


def qwen3(folder):
    specials = {"pad": "<|endoftext|>", "eos": "<|endoftext|>"}
    config = transformers.Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=10, pad_token_id=0, eos_token_id=0)
    tokenizer = bytes_bpe(specials, template="$A {eos}", pair="$A $B {eos}")
    save(randomised(transformers.Qwen3Model(config), 8, torch.bfloat16), tokenizer, folder)
    instruction = "Instruct: Given a question, retrieve passages that answer it\nQuery:"
    prompts = {"query": instruction, "document": ""}
    model = assemble(folder, Pooling(32, pooling_mode="lasttoken"), Normalize(), prompts=prompts)
    write_reference(folder, model)
    rewrite(folder, lambda name: name, torch.bfloat16)


class Jina(torch.nn.Module):
    """JinaBERT v2: BERT with ALiBi in both directions and a gated feed-forward part."""

    def __init__(self, hidden=32, layers=2, heads=6, head=6, wide=48):
        super().__init__()
        linear = torch.nn.Linear
        self.heads, self.head = heads, head
        hidden = heads * head
        self.embeddings = torch.nn.ModuleDict(
            {
                "word_embeddings": torch.nn.Embedding(VOCABULARY, hidden),
                "token_type_embeddings": torch.nn.Embedding(2, hidden),
                "LayerNorm": torch.nn.LayerNorm(hidden, eps=1e-12),
            }
        )
        self.layers = torch.nn.ModuleList()
        for _ in range(layers):
            layer = {name: linear(hidden, hidden) for name in ("query", "key", "value", "output")}
            layer["norm"] = torch.nn.LayerNorm(hidden, eps=1e-12)
            layer["gated_layers"] = linear(hidden, 2 * wide, bias=False)
            layer["wo"] = linear(wide, hidden)
            layer["layernorm"] = torch.nn.LayerNorm(hidden, eps=1e-12)
            self.layers.append(torch.nn.ModuleDict(layer))

    PUBLISHED = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        "norm": "attention.output.LayerNorm",
        "gated_layers": "mlp.gated_layers",
        "wo": "mlp.wo",
        "layernorm": "mlp.layernorm",
    }

    @classmethod
    def published(cls, name):
        parts = name.split(".")
        if parts[0] != "layers":
            return name
        return ".".join(["encoder.layer", parts[1], cls.PUBLISHED[parts[2]], *parts[3:]])

    def slopes(self):
        """Of 6 heads: those of 4, then every second of those of 8."""
        assert self.heads == 6
        return torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3])

    def forward(self, ids):
        n = len(ids)
        e = self.embeddings
        x = e["LayerNorm"](e["word_embeddings"](ids) + e["token_type_embeddings"](torch.zeros_like(ids)))
        where = torch.arange(n)
        alibi = -(where[:, None] - where[None, :]).abs()[None] * self.slopes()[:, None, None]
        for layer in self.layers:
            q, k, v = (layer[p](x).view(n, self.heads, self.head).transpose(0, 1) for p in ("query", "key", "value"))
            weights = torch.softmax(q @ k.transpose(1, 2) / self.head**0.5 + alibi, dim=-1)
            x = layer["norm"](layer["output"]((weights @ v).transpose(0, 1).reshape(n, -1)) + x)
            gate, up = layer["gated_layers"](x).chunk(2, dim=-1)
            x = layer["layernorm"](layer["wo"](torch.nn.functional.gelu(gate) * up) + x)
        return x


def jina(folder):
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = word_pieces()
    network = randomised(Jina(), 9)
    tokenizer.save_pretrained(folder)
    hidden = network.heads * network.head
    config = {
        "model_type": "bert",
        "architectures": ["JinaBertForMaskedLM"],
        "vocab_size": VOCABULARY,
        "hidden_size": hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": network.heads,
        "intermediate_size": 48,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "alibi",
        "feed_forward_type": "geglu",
        "auto_map": {"AutoModel": "jinaai/jina-bert-implementation--modeling_bert.JinaBertModel"},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    weights = {Jina.published(name): tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")

    class Reference:
        """As much of a SentenceTransformer as the reference needs: the mean of all tokens."""

        def __init__(self):
            self.tokenizer, self.max_seq_length = tokenizer, POSITIONS

        def encode_document(self, texts, **_):
            ids = tokenizer(texts[0], truncation=True, max_length=POSITIONS)["input_ids"]
            with torch.no_grad():
                return [network(torch.tensor(ids)).mean(0)]

        encode_query = encode_document

    notes = "The reference is a network of its own in scripts/family_fixtures.py: transformers has no JinaBERT v2."
    write_reference(folder, Reference(), notes)


FAMILIES = {f.__name__: f for f in (bert, roberta, xlm_roberta, distilbert, mpnet, modernbert, nomic, jina, qwen3)}


def main():
    torch.set_num_threads(1)
    for name in sys.argv[1:] or FAMILIES:
        folder = ROOT / name
        FAMILIES[name](folder)
        for leftover in ("special_tokens_map.json", "vocab.txt", "README.md", "added_tokens.json"):
            (folder / leftover).unlink(missing_ok=True)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{name}: {size:,} bytes")


if __name__ == "__main__":
    main()
