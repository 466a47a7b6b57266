"""A classifier of texts of many lengths in plain torch: Embedding, bidirectional GRU over a PackedSequence, Linear."""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

VOCABULARY, SIZE, BATCH = 10000, 64, 64


class Model(nn.Module):
    """Token ids (B, T) and lengths (B,) to logits (B,)."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, SIZE, padding_idx=0)
        self.rnn = nn.GRU(SIZE, SIZE, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * SIZE, 1)

    def forward(self, tokens, lengths):
        """The last state of both directions decides."""
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, last = self.rnn(packed)
        return self.output(torch.cat([last[0], last[1]], -1)).squeeze(-1)


def batch():
    """Texts of lengths like reviews', with a label that one of their words gives away."""
    lengths = torch.empty(BATCH).log_normal_(5.0, 0.6).clamp(10, 500).long()
    tokens = torch.randint(10, VOCABULARY, (BATCH, int(lengths.max())))
    labels = torch.randint(0, 2, (BATCH,))
    tokens[:, 5] = 1 + labels
    tokens[torch.arange(tokens.shape[1]) >= lengths[:, None]] = 0
    return tokens, lengths, labels.float()


def main():
    """Train, and say the loss and the seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    batches = [batch() for _ in range(max(1, round(12 * options.scale)))]
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start, total = time.perf_counter(), 0.0
    for tokens, lengths, labels in batches:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(model(tokens, lengths), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"{len(batches)} batches | loss {total / len(batches):.4f} | {time.perf_counter() - start:.3f} s")


if __name__ == "__main__":
    main()
