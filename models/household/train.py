"""Trains the household model: a Qwen3 in PyTorch, small enough to ship.

    python3 generate.py data && python3 train.py data OUT [--steps 12000]

Writes `OUT/tokenizer.json` (a byte-level BPE with Qwen2's way of cutting text) and `OUT/model.safetensors`, and says how many of the held-out
examples it answers exactly, English and Chinese apart.
"""

import argparse
import json
import math
import pathlib
import time

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

START, END = "<|im_start|>", "<|im_end|>"
# How Qwen2 cuts text before it is encoded; llama.cpp calls it `qwen2`.
CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONFIG = {
    "hidden": 192, "layers": 6, "heads": 6, "kv_heads": 2, "head_dim": 32, "inner": 512, "vocab": 2048, "rope_base": 10000.0, "epsilon": 1e-6,
    "context": 512,
}


def prompt(text):
    """The chat that the model is asked by."""
    return f"{START}user\n{text}{END}\n{START}assistant\n"


def answer(intent):
    return json.dumps(intent, ensure_ascii=False, separators=(",", ":"))


def tokenizer(texts, size):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(CUT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", START, END]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return made


def rms(x, weight, epsilon):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight


class Model(torch.nn.Module):
    """Qwen3 (Yang et al., "Qwen3 Technical Report", 2025): grouped queries, norms of queries and keys, gated inner layers, rotary positions in
    halves; embeddings are tied. Names of weights are those of its published checkpoints."""

    def __init__(self, config):
        super().__init__()
        self.config = c = config
        weights = {"model.embed_tokens.weight": (c["vocab"], c["hidden"]), "model.norm.weight": (c["hidden"],)}
        for n in range(c["layers"]):
            at = f"model.layers.{n}."
            weights |= {
                at + "input_layernorm.weight": (c["hidden"],), at + "post_attention_layernorm.weight": (c["hidden"],),
                at + "self_attn.q_proj.weight": (c["heads"] * c["head_dim"], c["hidden"]),
                at + "self_attn.k_proj.weight": (c["kv_heads"] * c["head_dim"], c["hidden"]),
                at + "self_attn.v_proj.weight": (c["kv_heads"] * c["head_dim"], c["hidden"]),
                at + "self_attn.o_proj.weight": (c["hidden"], c["heads"] * c["head_dim"]),
                at + "self_attn.q_norm.weight": (c["head_dim"],), at + "self_attn.k_norm.weight": (c["head_dim"],),
                at + "mlp.gate_proj.weight": (c["inner"], c["hidden"]), at + "mlp.up_proj.weight": (c["inner"], c["hidden"]),
                at + "mlp.down_proj.weight": (c["hidden"], c["inner"]),
            }
        self.all = torch.nn.ParameterDict()
        for name, shape in weights.items():
            start = torch.ones(shape) if len(shape) == 1 else torch.randn(shape) * 0.02
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                start /= math.sqrt(2 * c["layers"])
            self.all[name.replace(".", "/")] = torch.nn.Parameter(start)
        half = c["head_dim"] // 2
        turns = c["rope_base"] ** (-torch.arange(half) / half)
        angles = torch.arange(c["context"])[:, None] * turns[None]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def weight(self, name):
        return self.all[f"{name}.weight".replace(".", "/")]

    def rotate(self, x):
        half = x.shape[-1] // 2
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, tokens):
        c, eps = self.config, self.config["epsilon"]
        batch, length = tokens.shape
        x = F.embedding(tokens, self.weight("model.embed_tokens"))
        for n in range(c["layers"]):
            at = f"model.layers.{n}."
            y = rms(x, self.weight(at + "input_layernorm"), eps)
            heads = lambda name, count: F.linear(y, self.weight(at + name)).view(batch, length, count, c["head_dim"]).transpose(1, 2)
            q, k, v = heads("self_attn.q_proj", c["heads"]), heads("self_attn.k_proj", c["kv_heads"]), heads("self_attn.v_proj", c["kv_heads"])
            q = self.rotate(rms(q, self.weight(at + "self_attn.q_norm"), eps))
            k = self.rotate(rms(k, self.weight(at + "self_attn.k_norm"), eps))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + F.linear(y.transpose(1, 2).reshape(batch, length, -1), self.weight(at + "self_attn.o_proj"))
            y = rms(x, self.weight(at + "post_attention_layernorm"), eps)
            inner = F.silu(F.linear(y, self.weight(at + "mlp.gate_proj"))) * F.linear(y, self.weight(at + "mlp.up_proj"))
            x = x + F.linear(inner, self.weight(at + "mlp.down_proj"))
        return rms(x, self.weight("model.norm"), eps)

    def logits(self, x):
        return F.linear(x, self.weight("model.embed_tokens"))


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def encoded(coder, examples):
    """Prompts and answers as tokens."""
    prompts = coder.encode_batch([prompt(one["text"]) for one in examples], add_special_tokens=False)
    answers = coder.encode_batch([answer(one["intent"]) + END for one in examples], add_special_tokens=False)
    return [(p.ids, a.ids) for p, a in zip(prompts, answers)]


