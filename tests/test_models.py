"""The networks: what was published of them, counted layer by layer, and the images that they take."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, batch_norm, conv2d, linear

from tradeoff.data import Images
from tradeoff.models import MODELS, Ensemble, build, grow, seen
from tradeoff.training import fit

GREY, COLOUR = (1, 28, 28), (3, 32, 32)
TAKES = {name: COLOUR if "resnet" in name else GREY for name in MODELS}
# Channels, size and kernel of the first convolution; channels and size of each group of blocks; the blocks of a group.
RESIDUAL = {
    "small_resnet": ((32, 16, 4), ((32, 16), (64, 8), (96, 4)), 1),
    "preact_resnet18": ((64, 32, 3), ((64, 32), (128, 16), (256, 8), (512, 4)), 2),
    "wide_resnet_28_10": ((16, 32, 3), ((160, 32), (320, 16), (640, 8)), 4),
}
BIG = {"preact_resnet18", "wide_resnet_28_10"}


def published_parameters(stem, groups, blocks):
    """Table 1 of either paper: two convolutions 3×3 a block, each behind batch norm (a scale and a shift per channel),
    one 1×1 where channels or size change, batch norm at the end and a linear layer with biases."""
    width, size, kernel = stem
    total = kernel**2 * 3 * width
    for channels, smaller in groups:
        for _ in range(blocks):
            total += 2 * width + 9 * width * channels + 2 * channels + 9 * channels**2
            total += width * channels if (width, size) != (channels, smaller) else 0
            width, size = channels, smaller
    return total + 2 * width + 10 * width + 10


def test_counts_are_those_that_are_published():
    """By the layers' formula and as the field writes them: 36.5 million for WRN-28-10 and 11.17 for ResNet-18."""
    counts = {name: published_parameters(*RESIDUAL[name]) for name in RESIDUAL}
    assert counts == {"small_resnet": 223_498, "preact_resnet18": 11_172_170, "wide_resnet_28_10": 36_479_194}
    for name, count in counts.items():
        assert sum(p.numel() for p in build(name, 0).parameters()) == count
    assert counts["small_resnet"] <= 250_000  # its weights are to be committed
    convolutions = {name: sum(isinstance(part, nn.Conv2d) for part in build(name, 0).modules()) for name in BIG}
    # He et al. count the linear layer and not the three shortcuts, Zagoruyko & Komodakis the reverse.
    assert convolutions == {"preact_resnet18": 18 - 1 + 3, "wide_resnet_28_10": 28}


def test_blocks_added_to_a_network_begin_as_the_identity_and_learn():
    """Drawn from one seed, the deeper network is the deep one, until its blocks have learned."""
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    deep, deeper = build("black_zone_deep_cnn", 0)[1], build("dead_zone_30_90_deeper_cnn", 0)[1]
    assert torch.equal(deep(x), deeper(x))
    deeper(x).square().sum().backward()
    optimizer = torch.optim.SGD(deeper.parameters(), lr=0.01)
    moved = {name: part.conv2.weight for name, part in deeper.named_modules() if hasattr(part, "conv2")}
    optimizer.step()
    assert len(moved) == 2 and all(weight.abs().max() > 0 for weight in moved.values())
    assert not torch.equal(deep(x), deeper(x))
    grown, again = (build("dead_zone_30_90_deeper_cnn", 1)[1] for _ in range(2))
    grow(grown, deep)
    assert torch.equal(grown(x), deep(x)) and not torch.equal(again(x), deep(x))
    grow(again, deeper)
    assert torch.equal(again(x), deeper(x))
    wide = build("wide_cnn", 0)
    for model, other, message in (
        (deep, deeper, r"\(5.1.conv1.weight is \(32, 32, 3, 3\) there, missing here\)"),
        (deep, wide, r"\(0.weight is \(32, 1, 4, 4\) there, \(16, 1, 3, 3\) here\)"),
        (again, wide, r"\(0.weight is \(32, 1, 4, 4\) there, \(16, 1, 3, 3\) here\)"),
    ):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match=f"^the weights are of another network {message}: begin with one .*$"):
            grow(model, other)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="^there is no network to begin with: give one or more$"):
        grow(model)


def test_an_ensemble_is_the_geometric_mean_over_members_and_views():
    """Up to a factor; views are rolls of images with nothing at the edge, and lose what is there."""
    x = torch.zeros(2, 1, 28, 28)
    x[..., 3:-3, 3:-3] = torch.rand(2, 1, 22, 22, generator=torch.Generator().manual_seed(0))
    members = [build("dead_zone_cnn", seed).eval() for seed in (0, 1)]
    shifts = [(0, 0), (2, -1), (-3, 0)]
    ensemble = Ensemble(members, shifts)
    views = [x.roll(shift, (2, 3)) for shift in shifts]
    each = torch.stack([member(view).softmax(dim=1) for member in members for view in views])
    mean = each.double().prod(dim=0) ** (1 / 6)
    torch.testing.assert_close(
        ensemble(x).softmax(dim=1).double(), mean / mean.sum(dim=1, keepdim=True), rtol=1e-5, atol=1e-7
    )
    assert sum(p.numel() for p in ensemble.parameters()) == 2 * sum(p.numel() for p in members[0].parameters())
    assert seen(ensemble) == (0.3, 0.7)
    edge = torch.zeros(1, 1, 28, 28)
    edge[..., 0, :] = edge[..., -1] = 1
    gone = Ensemble(members, [(-1, 1)])(edge)
    torch.testing.assert_close(gone, Ensemble(members)(torch.zeros_like(edge)))
    for nothing in (([], [(0, 0)]), (members, [])):
        with pytest.raises(ValueError, match="have no mean: give one of each or more"):
            Ensemble(*nothing)


