#!/usr/bin/env python3
"""What a user would pick instead, on the cases of gpu_bench.cc by the same names: PyTorch (eager, compiled, SDPA,
_grouped_mm, fused AdamW) and flash-linear-attention. One JSON object: {"cases": {case: {rival: {"seconds": s}}}};
what cannot be run is null with the reason. Theirs are bf16 in and out where ours read and write fp32 activations.
usage: anchors.py [--cpu] [SECONDS [JSON]]: no case is begun after so many seconds; JSON is written after every case, or
without a name printed at the end. --cpu: the calls with small tensors on the host, to see that they are right"""
import json
import math
import os
import sys
import time

started = time.time()
arguments = [a for a in sys.argv[1:] if a != "--cpu"]
on_cpu = "--cpu" in sys.argv
limit = float(arguments[0]) if arguments else 120.0
result = {"torch": None, "cases": {}}


def write():
    if len(arguments) < 2:
        return
    with open(arguments[1] + ".new", "w") as f:
        json.dump(result, f)
    os.replace(arguments[1] + ".new", arguments[1])


def finish():
    write()
    if len(arguments) < 2:
        print(json.dumps(result))
    sys.exit(0)


try:
    import torch
    import torch.nn.functional as F
    assert on_cpu or torch.cuda.is_available(), "torch sees no GPU"
except Exception as e:  # no torch, or one without CUDA: said in the result
    result["why"] = f"{type(e).__name__}: {e}"[:300]
    finish()

torch.manual_seed(0)
torch.backends.cuda.matmul.allow_tf32 = False
BF16 = torch.bfloat16
DEVICE = "cpu" if on_cpu else "cuda"
result.update(torch=torch.__version__, device="cpu" if on_cpu else torch.cuda.get_device_name())
cases = result["cases"]
slow = []  # compiled: their compilers take long, so they come last


def synchronize():
    if not on_cpu:
        torch.cuda.synchronize()


def small(n, least=256):
    """A length of a tensor: as it is, or on the host some of it."""
    return min(n, least) if on_cpu else n


def seconds(f):
    """Median of 7 groups of 10 calls, timed from the host, as gpu_bench.cc does it."""
    groups, calls = (1, 1) if on_cpu else (7, 10)
    f(), f()
    synchronize()
    times = []
    for _ in range(groups):
        begin = time.perf_counter()
        for _ in range(calls):
            f()
        synchronize()
        times.append((time.perf_counter() - begin) / calls)
    return sorted(times)[groups // 2]


def case(name, rival, make):
    """make() builds the tensors and returns the call to time."""
    if time.time() - started > limit:
        cases.setdefault(name, {})[rival] = {"seconds": None, "why": "no time left"}
        return write()
    try:
        outcome = {"seconds": seconds(make())}
    except Exception as e:
        outcome = {"seconds": None, "why": f"{type(e).__name__}: {(str(e).splitlines() or [''])[0][:160]}"}
    cases.setdefault(name, {})[rival] = outcome
    write()
    if not on_cpu:
        torch.cuda.empty_cache()


def compiled(name, make):
    def build():
        torch.compiler.reset()
        return torch.compile(make())
    slow.append((name, build))


def randn(*shape, dtype=BF16):
    return torch.randn(*shape, device=DEVICE, dtype=dtype)


def linear(M, N, K, dtype):  # few rows take turns with eight weights, which L2 does not hold
    M, N, K = small(M), small(N), small(K)
    x, w, turn = randn(M, K, dtype=dtype), [randn(N, K, dtype=dtype) for _ in range(8 if M <= 64 else 1)], [0]

    def call():
        turn[0] += 1
        return F.linear(x, w[turn[0] % len(w)])
    return call


def slopes(H):  # of MiniMax's first layer; fla's own lightning slopes are different, hence simple_gla
    base = 2.0 ** (-(2.0 ** -(math.log2(H) - 3)))
    return torch.tensor([base ** (h + 1) for h in range(H)], device=DEVICE)


def lightning(B, T, backward=False):
    from fla.ops.simple_gla import chunk_simple_gla
    T = small(T, 1024)
    q, k, v = (randn(B, T, 16, 128).requires_grad_(backward) for _ in range(3))
    gamma = -slopes(16)
    if not backward:
        return lambda: chunk_simple_gla(q, k, v, g_gamma=gamma, scale=1.0)
    do = randn(B, T, 16, 128)

    def step():
        o, _ = chunk_simple_gla(q, k, v, g_gamma=gamma, scale=1.0)
        o.backward(do)
    return step


def lightning_blocks(B, T):
    """As the Hugging Face model does it: blocks of 256."""
    H, C, T = 16, 256, small(T, 1024)
    q, k, v = (randn(B, H, T, 128) for _ in range(3))
    s, a = slopes(H).view(1, H, 1, 1), torch.arange(C, device=DEVICE, dtype=torch.float32)
    mask = torch.where(a[:, None] >= a, torch.exp(-s * (a[:, None] - a).clamp(min=0)), 0.0).to(BF16)
    q_decay, k_decay = torch.exp(-s * (a + 1).view(C, 1)).to(BF16), torch.exp(-s * (C - 1 - a).view(C, 1)).to(BF16)
    block = torch.exp(-s * C)

    def call():
        state, out = torch.zeros(B, H, 128, 128, device=DEVICE), []
        for t in range(0, T, C):
            qi, ki, vi = (x[:, :, t:t + C] for x in (q, k, v))
            out.append(((qi @ ki.transpose(-1, -2)) * mask) @ vi + (qi * q_decay) @ state.to(BF16))
            state = block * state + (ki * k_decay).transpose(-1, -2) @ vi
        return torch.cat(out, 2)
    return call


def lightning_decode(B):
    from fla.ops.simple_gla import fused_recurrent_simple_gla
    q, k, v = (randn(B, 1, 16, 128) for _ in range(3))
    state, gamma = randn(B, 16, 128, 128, dtype=torch.float32), -slopes(16)
    return lambda: fused_recurrent_simple_gla(q, k, v, g_gamma=gamma, scale=1.0, initial_state=state,
                                              output_final_state=True)


def lightning_decode_torch(B):
    q, k, v = (randn(B, 16, 128) for _ in range(3))
    state, decay = randn(B, 16, 128, 128, dtype=torch.float32), torch.exp(-slopes(16)).view(1, 16, 1, 1)

    def call():
        state.mul_(decay).add_(k.float()[..., :, None] * v.float()[..., None, :])
        return q.float()[..., None, :] @ state
    return call


def gqa_decode(B, context):
    B, context = small(B, 4), small(context)
    q, k, v = randn(B, 16, 1, 128), randn(B, 2, context, 128), randn(B, 2, context, 128)
    return lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def attention(B, T, backward):
    B, T = small(B, 2), small(T)
    q = randn(B, 16, T, 128).requires_grad_(backward)
    k, v = (randn(B, 2, T, 128).requires_grad_(backward) for _ in range(2))
    if not backward:
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    do = randn(B, 16, T, 128)
    return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).backward(do)


