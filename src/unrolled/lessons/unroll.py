"""From an MLP to a recurrent network: make the hidden layers identical, then roll them into one.

Notation: x input (D), h hidden state (H), y output (O), L hidden layers. A layer that reads the input x_t beside
the state of the layer before it gets both as one longer vector [x_t, h_{t-1}]; then W = [W_xh W_hh]:

    h_t = tanh(W [x_t, h_{t-1}] + b) = tanh(W_xh x_t + W_hh h_{t-1} + b)
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import drawing
from ..drawing import PURPLE, QUIET, STYLES, Drawing
from . import Lesson, Narrator, numbers, option

Array = np.ndarray
Curve = tuple[list[int], list[float]]
RECURRENCE = "h_t = tanh(W_xh x_t + W_hh h_{t-1} + b)"

SOUNDS = {"dog": "barked", "cat": "meowed", "cow": "mooed", "duck": "quacked"}
WHERE = ("past", "over", "round", "behind", "under")
WHAT = ("barn", "hill", "house", "bridge", "tree", "river", "fence", "well")
WORDS = np.array([".", *SOUNDS, *SOUNDS.values(), "ran", "the", "and", *WHERE, *WHAT])
ID = {word: k for k, word in enumerate(WORDS)}
CANDIDATES = [ID[sound] for sound in SOUNDS.values()]


@dataclass
class Layer:
    """h = tanh(W z + b)."""

    w: Array  # (H, I)
    b: Array  # (H,)

    def __call__(self, z: Array) -> Array:
        return np.tanh(self.w @ z + self.b)


def new_layer(rng: np.random.Generator, outputs: int, inputs: int) -> Layer:
    """Random weights and biases."""
    return Layer(rng.normal(size=(outputs, inputs)) / np.sqrt(inputs), 0.1 * rng.normal(size=outputs))


def count(*layers: Layer) -> int:
    """Weights and biases together."""
    return sum(layer.w.size + layer.b.size for layer in layers)


def stacked(layers: list[Layer], inputs: list[Array], h: Array) -> list[Array]:
    """The states after each of several layers; each reads its input beside the state of the layer before it."""
    states = []
    for layer, x in zip(layers, inputs):
        h = layer(np.concatenate([x, h]))
        states.append(h)
    return states


def rolled(layer: Layer, inputs: list[Array], h: Array) -> list[Array]:
    """The states of one recurrent layer: the same layer at every step, with an arrow to itself."""
    states = []
    for x in inputs:
        h = layer(np.concatenate([x, h]))
        states.append(h)
    return states


def gradient_of_each_layer(layers: list[Layer], inputs: list[Array], h: Array, dh: Array) -> list[Layer]:
    """How the loss moves with W and b of each layer: backpropagation, from dh, how it moves with the last state."""
    states = [h, *stacked(layers, inputs, h)]
    gradients = []
    for layer, x, before, after in reversed(list(zip(layers, inputs, states, states[1:]))):
        da = dh * (1 - after**2)  # (H,)   tanh' = 1 - tanh^2
        gradients.append(Layer(np.outer(da, np.concatenate([x, before])), da))
        dh = (layer.w.T @ da)[len(x) :]
    return gradients[::-1]


def gradient_of_shared_layer(layer: Layer, loss: Callable[[Layer], Any]) -> Layer:
    """How the loss moves with the one shared W and b, by experiment instead of backpropagation.

    A number moved by 1e-20 along the imaginary axis moves the loss by 1e-20 times the derivative along that axis,
    exact to the last digit (the complex step of Squire and Trapp, 1998).
    """
    found = deepcopy(layer)
    moved = Layer(layer.w.astype(complex), layer.b.astype(complex))
    for gradient, part in ((found.w, moved.w), (found.b, moved.b)):
        for place in np.ndindex(gradient.shape):
            part[place] += 1e-20j
            gradient[place] = loss(moved).imag / 1e-20
            part[place] -= 1e-20j
    return found


def make_sentences(rng: np.random.Generator, phrases: int, middles: int) -> Array:
    """Word ids, (middles, 4, T): "dog ran over the hill and barked", each middle with each of the four animals."""
    found: set[tuple[str, ...]] = set()
    while len(found) < min(middles, (len(WHERE) * len(WHAT)) ** phrases):
        found.add(tuple(w for _ in range(phrases) for w in (rng.choice(WHERE), "the", rng.choice(WHAT))))
    made = [[(a, "ran", *m, "and", s) for a, s in SOUNDS.items()] for m in rng.permutation(sorted(found))]
    return np.array([[[ID[word] for word in sentence] for sentence in four] for four in made])


class NextWord:
    """Guesses each next word from the last `window` words and, if it has a memory, from its state before them.

        h_t = tanh(W_0 x_t + W_1 x_{t-1} + ... + W_hh h_{t-1} + b)       y_t = W_hy h_t + b_y

    With memory and a window of one word this is the recurrent network; without memory (no W_hh) it is an MLP.
    """

    def __init__(self, rng: np.random.Generator, units: int, window: int, memory: bool) -> None:
        self.window, self.memory, words = window, memory, len(WORDS)
        # A word is one-hot, so that W x is a row of a table, looked up by the word's number.
        self.weights = {"tables": 0.1 * rng.normal(size=(window, words, units)), "b": np.zeros(units)}
        self.weights |= {"hy": rng.normal(size=(units, words)) / np.sqrt(units), "by": np.zeros(words)}
        if memory:  # begins as the identity, which passes the state on unchanged (Le, Jaitly and Hinton 2015)
            self.weights["hh"] = np.eye(units)
        self.squares = {name: np.zeros_like(weights) for name, weights in self.weights.items()}

    def seen(self, words: Array) -> list[Array]:
        """The words 0, 1, 2 ... steps ago, each (B, T); before a sentence stand full stops."""
        padded = np.pad(words, ((0, 0), (self.window - 1, 0)))
        return [padded[:, self.window - 1 - back :][:, : words.shape[1]] for back in range(self.window)]

    def states(self, words: Array) -> Array:
        """h_t after each word, (B, T, H), of words (B, T)."""
        looked_up = (table[ids] for table, ids in zip(self.weights["tables"], self.seen(words)))
        a = sum(looked_up) + self.weights["b"]
        h = np.zeros_like(a)
        for t in range(words.shape[1]):
            carried = h[:, t - 1] @ self.weights["hh"] if self.memory and t else 0.0
            h[:, t] = np.tanh(a[:, t] + carried)
        return h

    def probabilities(self, h: Array) -> Array:
        """softmax(y_t), (..., V)."""
        e = np.exp(h @ self.weights["hy"] + self.weights["by"])
        return e / e.sum(-1, keepdims=True)

    def learn(self, sentences: Array) -> None:
        """One step of RMSprop on the cross-entropy of every next word: backpropagation through time."""
        words, targets = sentences[:, :-1], sentences[:, 1:]
        h = self.states(words)
        dy = self.probabilities(h) - np.eye(len(WORDS))[targets]  # (B, T, V)
        da, dh = np.zeros_like(h), dy @ self.weights["hy"].T
        for t in reversed(range(words.shape[1])):
            da[:, t] = dh[:, t] * (1 - h[:, t] ** 2)
            if self.memory and t:
                dh[:, t - 1] += da[:, t] @ self.weights["hh"].T  # one step back through time
        gradients = {"hy": np.einsum("bth,btv->hv", h, dy), "by": dy.sum((0, 1)), "b": da.sum((0, 1))}
        gradients["tables"] = np.zeros_like(self.weights["tables"])
        for table, ids in zip(gradients["tables"], self.seen(words)):
            np.add.at(table, ids, da)
        if self.memory:
            gradients["hh"] = np.einsum("bth,btk->hk", h[:, :-1], da[:, 1:])
        for name, gradient in gradients.items():
            self.squares[name] = 0.9 * self.squares[name] + 0.1 * gradient**2
            self.weights[name] -= 0.002 * gradient / np.sqrt(self.squares[name] + 1e-7)

    def last_word(self, sentences: Array) -> tuple[Array, Array]:
        """The probability of each of the four sounds as the last word, (B, 4), and of the true one, (B,)."""
        p = self.probabilities(self.states(sentences[:, :-1])[:, -1])[:, CANDIDATES]
        p /= p.sum(-1, keepdims=True)
        return p, p[np.arange(len(p)), np.searchsorted(CANDIDATES, sentences[:, -1])]


def train(network: NextWord, sentences: Array, held_out: Array, rng: np.random.Generator, most: int) -> Curve:
    """Steps of 32 sentences until all of them are won, and the mean probability of held-out last words after them."""
    steps, curve = [0], [float(network.last_word(held_out)[1].mean())]
    while steps[-1] < most and network.last_word(sentences)[1].min() < 0.9:
        for batch in rng.choice(len(sentences), (5, 32)):
            network.learn(sentences[batch])
        steps.append(steps[-1] + 5)
        curve.append(float(network.last_word(held_out)[1].mean()))
    return steps, curve


@dataclass
class Unroll(Lesson):
    """A deep MLP whose hidden layers are made identical is a recurrent network, unrolled."""

    title = "From an MLP to a recurrent network, and why the next word needs one"
    minutes = "a few seconds"
    aliases = ("mlp",)

    inputs: int = option(3, "Numbers in an input.", least=1)
    hidden: int = option(4, "Numbers in a hidden layer.", least=1)
    outputs: int = option(2, "Numbers in the output.", least=1)
    layers: int = option(3, "Hidden layers, which become time steps.", least=2)
    phrases: int = option(2, "Phrases of three words between the first word and the last.", least=1, most=3)
    window: int = option(4, "Words that the MLP sees when it guesses the next.", least=1, most=5)
    units: int = option(64, "Hidden units of both networks that guess the next word.", least=48)

    def run(self, say: Narrator) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        xs = list(rng.uniform(-1, 1, size=(self.layers, self.inputs)))
        out = new_layer(rng, self.outputs, self.hidden)
        shared = new_layer(rng, self.hidden, self.inputs + self.hidden)
        figures = self.own_weights(say, rng, out, xs[0])
        figures |= self.same_weights(say, shared, out, xs)
        figures |= self.rolled_up(say, shared, out, xs)
        return figures | self.next_word(say, rng)

    def own_weights(self, say: Narrator, rng: np.random.Generator, out: Layer, x: Array) -> dict[str, Any]:
        say.step("1. An MLP")
        say("An input layer, one hidden layer, an output layer: h_1 = tanh(W_1 x + b_1), y = W_y h_1 + b_y.")
        layers = [new_layer(rng, self.hidden, self.inputs)]
        show_activations(say, layers, x, out)
        say.step(f"2. A deeper one: {self.layers} hidden layers")
        say("Each hidden layer has weights and biases of its own: h_l = tanh(W_l h_{l-1} + b_l).")
        layers += [new_layer(rng, self.hidden, self.hidden) for _ in range(self.layers - 1)]
        states = show_activations(say, layers, x, out)
        d, h, o, n = self.inputs, self.hidden, self.outputs, self.layers - 1
        formula, found = d * h + h + n * (h * h + h) + h * o + o, count(*layers, out)
        say.claim(
            "each hidden layer is characterised by its own weights and biases",
            f"{d}x{h}+{h} + {n} times {h}x{h}+{h} + {h}x{o}+{o} = {formula}; counted: {found} parameters",
            formula == found,
        )
        say.picture("unroll-1-own-weights", draw_own(layers, x, states, out))
        return {"deep_parameters": found}

    def same_weights(self, say: Narrator, shared: Layer, out: Layer, xs: list[Array]) -> dict[str, Any]:
        say.step("3. All hidden layers made identical, and the inputs fed one by one")
        say(
            "Now every hidden layer has the same W and b, and layer t reads input x_t beside the state of the layer "
            f"before it: {RECURRENCE}, where W = [W_xh W_hh] and h_0 = 0."
        )
        states = stacked([shared] * self.layers, xs, np.zeros(self.hidden))
        rows = [(t, numbers(x), numbers(h)) for t, (x, h) in enumerate(zip(xs, states), start=1)]
        say.table(["t", "x_t", "h_t"], rows)
        d, h, one = self.inputs, self.hidden, count(shared)
        say.claim(
            "to combine the hidden layers, they get the same weights and biases",
            f"{h}x{d} + {h}x{h} + {h} = {one} numbers serve all {self.layers} hidden layers",
            one == h * d + h * h + h,
        )
        say.picture("unroll-2-same-weights", draw_same(shared, xs, states, out))
        return {"shared_parameters": count(shared, out)}

    def rolled_up(self, say: Narrator, shared: Layer, out: Layer, xs: list[Array]) -> dict[str, Any]:
        say.step("4. Rolled into one recurrent layer")
        say("One layer and a loop over the inputs: its state goes back into itself through W_hh.")
        copies, h_0 = [deepcopy(shared) for _ in xs], np.zeros(self.hidden)
        apart, together = stacked(copies, xs, h_0), rolled(shared, xs, h_0)
        say.claim(
            "the hidden layers can be rolled together into a single recurrent layer",
            f"the {self.layers} states of {self.layers} separate layers and of the one layer are equal to the bit",
            all(np.array_equal(a, b) for a, b in zip(apart, together)),
        )
        say("How the sum of the outputs moves with b, in each separate layer and in the one that is shared:")
        each = gradient_of_each_layer(copies, xs, h_0, out.w.sum(0))
        one = gradient_of_shared_layer(shared, lambda layer: (out.w @ rolled(layer, xs, h_0)[-1]).sum())
        rows = [*((f"layer {t}", numbers(g.b)) for t, g in enumerate(each, 1)), ("shared", numbers(one.b))]
        say.table(["", "gradient of b"], rows)
        parts = ((sum(g.w for g in each), one.w), (sum(g.b for g in each), one.b))
        differ = max(float(np.abs(summed - shared_one).max()) for summed, shared_one in parts)
        say.claim(
            "the gradient of a shared weight is the sum over the layers that share it",
            f"sum over {self.layers} layers against the one layer: largest difference {differ:.1e} in float64",
            differ <= 1e-12,
        )
        say.picture("unroll-3-rolled", draw_rolled(xs, together, out))
        return {"gradient_difference": differ}

    def next_word(self, say: Narrator, rng: np.random.Generator) -> dict[str, Any]:
        say.step("5. What the memory is for: the next word")
        made = make_sentences(rng, self.phrases, middles=120)
        gap, cut = made.shape[-1] - 1, 2 * len(made) // 3
        learn, held_out = made[:cut].reshape(-1, gap + 1), made[cut:].reshape(-1, gap + 1)
        say(
            f"A dog barked, a cat meowed, a cow mooed, a duck quacked. In '{' '.join(WORDS[learn[0]])}' the last word "
            f"depends on the first, {gap} words before it. Both networks learn to guess every next word of "
            f"{len(learn)} sentences; the middles of {len(held_out)} others, held out, occur in none of them."
        )
        rnn = NextWord(rng, self.units, 1, memory=True)
        mlp = NextWord(rng, self.units, self.window, memory=False)
        lines = {"recurrent network": train(rnn, learn, held_out, rng, most=1500)}
        steps = lines["recurrent network"][0][-1]
        lines[f"MLP on the last {self.window} words"] = train(mlp, learn, held_out, rng, most=steps)
        for name, network in zip(lines, (rnn, mlp)):
            parameters = sum(weights.size for weights in network.weights.values())
            say(f"The {name} ({parameters:,} parameters), asked about held-out sentences:")
            rows = zip(WORDS[held_out[:4, :-1]], network.last_word(held_out[:4])[0])
            say.table(["", *SOUNDS.values()], [(" ".join(s), *map("{:.2f}".format, p)) for s, p in rows])
        answers = (network.last_word(held_out) for network in (mlp, rnn))
        guessed, known = (float((p.max(-1) == of_truth).mean()) for p, of_truth in answers)
        say.claim(
            f"an MLP with a window of {self.window} words cannot know: it sees the same words whatever the animal",
            f"{guessed:.1%} of held-out last words right; chance among four is 25%",
            guessed == 0.25,
        )
        say.claim(
            "a recurrent network carries what it has read in its state",
            f"{known:.1%} of held-out last words right after {steps} steps of training",
            known >= 0.98,
        )
        labels = {"x_label": "training step", "y_label": "probability of the last word"}
        labels["title"] = f"The last word depends on the first, {gap} words before it"
        plot = drawing.line_plot(lines, y_range=(0, 1), levels={"chance": 0.25}, **labels)
        say.picture("unroll-4-next-word", plot)
        return {"window_mlp_accuracy": guessed, "recurrent_accuracy": known, "steps": steps}


def show_activations(say: Narrator, layers: list[Layer], x: Array, out: Layer) -> list[Array]:
    """Print x, the state of each hidden layer and y; returns the states. Only the first layer reads x."""
    nothing = np.zeros(0)
    states = stacked(layers, [x, *[nothing] * (len(layers) - 1)], nothing)
    hidden = [(f"h_{k}", numbers(h)) for k, h in enumerate(states, start=1)]
    rows = [("x", numbers(x)), *hidden, ("y", numbers(out.w @ states[-1] + out.b))]
    say.table(["layer", "activations"], rows)
    return states


def draw_own(layers: list[Layer], x: Array, states: list[Array], out: Layer) -> Drawing:
    """The first picture of the text: an MLP with several hidden layers."""
    columns = [("x", x), *((f"h_{k}", h) for k, h in enumerate(states, 1)), ("y", out.w @ states[-1] + out.b)]
    links = [(f"W_{k}, b_{k}", STYLES[(k - 1) % 6][0], layer.w) for k, layer in enumerate(layers, 1)]
    heading, formula = "Every hidden layer has weights and biases of its own", "h_l = tanh(W_l h_{l-1} + b_l)"
    return drawing.network(heading, formula, columns, [*links, ("W_y, b_y", QUIET, out.w)])


def draw_same(shared: Layer, xs: list[Array], states: list[Array], out: Layer) -> Drawing:
    """The second: the hidden layers made identical, each with an input."""
    hidden = [(f"h_{t}", h) for t, h in enumerate([np.zeros_like(states[0]), *states])]
    links = [("W_hh, b", PURPLE, shared.w[:, len(xs[0]) :])] * len(xs) + [("W_y, b_y", QUIET, out.w)]
    heading, columns = "The hidden layers made identical", [*hidden, ("y", out.w @ states[-1] + out.b)]
    picture = drawing.network(heading, RECURRENCE, columns, links, below=80)
    left = picture.width / 2 - 85 * len(hidden)
    for t, x in enumerate(xs, start=1):
        drawing.inputs(picture, left + 170 * t, {f"x_{t}": x}, "W_xh", PURPLE)
    return picture


def draw_rolled(xs: list[Array], states: list[Array], out: Layer) -> Drawing:
    """The third: one recurrent layer with an arrow to itself."""
    columns = [(f"h_{len(xs)}", states[-1]), ("y", out.w @ states[-1] + out.b)]
    heading, links = "Rolled into one recurrent layer", [("W_y, b_y", QUIET, out.w)]
    picture = drawing.network(heading, RECURRENCE, columns, links, below=124)
    x = picture.width / 2 - 85
    picture.arrow([(x - 28, 296), (x - 190, 336), (x - 190, 116), (x - 28, 156)], color=PURPLE, width=3)
    picture.formula((x - 84, 226), "W_hh, b", size=16, color=PURPLE, bold=True)
    drawing.inputs(picture, x, {f"x_{t}": x_t for t, x_t in enumerate(xs, start=1)}, "W_xh", PURPLE)
    return picture
