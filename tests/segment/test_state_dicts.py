"""The reference networks are derived anew here, as functions over tensors with the authors' names.

The layers are those of the papers and of the repositories DrSleep/refinenet-pytorch,
DrSleep/light-weight-refinenet and ZJUGiveLab/UNet-Version; nothing of ours is used to compute them.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from vesalius.errors import DataError, RecipeError
from vesalius.segment.models import build
from vesalius.segment.models.state_dicts import SOURCES, convert, key_map, load

WIDTHS = (4, 6, 8, 10, 12)


class Layers:
    """Layers by name; the weights of one are drawn when it is first met."""

    def __init__(self, seed=0):
        self.state = {}
        self.generator = torch.Generator().manual_seed(seed)

    def tensor(self, key, shape, *, spread=0.2, centre=0.0):
        if key not in self.state:
            self.state[key] = torch.randn(shape, generator=self.generator) * spread + centre
        return self.state[key]

    def conv(self, name, x, width, side=3, *, stride=1, bias=True):
        fan_in = x.shape[1] * side**2
        shape = (width, x.shape[1], side, side)
        weight = self.tensor(f"{name}.weight", shape, spread=(2 / fan_in) ** 0.5)
        shift = self.tensor(f"{name}.bias", (width,)) if bias else None
        return F.conv2d(x, weight, shift, stride=stride, padding=side // 2)

    def up(self, name, x, width):
        spread = (1 / (4 * x.shape[1])) ** 0.5
        weight = self.tensor(f"{name}.weight", (x.shape[1], width, 4, 4), spread=spread)
        shift = self.tensor(f"{name}.bias", (width,))
        return F.conv_transpose2d(x, weight, shift, stride=2, padding=1)

    def norm(self, name, x):
        width = x.shape[1]
        mean = self.tensor(f"{name}.running_mean", (width,))
        variance = self.tensor(f"{name}.running_var", (width,), spread=0.1, centre=1.0).abs_()
        scale = self.tensor(f"{name}.weight", (width,), spread=0.1, centre=1.0)
        shift = self.tensor(f"{name}.bias", (width,))
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(5)
        return F.batch_norm(x, mean, variance, scale, shift)


RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}


def resnet(layers, x, kind):
    """The maps of the four stages (He et al. 2016; stride in the 3 x 3 convolution)."""
    depths, bottleneck = RESNETS[kind]
    x = layers.norm("bn1", layers.conv("conv1", x, 64, 7, stride=2, bias=False)).relu()
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    maps = []
    for stage, depth in enumerate(depths):
        width = 64 * 2**stage
        plan = [(width, 3), (width, 3)]
        if bottleneck:
            plan = [(width, 1), (width, 3), (4 * width, 1)]
        for index in range(depth):
            x = residual_block(layers, f"layer{stage + 1}.{index}", x, plan, index == 0 < stage)
        maps.append(x)
    return maps


def residual_block(layers, name, x, plan, halves):
    strided = next(index for index, (_, side) in enumerate(plan) if side == 3)
    answer = x
    for index, (width, side) in enumerate(plan):
        stride = 2 if halves and index == strided else 1
        conv = f"{name}.conv{index + 1}"
        answer = layers.conv(conv, answer, width, side, stride=stride, bias=False)
        answer = layers.norm(f"{name}.bn{index + 1}", answer)
        if index < len(plan) - 1:
            answer = answer.relu()
    if x.shape != answer.shape:
        x = layers.conv(f"{name}.downsample.0", x, width, 1, stride=1 + halves, bias=False)
        x = layers.norm(f"{name}.downsample.1", x)
    return (answer + x).relu()


def drsleep(layers, x, *, kind, width, classes, light):
    """RefineNet (Lin et al. 2017), or Light-Weight RefineNet (Nekrasov et al. 2018)."""
    side = 1 if light else 3

    def units(name, x, count):
        for unit in range(1, count + 1):
            inner = layers.conv(f"{name}.0.{unit}_conv", x.relu(), x.shape[1])
            last = f"{name}.0.{unit}_conv_relu_varout_dimred"
            x = x + layers.conv(last, inner.relu(), x.shape[1], bias=False)
        return x

    coarse = None
    for number, tap in enumerate(reversed(resnet(layers, x, kind)), start=1):
        wide = 2 * width if number == 1 else width
        x = layers.conv(f"p_ims1d2_outl{number}_dimred", tap, wide, side, bias=False)
        x = x if light else units(f"adapt_stage{number}_b", x, 2)
        if coarse is not None:
            x = layers.conv(
                f"adapt_stage{number}_b2_joint_varout_dimred", x, wide, side, bias=False
            )
            x = x + F.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=True)
        x = top = x.relu()
        for stage in range(1, 5):
            name = f"mflow_conv_g{number}_pool.0.{stage}_outvar_dimred"
            top = layers.conv(name, F.max_pool2d(top, 5, 1, 2), wide, side, bias=False)
            x = x + top
        x = x if light else units(f"mflow_conv_g{number}_b", x, 3)
        if number < 4:
            name = f"mflow_conv_g{number}_b3_joint_varout_dimred"
            coarse = layers.conv(name, x, width, side, bias=False)
    return layers.conv("clf_conv", x, classes)


def two_convolutions(layers, name, x, width, *, norm):
    for index in (1, 2):
        x = layers.conv(f"{name}.conv{index}.0", x, width)
        x = layers.norm(f"{name}.conv{index}.1", x) if norm else x
        x = x.relu()
    return x


def zju_encoder(layers, x, names, widths):
    maps = []
    for name, width in zip(names, widths, strict=True):
        x = F.max_pool2d(x, 2) if maps else x
        x = two_convolutions(layers, name, x, width, norm=True)
        maps.append(x)
    return maps


def zju_node(layers, name, coarse, skips, width):
    joined = torch.cat([layers.up(f"{name}.up", coarse, width), *skips], dim=1)
    return two_convolutions(layers, f"{name}.conv", joined, width, norm=False)


def zju_unet(layers, x, widths=WIDTHS):
    names = ("conv1", "conv2", "conv3", "conv4", "center")
    *skips, x = zju_encoder(layers, x, names, widths)
    for level in (3, 2, 1, 0):
        x = zju_node(layers, f"up_concat{level + 1}", x, [skips[level]], widths[level])
    return layers.conv("outconv1", x, 1)


def zju_unet_plus_plus(layers, x, classes=1, widths=WIDTHS):
    """The logits of the four heads."""
    names = [f"conv{level}0" for level in range(5)]
    grid = {(i, 0): x for i, x in enumerate(zju_encoder(layers, x, names, widths))}
    for column in range(1, 5):
        for level in range(5 - column):
            skips = [grid[level, left] for left in range(column)]
            coarse = grid[level + 1, column - 1]
            name = f"up_concat{level}{column}"
            grid[level, column] = zju_node(layers, name, coarse, skips, widths[level])
    return [layers.conv(f"final_{column}", grid[0, column], classes, 1) for column in range(1, 5)]


def zju_unet_3_plus(layers, x, *, classes=1, heads=1, guided=False, width=3):
    """The logits of the heads, gated by the classification as the repository does."""
    encoder = zju_encoder(layers, x, [f"conv{level}" for level in range(1, 6)], WIDTHS)
    size = x.shape[2:]
    decoder = {5: encoder[4]}
    for node in (4, 3, 2, 1):
        sources = []
        for level in range(1, 6):
            if level < node:
                kind, factor = f"h{level}_PT_hd{node}", 2 ** (node - level)
                source = F.max_pool2d(encoder[level - 1], factor, factor, ceil_mode=True)
            elif level == node:
                kind, source = f"h{node}_Cat_hd{node}", encoder[level - 1]
            else:
                kind, factor = f"hd{level}_UT_hd{node}", 2 ** (level - node)
                source = F.interpolate(decoder[level], scale_factor=factor, mode="bilinear")
            source = layers.norm(f"{kind}_bn", layers.conv(f"{kind}_conv", source, width))
            sources.append(source.relu())
        joined = layers.conv(f"conv{node}d_1", torch.cat(sources, dim=1), 5 * width)
        decoder[node] = layers.norm(f"bn{node}d_1", joined).relu()
    logits = [layers.conv(f"outconv{head}", decoder[head], classes) for head in range(1, heads + 1)]
    logits = [F.interpolate(head, size, mode="bilinear") for head in logits]
    if not guided:
        return logits
    pairs = layers.conv("cls.1", encoder[4], 2, 1).amax(dim=(2, 3)).sigmoid()
    gate = pairs.argmax(dim=1).float().view(-1, 1, 1, 1)
    return [head * gate for head in logits]


def assert_same(found, expected):
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


DRSLEEP = [
    ("refinenet", "resnet18", 8, (97, 129)),
    ("refinenet", "resnet34", 4, (33, 47)),
    ("light_weight_refinenet", "resnet18", 8, (97, 129)),
    ("light_weight_refinenet", "resnet50", 256, (64, 65)),
]


@pytest.mark.parametrize(("name", "kind", "width", "size"), DRSLEEP)
@torch.no_grad()
def test_refinenets_give_the_references_logits(name, kind, width, size):
    layers = Layers()
    images = torch.randn(2, 3, *size, generator=layers.generator)
    light = name.startswith("light")
    options = {"kind": kind, "width": width, "light": light}
    expected = drsleep(layers, images, classes=21, **options)
    model = build(name, in_channels=3, classes=21, encoder=kind, width=width)
    load(model, layers.state, source="drsleep-" + name.replace("_", "-"))
    assert_same(model.eval().coarse_logits(images), expected)
    upsampled = F.interpolate(expected, size, mode="bilinear", align_corners=False)
    assert_same(model(images), upsampled)


@torch.no_grad()
def test_the_full_refinenet_gives_the_references_logits():
    layers = Layers()
    images = torch.randn(1, 3, 41, 49, generator=layers.generator)
    expected = drsleep(layers, images, kind="resnet50", width=256, classes=21, light=False)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    learnt = [value for key, value in layers.state.items() if not key.endswith(buffers)]
    assert sum(value.numel() for value in learnt) == 99_060_309
    with torch.device("meta"):
        model = build("refinenet", in_channels=3, classes=21, encoder="resnet50")
    # Without a second copy of 400 MB; the map is the one of `load`.
    state = convert(layers.state, source="drsleep-refinenet")
    model.load_state_dict(state, strict=True, assign=True)
    assert_same(model.eval().coarse_logits(images), expected)


@torch.no_grad()
def test_unet_gives_the_references_logits():
    layers = Layers()
    images = torch.randn(2, 3, 32, 48, generator=layers.generator)
    expected = zju_unet(layers, images)
    model = build("unet", in_channels=3, classes=1, widths=WIDTHS)
    load(model, layers.state, source="zju-unet")
    assert_same(model.eval()(images), expected)


@pytest.mark.parametrize("classes", [1, 3])
@torch.no_grad()
def test_unet_plus_plus_gives_the_references_logits_with_and_without_deep_supervision(classes):
    layers = Layers()
    images = torch.randn(2, 1, 32, 48, generator=layers.generator)
    heads = zju_unet_plus_plus(layers, images, classes)
    options = {"in_channels": 1, "classes": classes, "widths": WIDTHS}
    averaging = build("unet_plus_plus", **options)
    load(averaging, layers.state, source="zju-unet-plus-plus")
    assert_same(averaging.eval()(images), sum(heads) / 4)
    single = build("unet_plus_plus", deep_supervision=False, **options)
    load(single, layers.state, source="zju-unet-plus-plus")
    assert_same(single.eval()(images), heads[-1])


@pytest.mark.parametrize("heads", [1, 5])
@torch.no_grad()
def test_unet_3_plus_gives_the_references_logits(heads):
    layers = Layers()
    images = torch.randn(2, 3, 32, 48, generator=layers.generator)
    expected = zju_unet_3_plus(layers, images, classes=2, heads=heads)
    options = {"widths": WIDTHS, "skip_width": 3, "deep_supervision": heads > 1}
    model = build("unet_3_plus", in_channels=3, classes=2, **options)
    load(model, layers.state, source="zju-unet-3-plus")
    assert_same(model.eval()(images), expected[0])
    for part in model.modules():
        # All heads come back in training alone, where norms would use the batch's statistics.
        part.training = part is model
    answer = model(images)
    for found, head in zip(answer if heads > 1 else [answer], expected, strict=True):
        assert_same(found, head)


@torch.no_grad()
def test_the_guided_unet_3_plus_agrees_where_an_organ_is_seen_and_else_blanks_for_the_half():
    layers = Layers()
    options = {"widths": WIDTHS, "skip_width": 3, "deep_supervision": True}
    model = build("unet_3_plus", in_channels=3, classes=1, classification_guided=True, **options)
    images = torch.randn(6, 3, 32, 32, generator=layers.generator)
    zju_unet_3_plus(layers, images, heads=5, guided=True)
    layers.state["cls.1.bias"].copy_(torch.tensor([0.0, -50.0]))
    load(model.eval(), layers.state, source="zju-unet-3-plus")
    theirs = zju_unet_3_plus(layers, images, heads=5, guided=True)[0]
    assert (theirs.sigmoid() == 0.5).all()
    assert (model(images).sigmoid() == 0).all()

    layers.state["cls.1.bias"].copy_(torch.tensor([-50.0, 0.0]))
    load(model, layers.state, source="zju-unet-3-plus")
    assert_same(model(images), zju_unet_3_plus(layers, images, heads=5, guided=True)[0])


@torch.no_grad()
def test_the_gate_of_several_classes_is_copied_for_every_foreground_class():
    layers = Layers()
    zju_unet_3_plus(layers, torch.randn(1, 1, 16, 16), classes=4, heads=5, guided=True)
    converted = convert(layers.state, source="zju-unet-3-plus")
    gate = layers.state["cls.1.weight"]
    assert torch.equal(converted["presence.convolution.weight"], torch.cat([gate] * 3))
    options = {"deep_supervision": True, "classification_guided": True}
    options |= {"widths": WIDTHS, "skip_width": 3}
    load(
        build("unet_3_plus", in_channels=1, classes=4, **options),
        layers.state,
        source="zju-unet-3-plus",
    )


@pytest.mark.parametrize("source", SOURCES)
def test_the_key_map_names_every_tensor_of_the_model_once(source):
    with torch.device("meta"):
        options = {"encoder": "resnet101"} if source.startswith("drsleep") else {}
        if source == "zju-unet-3-plus":
            options = {"deep_supervision": True, "classification_guided": True}
        model = SOURCES[source](in_channels=3, classes=1, **options)
    names = key_map(source)
    assert len(set(names.values())) == len(names)
    assert set(names.values()) == set(model.state_dict())


def plain_unet_state():
    layers = Layers()
    zju_unet(layers, torch.randn(1, 1, 16, 16))
    return layers.state


def small_unet(**options):
    return build("unet", **{"in_channels": 1, "classes": 1, "widths": WIDTHS, **options})


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_files_are_read_and_the_prefix_of_data_parallel_is_dropped(tmp_path, suffix):
    state = {f"module.{key}": value for key, value in plain_unet_state().items()}
    path = tmp_path / f"unet.{suffix}"
    if suffix == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    model = small_unet()
    load(model, path, source="zju-unet")
    assert torch.equal(model.head.weight, state["module.outconv1.weight"])


def test_old_files_without_counts_of_batches_are_read():
    state = plain_unet_state()
    old = {key: value for key, value in state.items() if "num_batches" not in key}
    new_state, old_state = convert(state, source="zju-unet"), convert(old, source="zju-unet")
    assert new_state.keys() == old_state.keys()
    assert old_state["encoder.stages.0.0.norm.num_batches_tracked"] == 0
    load(small_unet(), old, source="zju-unet")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_missing_or_unknown_key_is_named(data):
    state = plain_unet_state()
    keys = sorted(key for key in state if "num_batches" not in key)
    lost = data.draw(st.sampled_from(keys))
    state[lost + "_"] = state.pop(lost)
    with pytest.raises(DataError) as error:
        convert(state, source="zju-unet")
    assert error.value.problems == [f"1 missing: {lost}", f"1 unknown: {lost}_"]


def test_weights_of_another_source_are_refused_with_the_other_sources_named():
    with pytest.raises(DataError, match=r"not the weights of a 'zju-unet-3-plus'.*zju-unet"):
        convert(plain_unet_state(), source="zju-unet-3-plus")
    with pytest.raises(DataError, match=r"\(0, 0, 0, 0\) residual blocks"):
        convert(plain_unet_state(), source="drsleep-refinenet")


def test_another_shape_is_named_and_the_model_stays_as_it_was():
    model = small_unet(in_channels=2)
    before = model.head.weight.clone()
    shapes = r"encoder.stages.0.0.convolution.weight \(4, 1, 3, 3\), in the model \(4, 2, 3, 3\)"
    with pytest.raises(DataError, match=shapes):
        load(model, plain_unet_state(), source="zju-unet")
    assert torch.equal(model.head.weight, before)


def test_a_model_with_more_parts_than_the_weights_is_named():
    model = small_unet(deep_supervision=True)
    with pytest.raises(DataError, match=r"6 missing: coarse_heads\.0\.weight"):
        load(model, plain_unet_state(), source="zju-unet")


def test_a_gate_is_not_dropped_in_silence():
    layers = Layers()
    zju_unet_3_plus(layers, torch.randn(1, 1, 16, 16), heads=5, guided=True)
    model = build("unet_3_plus", in_channels=1, classes=1, widths=WIDTHS, skip_width=3)
    with pytest.raises(DataError, match=r"2 unknown: presence\.convolution\.weight"):
        load(model, layers.state, source="zju-unet-3-plus")


def test_wrong_models_sources_and_files_are_answered_with_a_remedy(tmp_path):
    with pytest.raises(RecipeError, match="are for RefineNet; the model is UNet"):
        load(small_unet(), {}, source="drsleep-refinenet")
    with pytest.raises(RecipeError, match="Did you mean 'zju-unet'"):
        convert({}, source="zju-unett")
    with pytest.raises(DataError, match="no weight file"):
        load(small_unet(), tmp_path / "none.pth", source="zju-unet")
    torch.save({"segmenter": plain_unet_state()}, tmp_path / "nested.pth")
    with pytest.raises(DataError, match="no plain state dict"):
        load(small_unet(), tmp_path / "nested.pth", source="zju-unet")