def batches(pairs, size, rng):
    """For ever; those of about one length stand together."""
    while True:
        order = torch.randperm(len(pairs), generator=rng).tolist()
        for at in range(0, len(order) - 64 * size + 1, 64 * size):
            chunk = sorted(order[at : at + 64 * size], key=lambda n: len(pairs[n][0]) + len(pairs[n][1]))
            starts = torch.randperm(64, generator=rng).tolist()
            for start in starts:
                some = [pairs[n] for n in chunk[start * size : (start + 1) * size]]
                longest = max(len(p) + len(a) for p, a in some)
                tokens = torch.zeros(size, longest, dtype=torch.long)
                wanted = torch.full((size, longest), -100)
                for row, (p, a) in enumerate(some):
                    tokens[row, : len(p) + len(a)] = torch.tensor(p + a)
                    wanted[row, len(p) - 1 : len(p) + len(a) - 1] = torch.tensor(a)
                yield tokens, wanted


@torch.no_grad()
def right(model, coder, examples, most=400):
    """How many of the examples of each language are answered exactly, greedily; and some that are not."""
    end = coder.token_to_id(END)
    score, wrong = {}, []
    for one in examples[:most]:
        tokens = coder.encode(prompt(one["text"]), add_special_tokens=False).ids
        begin = len(tokens)
        while len(tokens) < begin + 64:
            following = model.logits(model(torch.tensor([tokens]))[0, -1]).argmax().item()
            if following == end:
                break
            tokens.append(following)
        said = coder.decode(tokens[begin:])
        good, all_of_them = score.get(one["lang"], (0, 0))
        score[one["lang"]] = (good + (said == answer(one["intent"])), all_of_them + 1)
        if said != answer(one["intent"]):
            wrong.append((one["text"], said))
    return score, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = torch.Generator().manual_seed(args.seed)
    train, held = read(args.data / "train.jsonl"), read(args.data / "held.jsonl")
    args.out.mkdir(parents=True, exist_ok=True)
    coder = tokenizer((text for one in train for text in (one["text"], answer(one["intent"]))), CONFIG["vocab"])
    coder.save(str(args.out / "tokenizer.json"))
    pairs = encoded(coder, train)
    model = Model(CONFIG)
    count = sum(p.numel() for p in model.parameters())
    print(f"{count} weights; {len(pairs)} examples of {sum(len(p) + len(a) for p, a in pairs) / len(pairs):.1f} tokens", flush=True)
    decay = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    adam = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=args.rate, betas=(0.9, 0.98))
    began, mean = time.monotonic(), None
    for step, (tokens, wanted) in zip(range(args.steps), batches(pairs, args.batch, rng)):
        warm = min(1.0, (step + 1) / 200)
        rate = args.rate * warm * (0.05 + 0.95 * (0.5 + 0.5 * math.cos(math.pi * step / args.steps)))
        for group in adam.param_groups:
            group["lr"] = rate
        x = model(tokens)
        asked = wanted >= 0
        loss = F.cross_entropy(model.logits(x[asked]), wanted[asked])
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {mean:.4f}, {(time.monotonic() - began) / (step + 1):.3f} s a step", flush=True)
        if (step + 1) % 2000 == 0 or step + 1 == args.steps:
            weights = {name.replace("/", "."): value.detach().clone() for name, value in model.all.items()}
            save_file(weights, str(args.out / "model.safetensors"))
            score, wrong = right(model, coder, held)
            print(f"step {step + 1}: held out {score}; wrong: {wrong[:8]}", flush=True)
    score, wrong = right(model, coder, held, len(held))
    print(json.dumps({"weights": count, "held": score, "wrong": wrong[:40]}, ensure_ascii=False))


if __name__ == "__main__":
    main()
