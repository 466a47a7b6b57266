"""Sentences: the runtime's words are torch's, alone and in a batch, and none is empty or repeats itself."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from unrolled.decoding import Decoder, Sentence
from unrolled.errors import BundleError, ShapeError, UsageError
from unrolled.network import END, PAD, UNKNOWN, CaptionDecoder, Network

WORDS, REGIONS, FEATURES = 9, 6, 7


def made(cell: str = "lstm", heads: int = 2, seed: int = 1, push: float = 0.0, words: int = WORDS):
    """A network with weights far from their first ones; `push` is added to END's score."""
    layer = CaptionDecoder(words, 8, 12, 6, heads, cell, 0.0, 0.0)
    network = Network((layer,), (REGIONS, FEATURES))
    rng = np.random.default_rng(seed)
    weights = {
        name: (value + 0.4 * rng.standard_normal(value.shape)).astype(np.float32)
        for name, value in network.initial(seed).items()
    }
    weights["0.words_bias"][END] += push
    return network, weights


@pytest.fixture
def regions(rng):
    return rng.normal(size=(5, REGIONS, FEATURES)).astype(np.float16)


def log_probabilities(network, weights, picture, ids):
    """Of each word of a sentence and its END by torch, over the words that may be said; and the attention."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    from unrolled import layers
    from unrolled.layers.caption_decoder import Sentences

    stack = layers.build(network, weights).eval()
    before, after = torch.tensor([[END, *ids]]), [*ids, END]
    sentences = Sentences(torch.from_numpy(picture[None]).float(), before, torch.tensor([len(after)]))
    with torch.no_grad():
        scores = stack.logits(sentences)
        scores[:, [PAD, UNKNOWN]] = -torch.inf
        return scores.log_softmax(-1).numpy(), after


@pytest.mark.parametrize(("cell", "heads"), [*itertools.product(("lstm", "gru"), (0, 1, 3))])
def test_the_probability_of_a_sentence_is_torchs(cell, heads, regions):
    network, weights = made(cell, heads)
    for picture, found in zip(regions, Decoder(network, weights).sentences(regions, number=2), strict=True):
        for one in found:
            logp, after = log_probabilities(network, weights, picture, one.ids)
            assert one.log_probability == pytest.approx(logp[np.arange(len(after)), after].sum(), abs=2e-5)
            assert one.confidence == pytest.approx(np.exp(one.log_probability / len(after)))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_step_of_torch_draws_from_the_probabilities_of_a_whole_sentence(cell, regions):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    from unrolled import layers

    network, weights = made(cell)
    decoder = layers.build(network, weights).eval()[0]
    torch.manual_seed(0)
    drawn = decoder.draw(torch.from_numpy(regions[:1]).float(), 4000, 3)
    assert (drawn[:, 0] > END).all()
    assert ((drawn == END).sum(1) == 1).all()
    logp, _ = log_probabilities(network, weights, regions[0], [])
    chance = np.exp(logp[0])
    chance[END] = 0
    share = np.bincount(drawn[:, 0].numpy(), minlength=WORDS) / len(drawn)
    assert np.abs(share - chance / chance.sum()).max() < 0.03


@pytest.mark.parametrize("options", [{"num_beams": 1}, {"num_beams": 3, "number": 3}, {"num_beams": 4}])
def test_a_picture_gets_the_same_words_alone_and_in_a_batch(options, regions):
    decoder = Decoder(*made())
    together = decoder.sentences(regions, **options)
    assert together == [decoder.sentences(one[None], **options)[0] for one in regions]
    drawn = decoder.sample(regions, seed=4)
    assert drawn == [decoder.sample(one[None], seed=4)[0] for one in regions]
    assert drawn != decoder.sample(regions, seed=5)
    greedy = [one for (one,) in decoder.sentences(regions, num_beams=1)]
    assert decoder.sample(regions, top_p=1e-6, temperature=3.0) == greedy  # the most probable word always stays
    assert decoder.sample(regions, temperature=3.0) != greedy


def test_wide_beams_find_the_best_of_all_sentences(regions):
    network, weights = made(push=0.5, words=6)
    (found,) = Decoder(network, weights).sentences(
        regions[:1], num_beams=60, max_length=3, length_penalty=0.6, number=5
    )
    every = [ids for n in (1, 2, 3) for ids in itertools.product(range(3, 6), repeat=n)]
    allowed = [ids for ids in every if all(a != b for a, b in itertools.pairwise(ids))]

    def score(ids):
        logp, after = log_probabilities(network, weights, regions[0], ids)
        return Sentence(ids, float(logp[np.arange(len(after)), after].sum())).score(0.6)

    best = sorted(allowed, key=score, reverse=True)[:5]
    # What the beams see is the probability with no END first and no word twice, not renormalised: the same here.
    assert [one.ids for one in found] == best
    assert [one.score(0.6) for one in found] == sorted((one.score(0.6) for one in found), reverse=True)


@pytest.mark.parametrize("push", [50.0, -50.0])
@pytest.mark.parametrize("beams", [1, 3])
def test_no_sentence_is_empty_or_endless_or_repeats_itself(push, beams, regions):
    decoder = Decoder(*made(push=push))
    drawn = decoder.sample(regions, max_length=15)
    for one in [best for best, *_ in decoder.sentences(regions, num_beams=beams, max_length=15)] + drawn:
        assert len(one.ids) == 1 if push > 0 else 10 <= len(one.ids) <= 15
        assert not {PAD, END, UNKNOWN} & {*one.ids}
        assert all(a != b for a, b in itertools.pairwise(one.ids))
        threes = [one.ids[i : i + 3] for i in range(len(one.ids) - 2)]
        assert len({*threes}) == len(threes)


def test_attention_is_that_of_the_equations(regions):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    from unrolled import layers

    network, weights = made()
    runtime, decoder = Decoder(network, weights), layers.build(network, weights).eval()[0]
    ((sentence,),) = runtime.sentences(regions[:1])
    found = runtime.attention(regions[0], sentence)
    assert found.shape == (len(sentence.ids), 2, REGIONS)
    assert np.allclose(found.sum(-1), 1, atol=1e-6)
    with torch.no_grad():
        seen = decoder.look(torch.from_numpy(regions[:1]).float())
        states = seen.states
        for word, row in zip((END, *sentence.ids), found, strict=False):
            _, states = decoder.step(torch.tensor([word]), states, seen)
            _, looked = decoder.attend(states[0][:, None], seen)
            assert np.allclose(row, looked[0, :, 0].numpy(), atol=1e-5)
    assert Decoder(*made(heads=0)).attention(regions[0], sentence) is None


def test_bad_requests_are_answered_with_what_to_do(regions):
    decoder = Decoder(*made())
    with pytest.raises(UsageError, match="4 sentences were asked of 3 beams; give at least as many beams."):
        decoder.sentences(regions, number=4)
    with pytest.raises(UsageError, match="max_length is 0; it must be at least 1."):
        decoder.sentences(regions, max_length=0)
    with pytest.raises(UsageError, match="temperature is 0; it must be greater than 0."):
        decoder.sample(regions, temperature=0)
    with pytest.raises(UsageError, match="top_p is 1.5; it must be above 0 and at most 1."):
        decoder.sample(regions, top_p=1.5)
    with pytest.raises(ShapeError, match="attention is 6; 4 heads cannot share it."):
        made(heads=4)
    with pytest.raises(UsageError, match="cell is 'rnn'; known: lstm, gru."):
        made("rnn")
    network, weights = made()
    with pytest.raises(BundleError, match="The weight '0.words' is missing"):
        Decoder(network, {name: value for name, value in weights.items() if name != "0.words"})
    with pytest.raises(ShapeError, match=r"reads regions, shape \(R, D\), but its input has shape \(None,\)"):
        Network(network.layers)
