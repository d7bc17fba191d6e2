import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.diagnose.models_kit import FIELDS, LABELS, VOCABULARY, records, small, with_padding
from vesalius.diagnose import model_blocks, models
from vesalius.diagnose.models.heads import Head, masked_softmax
from vesalius.errors import DataError, RecipeError

POOLINGS = ("mean", "max", "first", "attention", "label_attention", "laat")
VARIANTS = [
    ("transformer", {}),
    ("transformer", {"attention": "performer"}),
    ("text_cnn", {}),
    ("lstm", {"layers": 2}),
    ("tfidf", {}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_padding_never_leaks(name, options):
    model = small(name, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        inputs = records(7, 3, 1)
        logits = model(inputs)
        for more in (1, 10, 300):
            padded = model(with_padding(inputs, more, junk=True))
            assert (padded - logits).abs().max() <= 1e-5


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["transformer", "text_cnn", "lstm"])
def test_every_head_fits_every_encoder_and_learns(name, pooling):
    model = small(name, head={"pooling": pooling, "dropout": 0.0, "width": 8}).train()
    inputs = records(6, 2, 9)
    logits = model(inputs)
    assert logits.shape == (3, LABELS)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        junk = model.eval()(with_padding(inputs, 50, junk=True))
        assert torch.allclose(junk, model(inputs), atol=1e-5)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_record_without_a_token_gives_finite_logits_and_disturbs_no_other(name, options):
    model = small(name, **options)
    with torch.no_grad():
        together, alone = model(records(5, 0)), model(records(5))
    assert together.isfinite().all()
    assert torch.allclose(together[:1], alone, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "first", "attention", "label_attention", "laat"])
def test_attention_adds_up_to_one_over_the_real_tokens(pooling):
    model = small("transformer", head={"pooling": pooling})
    inputs = with_padding(records(6, 2), 5)
    weights = model.attention(inputs)
    assert weights.shape == (2, LABELS, 11)
    assert torch.allclose(weights.sum(-1), torch.ones(2, LABELS), atol=1e-6)
    assert not weights[~inputs["mask"][:, None].expand_as(weights)].any()


def test_the_maximum_has_no_attention_to_show():
    with pytest.raises(RecipeError, match="pooling"):
        small("text_cnn").attention(records(3))


def test_label_attention_is_caml_written_out():
    torch.manual_seed(0)
    head = Head(5, labels=3, block=model_blocks.HeadBlock(pooling="label_attention", dropout=0.0))
    hidden = torch.randn(1, 4, 5)
    logits = head(hidden, torch.ones(1, 4, dtype=torch.bool))[0]
    for label in range(3):
        alpha = (hidden[0] @ head.query.weight[label]).softmax(0)
        expected = head.classifier.weight[label] @ (alpha @ hidden[0]) + head.classifier.bias[label]
        assert torch.allclose(logits[label], expected, atol=1e-6)


def test_laat_is_the_paper_written_out():
    torch.manual_seed(0)
    block = model_blocks.HeadBlock(pooling="laat", dropout=0.0, width=7)
    head = Head(5, labels=3, block=block)
    hidden = torch.randn(1, 4, 5)
    logits = head(hidden, torch.ones(1, 4, dtype=torch.bool))[0]
    attention = (head.query.weight @ (head.projection.weight @ hidden[0].T).tanh()).softmax(1)
    expected = (head.classifier.weight * (attention @ hidden[0])).sum(1) + head.classifier.bias
    assert torch.allclose(logits, expected, atol=1e-6)


@given(st.integers(0, 6), st.floats(-1e4, 1e4), st.floats(0, 1e4))
@settings(max_examples=50, deadline=None)
def test_the_masked_softmax_is_the_softmax_of_what_is_seen(real, shift, scale):
    scores = shift + scale * torch.randn(6, generator=torch.Generator().manual_seed(real))
    weights = masked_softmax(scores.half(), torch.arange(6) < real)
    assert weights.dtype == torch.float32
    assert not weights[real:].any()
    if real:
        assert torch.allclose(weights[:real], scores.half()[:real].float().softmax(0), atol=1e-6)


def test_the_padding_gets_no_gradient():
    model = small("text_cnn", head={"pooling": "mean"})
    seen = []
    table = model.get_input_embeddings()

    def keep(module, arguments, output):
        output.retain_grad()
        seen.append(output)

    hook = table.register_forward_hook(keep)
    inputs = with_padding(records(3), 4)
    model(inputs).sum().backward()
    hook.remove()
    assert seen[0].grad[0, :3].abs().sum() > 0
    assert not seen[0].grad[0, 3:].any()


@pytest.mark.parametrize("name", ["transformer", "text_cnn", "lstm"])
def test_the_field_of_a_token_matters_once_it_is_trained(name):
    model = small(name)
    inputs = records(4)
    other = {**inputs, "fields": (inputs["fields"] + 1) % FIELDS}
    with torch.no_grad():
        assert torch.equal(model(inputs), model(other))  # the table starts at zero
        model.embedding.fields.weight.normal_()
        assert not torch.allclose(model(inputs), model(other), atol=1e-4)


def test_one_size_of_convolution_sees_its_neighbours_only():
    model = small("text_cnn", sizes=(3,))
    inputs = records(9)
    changed = {**inputs, "tokens": inputs["tokens"].clone()}
    changed["tokens"][0, 4] = (inputs["tokens"][0, 4] + 1) % VOCABULARY
    with torch.no_grad():
        moved = (model.encode(inputs) - model.encode(changed)).abs().sum(-1)[0] > 0
    assert set(moved.nonzero().flatten().tolist()) <= {3, 4, 5}


def test_the_lstm_is_torchs_lstm_on_a_record_alone():
    model = small("lstm")
    inputs = records(5, 2)
    with torch.no_grad():
        alone = model.lstm(model.embedding(inputs)[1:, :2])[0]
        assert torch.allclose(model.encode(inputs)[1, :2], alone[0], atol=1e-6)


def test_the_lstm_refuses_padding_in_front():
    inputs = records(4)
    inputs["mask"][0, 0] = False
    with pytest.raises(DataError, match="at the end"):
        small("lstm")(inputs)


def test_unfreezing_goes_from_the_head_down():
    model = small("transformer")

    def trained() -> set[int]:
        return {model.layer_of(n) for n, p in model.named_parameters() if p.requires_grad}

    for depth, layers in ((0, {3}), (1, {2, 3}), (2, {1, 2, 3}), (3, {0, 1, 2, 3})):
        model.unfreeze(depth)
        assert trained() == layers


def test_blocks_and_names_build_the_same():
    block = model_blocks.TransformerBlock(hidden=16, layers=1, heads=2)
    by_block = block.build(labels=2, vocabulary=9)
    by_name = models.build("transformer", labels=2, vocabulary=9, hidden=16, layers=1, heads=2)
    assert [p.shape for p in by_block.parameters()] == [p.shape for p in by_name.parameters()]
    changed = models.build(block, labels=2, vocabulary=9, layers=3)
    assert len(changed.layers) == 3


def test_unknown_models_options_and_numbers_are_named():
    with pytest.raises(RecipeError, match="text_cnn"):
        models.build("cnn", labels=2, vocabulary=9)
    with pytest.raises(RecipeError, match="filters"):
        models.build("text_cnn", labels=2, vocabulary=9, kernels=3)
    with pytest.raises(RecipeError, match="2 x heads"):
        models.build("transformer", labels=2, vocabulary=9, hidden=30, heads=4)
    with pytest.raises(RecipeError) as raised:
        models.build("lstm", labels=0)
    assert len(raised.value.problems) == 2


def test_blocks_import_no_torch():
    import subprocess
    import sys

    code = "import vesalius.diagnose.model_blocks, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
