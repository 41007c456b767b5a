#!/usr/bin/env python3
"""Writes transformer.safetensors: what the model computes, according to a second implementation.

Independent of the C++ code: float64 PyTorch with automatic differentiation, written from the formulas of the MiniMax-01
report (arXiv 2501.08313): lightning attention in its quadratic masked form, softmax attention with grouped heads and partial
RoPE, DeepNorm residuals, top-2 experts with renormalised weights, a shared expert. Contents:

  weights.<name>   float32 start values           gradients.<name>  of the mean cross entropy at the start
  tokens, lengths  two sequences, one after other  logits            (rows, V), row t of a sequence predicts token t + 1
  losses           (10) float64, before each AdamW step

Usage: python3 make_transformer_golden.py OUT     (needs torch; run by hand, the result is committed)
"""
import json
import math
import struct
import sys

import torch

CONFIG = dict(vocab_size=40, hidden_size=16, intermediate_size=16, num_layers=3, num_heads=3, num_kv_heads=1, head_dim=16,
              rotary_dim=8, num_experts=4, top_k=2, shared_intermediate_size=16, attn_type=[0, 1, 0], rope_theta=1e4,
              rms_norm_eps=1e-5, lightning_norm_eps=1e-6, alpha_softmax=1.5, beta_softmax=0.75, alpha_lightning=1.25,
              beta_lightning=1.0, alpha_mlp=1.5, beta_mlp=1.25)
ADAMW = dict(lr=3e-3, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1)
LENGTHS = [76, 21]
c = type("Config", (), CONFIG)


def shapes():
    C, HD, KD, F, S = c.hidden_size, c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim, c.intermediate_size, c.shared_intermediate_size
    out = {"model.embed_tokens.weight": (c.vocab_size, C)}
    for l in range(c.num_layers):
        p = f"model.layers.{l}."
        out[p + "input_layernorm.weight"] = out[p + "post_attention_layernorm.weight"] = (C,)
        if c.attn_type[l]:
            out |= {p + "self_attn.q_proj.weight": (HD, C), p + "self_attn.k_proj.weight": (KD, C),
                    p + "self_attn.v_proj.weight": (KD, C), p + "self_attn.o_proj.weight": (C, HD)}
        else:
            out |= {p + "self_attn.qkv_proj.weight": (3 * HD, C), p + "self_attn.output_gate.weight": (HD, C),
                    p + "self_attn.norm.weight": (HD,), p + "self_attn.out_proj.weight": (C, HD)}
        out[p + "block_sparse_moe.gate.weight"] = (c.num_experts, C)
        for e in range(c.num_experts):
            q = f"{p}block_sparse_moe.experts.{e}."
            out |= {q + "w1.weight": (F, C), q + "w2.weight": (C, F), q + "w3.weight": (F, C)}
        out |= {p + "shared_mlp.gate_proj.weight": (S, C), p + "shared_mlp.up_proj.weight": (S, C),
                p + "shared_mlp.down_proj.weight": (C, S), p + "coefficient.weight": (1, C)}
    return out | {"model.norm.weight": (C,), "lm_head.weight": (c.vocab_size, C)}


def rmsnorm(x, w, eps):
    return w * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)


def slopes(H):
    if math.log2(H).is_integer():
        return [2 ** (-8 / H * (i + 1)) for i in range(H)]
    P = 2 ** math.floor(math.log2(H))
    return slopes(P) + slopes(2 * P)[0::2][: H - P]


def lightning(w, p, l, h):
    T, H, D = len(h), c.num_heads, c.head_dim
    q, k, v = torch.nn.functional.silu(h @ w[p + "qkv_proj.weight"].T).view(T, H, 3 * D).split(D, -1)
    s = torch.tensor(slopes(H), dtype=h.dtype) * (1 - l / (c.num_layers - 1) + 1e-5)
    i = torch.arange(T)
    distance = (i[:, None] - i[None, :]).clamp(min=0)
    decay = torch.exp(-s[:, None, None] * distance) * (i[:, None] >= i[None, :])
    o = torch.einsum("hij,jhd->ihd", torch.einsum("ihd,jhd->hij", q, k) * decay, v).reshape(T, H * D)
    o = rmsnorm(o, w[p + "norm.weight"], c.lightning_norm_eps) * torch.sigmoid(h @ w[p + "output_gate.weight"].T)
    return o @ w[p + "out_proj.weight"].T


def rope(x):
    half = c.rotary_dim // 2
    freq = c.rope_theta ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(len(x), dtype=x.dtype)[:, None, None] * freq
    a, b, rest = x[..., :half], x[..., half:c.rotary_dim], x[..., c.rotary_dim:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin(), rest], -1)


