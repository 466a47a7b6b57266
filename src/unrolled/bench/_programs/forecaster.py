"""A forecaster in plain torch: a two-layer GRU reads a week of hours and says the next day."""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional

CHANNELS, SIZE, BATCH, PAST, AHEAD = 8, 64, 64, 168, 24


class Model(nn.Module):
    """Hours (B, 168, C) to the next 24 of all channels (B, 24, C)."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(CHANNELS, SIZE, num_layers=2, batch_first=True, dropout=0.1)
        self.output = nn.Linear(SIZE, AHEAD * CHANNELS)

    def forward(self, x):
        """From the state after the last hour."""
        output, _ = self.rnn(x)
        return self.output(output[:, -1]).unflatten(-1, (AHEAD, CHANNELS))


def series(hours):
    """Days and weeks with noise, (hours, C)."""
    t = torch.arange(hours)[:, None] / 24
    phase = torch.rand(CHANNELS)
    return torch.sin(6.283 * (t + phase)) + 0.5 * torch.sin(6.283 * t / 7) + 0.1 * torch.randn(hours, CHANNELS)


def main():
    """Train, and say the loss and the seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data, batches = series(5000), max(1, round(40 * options.scale))
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    start, total = time.perf_counter(), 0.0
    for _ in range(batches):
        first = torch.randint(0, len(data) - PAST - AHEAD, (BATCH,))
        window = data[first[:, None] + torch.arange(PAST + AHEAD)]
        optimizer.zero_grad()
        loss = functional.mse_loss(model(window[:, :PAST]), window[:, PAST:])
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"{batches} batches | loss {total / batches:.4f} | {time.perf_counter() - start:.3f} s")


if __name__ == "__main__":
    main()