@pytest.mark.parametrize("name", TAKES)
def test_networks_take_their_images_whatever_the_batch(name):
    """Ten logits; in eval mode an image's do not depend on those beside it."""
    model = build(name, 0).eval()
    x = torch.rand(3, *TAKES[name], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(x)
        assert logits.shape == (3, 10) and logits.isfinite().all()
        torch.testing.assert_close(model(x[1:2]), logits[1:2], rtol=1e-4, atol=1e-5)
    assert not torch.equal(logits[0], logits[1])


def forward(state, x, stem, groups, blocks, training):
    """The published network, function by function, from its weights in the order in which they are listed."""
    weights = iter(state)
    take = lambda: next(weights)  # noqa: E731

    def normed(x):
        scale, shift, mean, variance, _ = (take() for _ in range(5))
        return batch_norm(x, mean.clone(), variance.clone(), scale, shift, training).relu()

    mean, deviation = torch.tensor([[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]])[:, :, None, None]
    x = conv2d((x - mean) / deviation, take(), stride=32 // stem[1], padding=1)
    for channels, size in groups:
        for _ in range(blocks):
            stride = x.shape[-1] // size
            active = normed(x)
            inner = normed(conv2d(active, take(), stride=stride, padding=1))
            inner = conv2d(inner, take(), padding=1)
            same = x.shape[1] == channels and stride == 1
            x = inner + (x if same else conv2d(active, take(), stride=stride))
            assert x.shape[1:] == (channels, size, size)
    pooled = adaptive_avg_pool2d(normed(x), 1).flatten(1)
    logits = linear(pooled, take(), take())
    assert next(weights, None) is None
    return logits


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", RESIDUAL)
def test_residual_networks_against_their_definition(name, training):
    """Weights that differ from their start, so that every part matters; both modes of batch norm."""
    stem, groups, blocks = RESIDUAL[name]
    model = build(name, 0).train(training)
    g = torch.Generator().manual_seed(1)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight.data, part.running_var):
                tensor.uniform_(0.5, 1.5, generator=g)
            for tensor in (part.bias.data, part.running_mean):
                tensor.uniform_(-0.5, 0.5, generator=g)
    x = torch.rand(2, *COLOUR, generator=g)
    state = [tensor.clone() for tensor in model.state_dict().values()]
    with torch.no_grad():
        expected = forward(state, x, stem, groups, blocks, training)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_convolutions_start_at_the_variance_of_he():
    """2 / (9 · outputs), estimated from n draws: standard error √(2/n) of it; six of them is a false alarm below 1e-8
    for each."""
    for part in build("small_resnet", 0).modules():
        if isinstance(part, nn.Conv2d):
            w, expected = part.weight.detach(), 2 / (part.weight.shape[2] ** 2 * part.weight.shape[0])
            assert abs(float((w**2).mean()) / expected - 1) < 6 * np.sqrt(2 / w.numel())


def test_constants_are_in_no_file():
    assert not any("mean" in name and "running" not in name for name in build("small_resnet", 0).state_dict())


@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("small_resnet", (1, 32, 32), r"inputs of shape \(8, 1, 32, 32\) are no colour images \(batch, 3, height"),
        ("small_resnet", (3, 32), r"inputs of shape \(8, 3, 32\) are no colour images"),
        ("small_cnn", (3, 28, 28), r"of shape \(8, 3, 28, 28\): .*to have 1 channels, but got 3"),
        ("paper_cnn", (1, 32, 32), r"of shape \(8, 1, 32, 32\): "),
    ],
)
def test_images_of_another_kind_are_refused_before_any_step(name, shape, message):
    """Grey where colour is wanted and the reverse, and another size: one line that names what came and a remedy."""
    x = np.zeros((20, *shape), np.float32)
    images, model = Images(x, np.arange(20) % 10, "toy", "toy"), build(name, 0)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=message) as error:
        fit(model, images, (), "avg", epochs=1, lr=0.1, seed=0)
    assert "\n" not in str(error.value) and "choose another model" in str(error.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_residual_networks_learn():
    """One batch by heart, by the paper's SGD."""
    rng = np.random.default_rng(0)
    images = Images(rng.uniform(size=(20, *COLOUR)).astype(np.float32), np.arange(20) % 10, "toy", "toy")
    log = fit(build("small_resnet", 0), images, (), "avg", epochs=12, lr=0.1, seed=0, batch=20, optimizer="sgd")
    assert log[-1]["accuracy"] == 1 and log[0]["accuracy"] < 0.5
