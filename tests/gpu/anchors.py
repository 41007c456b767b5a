#!/usr/bin/env python3
"""What a user would pick instead, on the shapes of gpu_bench.cc: PyTorch (eager, compiled, SDPA, _grouped_mm, fused AdamW)
and flash-linear-attention. Prints one JSON object, seconds by case name; what cannot be run is null with the reason.
usage: anchors.py [SECONDS]: no case is begun after so many seconds"""
import json
import sys
import time

started = time.time()
limit = float(sys.argv[1]) if len(sys.argv) > 1 else 120.0
try:
    import torch
    import torch.nn.functional as F
    assert torch.cuda.is_available(), "torch sees no GPU"
except Exception as e:  # no torch, or one without CUDA: said in the result
    print(json.dumps({"torch": None, "why": f"{type(e).__name__}: {e}"}))
    sys.exit(0)

torch.manual_seed(0)
BF16 = torch.bfloat16
out = {"torch": torch.__version__, "device": torch.cuda.get_device_name()}


def seconds(f):
    """Median of 7 groups of 10 calls, timed from the host, as gpu_bench.cc does it."""
    f(), f()
    torch.cuda.synchronize()
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        for _ in range(10):
            f()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / 10)
    return sorted(times)[3]


def case(name, make):
    """make() builds the tensors and returns the call to time."""
    if time.time() - started > limit:
        out[name] = {"seconds": None, "why": "no time left"}
        return
    try:
        out[name] = {"seconds": seconds(make())}
    except Exception as e:
        out[name] = {"seconds": None, "why": f"{type(e).__name__}: {str(e).splitlines()[0][:160]}"}
    torch.cuda.empty_cache()


def randn(*shape, dtype=BF16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def linear(M, N, K, dtype):
    x, w = randn(M, K, dtype=dtype), randn(N, K, dtype=dtype)
    return lambda: F.linear(x, w)


def slopes(H):  # of MiniMax's first layer; fla's own lightning slopes are different, hence simple_gla
    return torch.tensor([2.0 ** (-8.0 * (h + 1) / H) for h in range(H)], device="cuda")


def lightning(B, T, backward=False):
    from fla.ops.simple_gla import chunk_simple_gla
    q, k, v = (randn(B, T, 16, 128).requires_grad_(backward) for _ in range(3))
    gamma = -slopes(16)
    if not backward:
        return lambda: chunk_simple_gla(q, k, v, g_gamma=gamma, scale=1.0)
    do = randn(B, T, 16, 128)

    def step():
        o, _ = chunk_simple_gla(q, k, v, g_gamma=gamma, scale=1.0)
        o.backward(do)
    return step


def lightning_decode(B):
    from fla.ops.simple_gla import fused_recurrent_simple_gla
    q, k, v = (randn(B, 1, 16, 128) for _ in range(3))
    state, gamma = randn(B, 16, 128, 128, dtype=torch.float32), -slopes(16)
    return lambda: fused_recurrent_simple_gla(q, k, v, g_gamma=gamma, scale=1.0, initial_state=state,
                                              output_final_state=True)


def gqa_decode(B, context):
    q, k, v = randn(B, 16, 1, 128), randn(B, 2, context, 128), randn(B, 2, context, 128)
    return lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def grouped(rows):
    E, N, K = 32, 2048, 2048
    x, w = randn(rows, K), randn(E, K, N)
    offsets = torch.arange(1, E + 1, device="cuda", dtype=torch.int32) * (rows // E)
    return lambda: torch._grouped_mm(x, w, offs=offsets)


def lm_head(N, C, V, compiled):
    h = randn(N, C, dtype=torch.float32).requires_grad_()
    w = randn(V, C, dtype=torch.float32).requires_grad_()
    y = torch.randint(0, V, (N,), device="cuda")

    def step():
        logprob = (h @ w.t()).log_softmax(-1)
        entropy = -(logprob.exp() * logprob).sum(-1)
        (logprob.gather(-1, y[:, None]).mean() + 0 * entropy.mean()).backward()
    return torch.compile(step) if compiled else step


def adamw(n):
    p = torch.nn.Parameter(randn(n, dtype=torch.float32))
    p.grad = torch.randn_like(p)
    return torch.optim.AdamW([p], lr=1e-5, fused=True).step


for M in (1, 16, 64, 512, 4096):
    case(f"linear bf16 {M}x4096x2048", lambda: linear(M, 4096, 2048, BF16))
for M in (1, 256, 2048):
    case(f"linear fp32 {M}x4096x2048", lambda: linear(M, 4096, 2048, torch.float32))
for B in (64, 256):
    case(f"lightning decode {B}x1", lambda: lightning_decode(B))
for B, T in ((1, 8192), (8, 4096)):
    case(f"lightning forward {B}x{T}", lambda: lightning(B, T))
    case(f"lightning forward+backward {B}x{T}", lambda: lightning(B, T, True))
for B, context in ((32, 4096), (128, 4096)):
    case(f"gqa decode {B}x{context}", lambda: gqa_decode(B, context))
for rows in (32, 256, 16384):
    case(f"grouped {rows}", lambda: grouped(rows))
case("adamw 67M", lambda: adamw(1 << 26))
case("lm head 4096x2048x32000", lambda: lm_head(4096, 2048, 32000, False))
case("lm head 4096x2048x32000 compiled", lambda: lm_head(4096, 2048, 32000, True))
print(json.dumps(out))
