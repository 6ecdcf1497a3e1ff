#!/usr/bin/env python3
"""Makes the tiny checkpoints beside this file, with the logits that Hugging Face's transformers computes from them.

    python3 -m venv VENV && VENV/bin/pip install -r requirements.txt && VENV/bin/python make.py [NAME...]

The tests read what is committed; nothing but this script needs torch. Every checkpoint has what is special about its family: biases that are not zero,
gains that are not one, fewer key heads than heads, heads whose size is not hidden / heads, rope scaling that acts within the positions of the golden.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

import phonelm

HERE = pathlib.Path(__file__).parent
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld", "t h"]
VOCAB = 288  # more than the tokenizer has, as real models do
TOKENS = 40

COMMON = dict(vocab_size=VOCAB, num_hidden_layers=2, bos_token_id=0, eos_token_id=2, max_position_embeddings=512)

# name: (configuration, dtype of the files, how many files)
MODELS = {
    "qwen1.5": (
        transformers.Qwen2Config(**COMMON, hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=4, rope_theta=1e6, tie_word_embeddings=False),
        torch.bfloat16,
        1,
    ),
    "qwen2": (
        transformers.Qwen2Config(**COMMON, hidden_size=48, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2, rope_theta=1e6, tie_word_embeddings=True),
        torch.float32,
        1,
    ),
    "qwen2.5": (
        transformers.Qwen2Config(**COMMON, hidden_size=72, intermediate_size=96, num_attention_heads=6, num_key_value_heads=2, rope_theta=1e6, tie_word_embeddings=False),
        torch.float16,
        2,
    ),
    # Heads of 24 dimensions where hidden / heads is 12.
    "qwen3": (
        transformers.Qwen3Config(**COMMON, hidden_size=48, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2, head_dim=24, rope_theta=1e6, tie_word_embeddings=True),
        torch.bfloat16,
        1,
    ),
    # The size of head of the model with 1.5 billion parameters.
    "phonelm": (
        phonelm.Config(**COMMON, hidden_size=32, intermediate_size=64, num_attention_heads=2, num_key_value_heads=2, head_dim=160, tie_word_embeddings=True),
        torch.float16,
        1,
    ),
    # Of the eight frequencies of a head the first stays, the second is blended, the others are divided.
    "llama3": (
        transformers.LlamaConfig(
            **COMMON, hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, rope_theta=5e5, tie_word_embeddings=False,
            rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
        ),
        torch.bfloat16,
        2,
    ),
    "smollm2": (
        transformers.LlamaConfig(**COMMON, hidden_size=72, intermediate_size=128, num_attention_heads=3, num_key_value_heads=1, rope_theta=1e5, tie_word_embeddings=True),
        torch.bfloat16,
        1,
    ),
}


def byte_symbols():
    extra = 256
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174:
            yield chr(byte)
        else:
            yield chr(extra)
            extra += 1


def tokenizer_files():
    tokens = SPECIALS + list(byte_symbols()) + [merge.replace(" ", "") for merge in MERGES]
    added = [
        dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
        for i, content in enumerate(SPECIALS)
    ]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer = dict(
        version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None, pre_tokenizer=level, post_processor=None, decoder=level,
        model=dict(type="BPE", dropout=None, unk_token=None, vocab={token: i for i, token in enumerate(tokens)}, merges=MERGES),
    )
    config = dict(tokenizer_class="Qwen2Tokenizer", bos_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>", add_bos_token=False)
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": config}


def randomise(model, dtype, generator):
    """Weights with the variance of a trained model, biases and gains that matter; all of them numbers that `dtype` holds, since that is what the files will say."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith(".bias"):
            values = 0.5 * noise
        elif parameter.dim() == 1:
            values = 1 + 0.3 * noise
        else:
            values = noise / (1 if "embed_tokens" in name else parameter.shape[1] ** 0.5)
        parameter.data.copy_(values.to(dtype))


def shards_of(state, count):
    names = sorted(state)
    return [{name: state[name] for name in names[part::count]} for part in range(count)]


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def make(name):
    config, dtype, files = MODELS[name]
    generator = torch.Generator().manual_seed(sum(name.encode()))
    own = isinstance(config, phonelm.Config)
    model = phonelm.PhoneLM(config) if own else transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomise(model, dtype, generator)
    model.eval()
    tokens = torch.randint(3, len(SPECIALS) + 256, (1, TOKENS), generator=generator)
    with torch.no_grad():
        logits = (model(tokens) if own else model(tokens, use_cache=False).logits)[0]

    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    written = config.to_dict() if own else config.to_diff_dict()
    written["torch_dtype"] = str(dtype).removeprefix("torch.")
    write_json(folder / "config.json", written)
    for file, value in tokenizer_files().items():
        write_json(folder / file, value)
    tied = written.get("tie_word_embeddings", False)
    state = {key: value.to(dtype).contiguous() for key, value in model.state_dict().items() if not (tied and key == "lm_head.weight")}
    if files == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        index = {}
        for part, shard in enumerate(shards_of(state, files)):
            file = f"model-{part + 1:05}-of-{files:05}.safetensors"
            save_file(shard, folder / file, metadata={"format": "pt"})
            index |= {key: file for key in shard}
        write_json(folder / "model.safetensors.index.json", dict(metadata=dict(total_size=sum(t.nbytes for t in state.values())), weight_map=index))
    versions = dict(torch=torch.__version__.split("+")[0], transformers=transformers.__version__)
    write_json(folder / "golden.json", dict(made_by="make.py", versions=versions, tokens=tokens[0].tolist()))
    (folder / "logits.f32").write_bytes(logits.float().numpy().astype("<f4").tobytes())
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size <= 300_000, f"{name}: {size} bytes"
    print(f"{name}: {size} bytes, logits of variance {logits.var():.3f}")


for each in sys.argv[1:] or MODELS:
    make(each)