def softmax_attention(w, p, h):
    T, H, KV, D = len(h), c.num_heads, c.num_kv_heads, c.head_dim
    q = rope((h @ w[p + "q_proj.weight"].T).view(T, H, D))
    k = rope((h @ w[p + "k_proj.weight"].T).view(T, KV, D)).repeat_interleave(H // KV, 1)
    v = (h @ w[p + "v_proj.weight"].T).view(T, KV, D).repeat_interleave(H // KV, 1)
    score = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(D)
    score = score.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -math.inf)
    return torch.einsum("hij,jhd->ihd", score.softmax(-1), v).reshape(T, H * D) @ w[p + "o_proj.weight"].T


def mlp(gate, up, down, x):
    return (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T


margins = []


def experts(w, p, h):
    logits = h @ w[p + "block_sparse_moe.gate.weight"].T
    ordered = logits.detach().sort(descending=True).values
    margins.append((ordered[:, c.top_k - 1] - ordered[:, c.top_k]).min().item())
    prob, chosen = logits.softmax(-1).topk(c.top_k)
    prob = prob / prob.sum(-1, keepdim=True)
    y = torch.zeros_like(h)
    for e in range(c.num_experts):
        q = f"{p}block_sparse_moe.experts.{e}."
        share = (prob * (chosen == e)).sum(-1, keepdim=True)
        y = y + share * mlp(w[q + "w1.weight"], w[q + "w3.weight"], w[q + "w2.weight"], h)
    share = torch.sigmoid(h @ w[p + "coefficient.weight"].T)
    s = p + "shared_mlp."
    return (1 - share) * y + share * mlp(w[s + "gate_proj.weight"], w[s + "up_proj.weight"], w[s + "down_proj.weight"], h)


def model(w, tokens):
    x = w["model.embed_tokens.weight"][tokens]
    for l in range(c.num_layers):
        p = f"model.layers.{l}."
        h = rmsnorm(x, w[p + "input_layernorm.weight"], c.rms_norm_eps)
        if c.attn_type[l]:
            y = c.alpha_softmax * h + c.beta_softmax * softmax_attention(w, p + "self_attn.", h)
        else:
            y = c.alpha_lightning * h + c.beta_lightning * lightning(w, p + "self_attn.", l, h)
        h2 = rmsnorm(y, w[p + "post_attention_layernorm.weight"], c.rms_norm_eps)
        x = c.alpha_mlp * h2 + c.beta_mlp * experts(w, p, h2)
    return rmsnorm(x, w["model.norm.weight"], c.rms_norm_eps) @ w["lm_head.weight"].T


def forward(w, sequences):
    logits = torch.cat([model(w, s[:-1]) for s in sequences])
    return logits, torch.nn.functional.cross_entropy(logits, torch.cat([s[1:] for s in sequences]))


def main(out):
    torch.manual_seed(20)
    w = {}
    for name, shape in shapes().items():
        noise = torch.randn(shape, dtype=torch.float64)
        start = 1 + 0.2 * noise if len(shape) == 1 else 0.3 * noise
        w[name] = start.float().double().requires_grad_(True)
    sequences = [torch.randint(0, c.vocab_size, (n,)) for n in LENGTHS]
    files = {"weights." + n: t.detach().float() for n, t in w.items()}
    files["tokens"] = torch.cat(sequences).int()
    files["lengths"] = torch.tensor(LENGTHS).int()

    optimizer = torch.optim.AdamW(w.values(), **ADAMW)
    losses = []
    for step in range(10):
        optimizer.zero_grad()
        logits, loss = forward(w, sequences)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            files["logits"] = logits.detach().float()
            files |= {"gradients." + n: t.grad.float() for n, t in w.items()}
        optimizer.step()
    files["losses"] = torch.tensor(losses, dtype=torch.float64)
    print("losses", losses, "smallest routing margin", min(margins))
    assert min(margins) > 1e-5, "a routing decision is too close for fp32: take another seed"
    write(out, files)


def write(path, tensors):
    kinds = {torch.float32: "F32", torch.float64: "F64", torch.int32: "I32"}
    header, data = {"__metadata__": {"config": json.dumps(CONFIG), "adamw": json.dumps(ADAMW)}}, b""
    for name, t in tensors.items():
        raw = t.contiguous().numpy().tobytes()
        header[name] = {"dtype": kinds[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)
    print("wrote", path, 8 + len(text) + len(data), "bytes")


if __name__ == "__main__":
    main(sys.argv[1])
