"""PhoneLM in torch, from its published definition: RMS norm, full rotary embedding with 8-bit tables, gated ReLU, no biases."""

import dataclasses

import torch
from torch import nn


@dataclasses.dataclass
class Config:
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    tie_word_embeddings: bool
    bos_token_id: int
    eos_token_id: int
    hidden_act: str = "relu"
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    model_type: str = "phonelm"
    architectures: tuple = ("PhoneLMForCausalLM",)

    def to_dict(self):
        return dataclasses.asdict(self)


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rounded(table):
    """To 8 bits, with one scale for the whole table."""
    scale = table.abs().max() / 127
    return torch.round(table / scale) * scale


def rotary(config):
    half = config.head_dim // 2
    frequencies = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(config.max_position_embeddings, dtype=torch.float64)[:, None] * frequencies
    return rounded(angles.cos()).float(), rounded(angles.sin()).float()


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        size = config.num_attention_heads * config.head_dim
        kv = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, size, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv, bias=False)
        self.o_proj = nn.Linear(size, config.hidden_size, bias=False)

    def forward(self, x, cos, sin):
        c = self.config
        rows = x.shape[1]
        split = lambda y, heads: y.view(1, rows, heads, c.head_dim).transpose(1, 2)
        q = rotate(split(self.q_proj(x), c.num_attention_heads), cos, sin)
        k = rotate(split(self.k_proj(x), c.num_key_value_heads), cos, sin)
        v = split(self.v_proj(x), c.num_key_value_heads)
        groups = c.num_attention_heads // c.num_key_value_heads
        scores = q @ k.repeat_interleave(groups, 1).transpose(2, 3) / c.head_dim**0.5
        scores = scores.masked_fill(torch.ones(rows, rows, dtype=torch.bool).triu(1), float("-inf"))
        y = scores.softmax(-1) @ v.repeat_interleave(groups, 1)
        return self.o_proj(y.transpose(1, 2).reshape(1, rows, -1))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(torch.relu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = Mlp(config)
        self.input_layernorm = Norm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = Norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)


class PhoneLM(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Body(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, tokens):
        cos, sin = (table[: tokens.shape[1]] for table in rotary(self.config))
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return self.lm_head(self.model.norm(x))