def grouped(rows):
    E, N, K, rows = 32, small(2048), small(2048), small(rows, 320)
    x, w = randn(rows, K), randn(E, N, K).transpose(1, 2)  # column-major, as a linear layer's weight is
    offsets = torch.arange(1, E + 1, device=DEVICE, dtype=torch.int32) * (rows // E)
    return lambda: torch._grouped_mm(x, w, offs=offsets)


def expert_loop(rows):
    E, N, K, rows = 32, small(2048), small(2048), small(rows, 320)
    x, w, y, n = randn(rows, K), randn(E, N, K), randn(rows, N), rows // E

    def call():
        for e in range(E):
            torch.mm(x[e * n:(e + 1) * n], w[e].t(), out=y[e * n:(e + 1) * n])
    return call


def lm_head(N, C, V, dtype, backward):
    N, C, V = small(N), small(C), small(V)
    h, w = randn(N, C, dtype=dtype).requires_grad_(backward), randn(V, C, dtype=dtype).requires_grad_(backward)
    y = torch.randint(0, V, (N,), device=DEVICE)

    def call():
        logprob = (h @ w.t()).float().log_softmax(-1)
        with torch.no_grad():
            entropy = -(logprob.exp() * logprob).sum(-1)
        chosen = logprob.gather(-1, y[:, None])
        if backward:
            chosen.mean().backward()
        return chosen, entropy
    return call


def adamw(n, **how):
    p = torch.nn.Parameter(randn(small(n), dtype=torch.float32))
    p.grad = torch.randn_like(p)
    return torch.optim.AdamW([p], lr=1e-5, **how).step


for B in (64, 256):
    name = f"lightning decode {B}x1"
    case(name, "fla fused_recurrent_simple_gla", lambda: lightning_decode(B))
    case(name, "torch eager", lambda: lightning_decode_torch(B))
    compiled(name, lambda B=B: lightning_decode_torch(B))
for B, T in ((1, 8192), (8, 4096)):
    case(f"lightning forward {B}x{T}", "fla chunk_simple_gla", lambda: lightning(B, T))
    case(f"lightning forward {B}x{T}", "torch eager, blocks", lambda: lightning_blocks(B, T))
    case(f"lightning forward+backward {B}x{T}", "fla chunk_simple_gla", lambda: lightning(B, T, True))
for B, context in ((32, 4096), (128, 4096)):
    case(f"gqa decode {B}x{context}", "torch SDPA", lambda: gqa_decode(B, context))
for rows in (32, 256, 16384):
    case(f"grouped {rows}", "torch._grouped_mm", lambda: grouped(rows))
    case(f"grouped {rows}", "torch eager, loop", lambda: expert_loop(rows))
case("adamw 67M", "torch fused", lambda: adamw(1 << 26, fused=True))
case("adamw 67M", "torch foreach", lambda: adamw(1 << 26, foreach=True))
for backward, what in ((False, "forward"), (True, "forward+backward")):
    case(f"attention {what} 8x4096", "torch SDPA", lambda: attention(8, 4096, backward))
    for dtype, t in ((BF16, "bf16"), (torch.float32, "fp32")):
        name = f"lm head {what} {t} 4096x2048x32000"
        case(name, "torch eager", lambda: lm_head(4096, 2048, 32000, dtype, backward))
        compiled(name, lambda d=dtype, b=backward: lm_head(4096, 2048, 32000, d, b))
    case(f"lm head {what} bf16 16384x2048x32000", "torch eager", lambda: lm_head(16384, 2048, 32000, BF16, backward))
for M in (1, 16, 64, 512, 4096):
    case(f"linear bf16 {M}x4096x2048", "torch eager", lambda: linear(M, 4096, 2048, BF16))
for M in (1, 256, 2048):
    case(f"linear fp32 {M}x4096x2048", "torch eager", lambda: linear(M, 4096, 2048, torch.float32))
for name, build in slow:
    case(name, "torch compiled", build)
finish()
