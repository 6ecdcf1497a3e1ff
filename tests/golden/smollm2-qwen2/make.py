#!/usr/bin/env python3
"""Logits of transformers for SmolLM2-135M written as a Qwen2 model with biases: what tests/e2e/qwen.test.ts compares with.

    node scripts/lib/qwen2.mjs .cache/gguf/SmolLM2-135M-Instruct.Q4_1.gguf DIR 0.1
    VENV/bin/python tests/golden/smollm2-qwen2/make.py DIR

with the packages of ../checkpoints/requirements.txt. golden.json has the tokens, the most likely token behind each, and the logits of every 512th token.
"""

import json
import pathlib
import sys

import torch
import transformers

STRIDE = 512
TEXT = "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it was the epoch of belief"

folder = pathlib.Path(sys.argv[1])
tokens = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")).encode(TEXT, add_special_tokens=False)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
with torch.no_grad():
    logits = model(torch.tensor([tokens]), use_cache=False).logits[0]
golden = dict(
    made_by="make.py",
    versions=dict(torch=torch.__version__.split("+")[0], transformers=transformers.__version__),
    text=TEXT,
    tokens=tokens,
    next=logits.argmax(-1).tolist(),
    stride=STRIDE,
    logits=[[round(value, 4) for value in row] for row in logits[:, ::STRIDE].tolist()],
)
path = pathlib.Path(__file__).parent / "golden.json"
path.write_text(json.dumps(golden) + "\n")
print(f"{path.stat().st_size} bytes, {len(tokens)} tokens")
