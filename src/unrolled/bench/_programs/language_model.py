"""A word language model in plain torch: Embedding, a two-layer LSTM whose state is carried on, a tied decoder."""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional

VOCABULARY, SIZE, BATCH, STEPS = 5000, 128, 32, 35


class Model(nn.Module):
    """Token ids (T, B) and a state to logits (T, B, V) and the next state."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Embedding(VOCABULARY, SIZE)
        self.rnn = nn.LSTM(SIZE, SIZE, num_layers=2, dropout=0.2)
        self.drop = nn.Dropout(0.2)
        self.decoder = nn.Linear(SIZE, VOCABULARY)
        self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)

    def forward(self, tokens, state=None):
        """One stretch of text."""
        output, state = self.rnn(self.drop(self.encoder(tokens)), state)
        return self.decoder(self.drop(output)), state


def corpus(length):
    """Words with frequencies like Zipf's, each often followed by the same other."""
    words = torch.distributions.Categorical(1.0 / torch.arange(1, VOCABULARY + 1)).sample((length,))
    follower = torch.randperm(VOCABULARY)
    for i in range(1, length, 2):
        words[i] = follower[words[i - 1]]
    return words.reshape(BATCH, -1).T.contiguous()


def main():
    """Train, and say the loss and the seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    batches = max(1, round(60 * options.scale))
    text = corpus(BATCH * (batches * STEPS + 1))
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    start, state, total = time.perf_counter(), None, 0.0
    for i in range(0, batches * STEPS, STEPS):
        state = None if state is None else tuple(part.detach() for part in state)
        optimizer.zero_grad()
        logits, state = model(text[i : i + STEPS], state)
        loss = functional.cross_entropy(logits.flatten(0, 1), text[i + 1 : i + STEPS + 1].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        total += loss.item()
    print(f"{batches} batches | loss {total / batches:.4f} | {time.perf_counter() - start:.3f} s")


if __name__ == "__main__":
    main()
