"""The decoder of captions: regions of a picture in, scores of every word at every step out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ShapeError
from .base import Layer, Shape, fraction, glorot_uniform, one_of, orthogonal, positive, size

PAD, END, UNKNOWN = 0, 1, 2
"""Ids of the marks before the words. END stands at a sentence's end, and before its first word too."""
MARKS = ("<pad>", "<end>", "<unknown>")


@dataclass(frozen=True)
class CaptionDecoder(Layer):
    """A recurrent network that says what is in a picture, a word a step; (R, D) regions to (T, words).

    With e_t the vector of the word before, r a region, and r' the mean of all of them:

        x_t = E^1/2 e_t + p,  p = P r'        h_0 = tanh(Q p), for an LSTM also c_0
        h_t = cell(x_t, h_{t-1})
        v_r = relu(norm(V r)),  k_r = K v_r   once a picture
        a_t = sum_r softmax_r(q_t . k_r / sqrt(A / heads)) v_r,  q_t = W h_t, in each head
        o_t = tanh(O [h_t, a_t, x_t] + b)     scores = E o_t + b', E the word vectors themselves

    The factor makes words as loud as the picture, though their vectors are also those of the scores. The query is the
    state after the word, so that attention feeds nothing back and a whole sentence is one call of the cell: Xu et al.,
    "Show, attend and tell" (2015), as changed by Lu et al., "Knowing when to look" (2017); heads by Vaswani et al.
    (2017); tied word vectors by Press and Wolf (2017). Without heads the a_t is left out: Vinyals et al., "Show and
    tell" (2015).

    Attributes:
        words: size of the vocabulary, marks included.
        embedding: E, numbers of a word's vector.
        units: H of the cell.
        attention: A, numbers of a region's vector.
        heads: of attention; 0: pooled features alone.
        cell: "lstm" or "gru".
        dropout: of word vectors and before the scores, while training.
        picture_dropout: of a picture's features, while training.
    """

    kind: ClassVar[str] = "caption_decoder"
    words: int
    embedding: int = 320
    units: int = 512
    attention: int = 320
    heads: int = 4
    cell: str = "lstm"
    dropout: float = 0.4
    picture_dropout: float = 0.2

    def __post_init__(self) -> None:
        positive(self, "words", "embedding", "units", "attention")
        one_of(self, "cell", ("lstm", "gru"))
        fraction(self, "dropout")
        fraction(self, "picture_dropout")
        if self.heads < 0 or (self.heads and self.attention % self.heads):
            raise ShapeError(f"CaptionDecoder: attention is {self.attention}; {self.heads} heads cannot share it.")

    @property
    def states(self) -> tuple[str, ...]:
        """The cell's first states: h0, and c0 of an LSTM."""
        return ("h0", "c0") if self.cell == "lstm" else ("h0",)

    def output_shape(self, shape: Shape) -> Shape:
        """(R, D) to (T, words)."""
        if len(shape) != 2:
            raise ShapeError(f"CaptionDecoder reads regions, shape (R, D), but its input has shape {shape}.")
        size(shape)
        return (None, self.words)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """By the letters of the equations; the cell's by torch's names."""
        into, rows = size(shape), (4 if self.cell == "lstm" else 3) * self.units
        e, h, a = self.embedding, self.units, self.attention
        found: dict[str, tuple[int, ...]] = {"words": (self.words, e), "words_bias": (self.words,)}
        found |= {"picture_weight": (e, into), "picture_bias": (e,)}
        for state in self.states:
            found |= {f"{state}_weight": (h, e), f"{state}_bias": (h,)}
        found |= {"weight_ih_l0": (rows, e), "weight_hh_l0": (rows, h), "bias_ih_l0": (rows,), "bias_hh_l0": (rows,)}
        if self.heads:
            found |= {"value_weight": (a, into), "value_bias": (a,), "norm_weight": (a,), "norm_bias": (a,)}
            found |= {"key_weight": (a, a), "query_weight": (a, h)}
        return found | {"output_weight": (e, h + e + a * bool(self.heads)), "output_bias": (e,)}

    def initial(self, shape: Shape, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Glorot-uniform, recurrent weights orthonormal; biases zero, the norm's scale and the forget gate's one."""
        found = {}
        for name, sizes in self.weight_shapes(shape).items():
            if name == "words":
                found[name] = (rng.standard_normal(sizes) / math.sqrt(sizes[1])).astype(np.float32)
            elif len(sizes) == 1:
                found[name] = np.full(sizes, float(name == "norm_weight"), np.float32)
            else:
                found[name] = (orthogonal if "_hh_" in name else glorot_uniform)(rng, *sizes)
        if self.cell == "lstm":
            found["bias_ih_l0"][self.units : 2 * self.units] = 1
        return found
