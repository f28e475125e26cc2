"""MAE, SimSiam and SimCLR against their papers' formulas, on toys. Run: pytest tests/contract/test_pretrain_methods.py"""

import math
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

from fmlab.pretrain.configs import pretraining
from fmlab.pretrain.heads import SharedBatchNorm
from fmlab.pretrain.mae import MAE, patches_of
from fmlab.pretrain.method import PretrainBatch
from fmlab.pretrain.pictures import patches_of as patches_of_pictures
from fmlab.pretrain.recipes import Contrast, Reconstruction, Siamese, pretrain_setting
from fmlab.pretrain.simclr import SimCLR
from fmlab.pretrain.simsiam import SimSiam

SIZE, PATCH, BATCH = 32, 8, 16
METHODS = {"mae": MAE, "simsiam": SimSiam, "simclr": SimCLR}
SMALL = {
    "mae": {"reconstruction": Reconstruction(width=48, depth=1, heads=2)},
    "simsiam": {"siamese": Siamese(projection=64, prediction=16)},
    "simclr": {"contrast": Contrast(hidden=64, projection=32)},
}


def setting(method, **changes):
    asked = {"method": method, "sources": [{"dataset": "toy"}], "key": "toy", "recipe": "small"}
    asked |= {"network": "vit-tiny", "size": SIZE, "patch": PATCH, "batch": BATCH, "steps": 30}
    return replace(pretrain_setting(pretraining(asked), 100, "cpu"), **(SMALL[method] | changes))


def network(registers=0, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return timm.create_model(
            "vit_tiny_patch16_224", img_size=SIZE, patch_size=PATCH, in_chans=1, depth=2, embed_dim=48, num_heads=2,
            num_classes=0, dynamic_img_size=True, reg_tokens=registers, no_embed_class=registers > 0,
        )  # fmt: skip


def resnet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("resnet18", in_chans=1, num_classes=0)


def made(name, registers=0, **changes):
    return METHODS[name](setting(name, **changes), network(registers), steps=30)


def views(seed=0, count=BATCH, views=2):
    """Each image is a wave of its own direction and length; its views differ in where they begin, and in noise."""
    draw = torch.Generator().manual_seed(seed)
    across, down = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="xy")
    speed = torch.rand(2, count, 1, 1, generator=draw) * 0.8 - 0.4
    begin = torch.rand(views, count, 1, 1, generator=draw) * 3
    waves = torch.sin(speed[0] * across + speed[1] * down + begin)
    return (waves + 0.1 * torch.randn(waves.shape, generator=draw))[:, :, None]


def batch_for(method, seed=0, count=BATCH):
    return PretrainBatch(views(seed, count), None, method.draws(count, np.random.default_rng(seed)))


def trained(method, steps=30):
    """The loss of each step of a short training on the same few images, cut anew each time."""
    optimizer = torch.optim.AdamW([weights for weights in method.trainable().values()], 3e-3)
    losses = []
    for step in range(steps):
        outcome = method.train()(batch_for(method, seed=step % 4), step, False)
        loss = sum(outcome.losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step)
        losses.append(loss.item())
    return losses


# ------------------------------------------------------------------------------------------------------------- all three


@pytest.mark.parametrize(
    ("name", "steps", "chance", "reached"),
    [("mae", 120, 63 / 64, 0.96), ("simsiam", 30, 0.0, -0.3), ("simclr", 30, math.log(31), 1.2)],
)
def test_a_toy_run_lowers_the_loss_below_chance(name, steps, chance, reached):
    """Chance: one grey for each patch; unrelated directions; all other crops equally near."""
    losses = trained(made(name), steps)
    assert np.mean(losses[-4:]) < min(reached, chance, np.mean(losses[:4]))


@pytest.mark.parametrize("name", METHODS)
def test_the_same_setting_gives_the_same_numbers_and_leaves_the_callers_random_state(name):
    before = torch.random.get_rng_state()
    first, second = (trained(made(name), 2) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == second


@pytest.mark.parametrize("name", METHODS)
def test_outcomes_hold_what_the_loop_reads(name):
    method = made(name)
    outcome = method(batch_for(method), 0, True)
    assert all(loss.shape == () and loss.requires_grad for loss in outcome.losses.values())
    assert outcome.features.shape == (BATCH, 48)
    assert not outcome.features.requires_grad
    told = {"mae": {"target_variance"}, "simsiam": {"retrieval", "output_std"}, "simclr": {"retrieval"}}
    assert set(outcome.signals) == told[name]
    assert not method(batch_for(method), 0, False).signals
    assert method.encoder() is method.network
    assert set(method.rate_factors()) == {f"network.{each}" for each, _ in method.network.named_parameters()}


@pytest.mark.parametrize("name", ["simsiam", "simclr"])
def test_a_resnet_is_trained_too(name):
    convolutional = METHODS[name](setting(name, network="resnet18"), resnet(), steps=30)
    outcome = convolutional(batch_for(convolutional, count=4), 0, False)
    sum(outcome.losses.values()).backward()
    assert outcome.features.shape == (4, 512)
    assert convolutional.rate_factors() == {}
    assert all(weights.grad is not None for weights in convolutional.trainable().values())


# ------------------------------------------------------------------------------------------------------------------ MAE


@pytest.mark.parametrize("registers", [0, 2])
def test_with_nothing_hidden_the_encoder_is_the_plain_network(registers):
    method = made("mae", registers, reconstruction=Reconstruction(mask_ratio=0.0, width=48, depth=1, heads=2)).eval()
    images = views()[0]
    kept = method.draws(BATCH, np.random.default_rng(0))["kept"]
    assert kept.shape == (BATCH, 16)
    plain = method.network.forward_features(images)
    torch.testing.assert_close(method.encoded(images, kept), plain)
    assert torch.equal(method.encoded(images), plain)


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_that_of_hidden_patches_one_image_at_a_time(registers, normalise):
    """The published steps, written out for each image and patch by itself."""
    numbers = Reconstruction(width=48, depth=1, heads=2, normalise=normalise)
    method = made("mae", registers, reconstruction=numbers).eval()
    batch = batch_for(method, count=3)
    encoder, decoder, prefix = method.network, method.decoder, 1 + registers
    errors = []
    for image, kept, hidden in zip(batch.globals[0], *batch.draws.values(), strict=True):
        tokens = encoder._pos_embed(encoder.patch_embed(image[None]))[0]
        seen = torch.cat([tokens[:prefix], *(tokens[prefix + place][None] for place in kept)])
        narrow = method.embedding(encoder.norm(encoder.blocks(seen[None])))[0]
        whole = torch.cat([narrow[:prefix], decoder.mask_token[0].expand(16, -1)])
        for row, place in enumerate(kept):
            whole[prefix + place] = narrow[prefix + row]
        guess = method.prediction(decoder.norm(decoder.blocks((whole + decoder.pos_embed[0])[None])))[0, prefix:]
        for place in hidden.tolist():
            top, left = place // 4 * PATCH, place % 4 * PATCH
            pixels = image[0, top : top + PATCH, left : left + PATCH].flatten()
            if normalise:
                pixels = (pixels - pixels.mean()) / torch.sqrt(pixels.var() + 1e-6)
            errors.append(((guess[place] - pixels) ** 2).mean().item())
    assert len(errors) == 3 * 12
    assert method(batch, 0, False).losses["hidden patches"].item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_patches_that_are_seen_have_no_part_in_the_loss():
    """Another prediction of them changes nothing, another one of a hidden patch does."""
    method = made("mae").eval()
    batch = batch_for(method)
    loss = method(batch, 0, False).losses["hidden patches"]
    for which, part in (("kept", False), ("hidden", True)):
        place = batch.draws[which][0, 0]

        def shifted(module, given, found, place=place):
            found = found.clone()
            found[0, method._prefix + place] += 1.0
            return found

        handle = method.decoder.register_forward_hook(shifted)
        assert (method(batch, 0, False).losses["hidden patches"].item() != loss.item()) == part
        handle.remove()


def test_hidden_pixels_never_reach_the_encoder():
    method = made("mae").eval()
    batch = batch_for(method)
    kept, hidden = batch.draws["kept"], batch.draws["hidden"]
    images = batch.globals[0]
    other = images.clone()
    for image, places in zip(other, hidden, strict=True):
        for place in places.tolist():
            top, left = place // 4 * PATCH, place % 4 * PATCH
            image[0, top : top + PATCH, left : left + PATCH] = 7.0
    with torch.no_grad():
        assert torch.equal(method.predict(images, kept), method.predict(other, kept))
        assert not torch.equal(method.predict(images, kept), method.predict(images.flip(-1), kept))


def test_rebuilt_images_come_with_what_was_hidden():
    method = made("mae").eval()
    images = views(count=3)[0]
    with torch.no_grad():
        patches, hidden = method.rebuilt(images, np.random.default_rng(0))
        drawn = method.draws(3, np.random.default_rng(0))
        assert torch.equal(patches, method.predict(images, drawn["kept"]))
    assert patches.shape == (3, 16, PATCH**2)
    assert torch.equal(hidden.nonzero()[:, 1].view(3, 12), drawn["hidden"])


def test_what_a_flat_guess_leaves_is_told():
    """Of patches brought to variance 1: one, less where they are flat to begin with."""
    method = made("mae")
    batch = batch_for(method)
    assert method(batch, 0, True).signals["target_variance"].item() == pytest.approx(63 / 64, rel=1e-3)
    batch.globals[0, : BATCH // 2] = 0.3
    assert method(batch, 0, True).signals["target_variance"].item() == pytest.approx(63 / 64 / 2, rel=1e-3)


def test_predictions_lie_as_the_pictures_expect_them():
    images = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    ours = patches_of(images.float(), 2)
    assert ours[0, 1].tolist() == [2, 26, 50, 3, 27, 51, 8, 32, 56, 9, 33, 57]  # the second patch, channels last
    square = images[..., :4]
    theirs = patches_of_pictures(square.permute(0, 2, 3, 1).numpy(), 2)
    assert np.array_equal(patches_of(square.float(), 2).numpy(), theirs)


@pytest.mark.parametrize("registers", [0, 2])
def test_positions_are_sines_and_cosines_and_stay_so(registers):
    method = made("mae", registers)
    table = method.network.pos_embed[0]
    assert table.shape == ((16, 48) if registers else (17, 48))
    assert registers or not table[0].any()
    row, column = 2, 3
    waves = [1 / 10_000 ** (index / 12) for index in range(12)]
    expected = [wave(place * speed) for place in (column, row) for wave in (math.sin, math.cos) for speed in waves]
    assert table[row * 4 + column - 16].tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(method.decoder.pos_embed[0, -16:], table[-16:])
    before = table.clone()
    trained(method, 2)
    assert torch.equal(method.network.pos_embed[0], before)


def test_first_weights_are_drawn_after_glorot_unless_there_is_a_start():
    from fmlab.pretrain.recipes import Start

    scratch = made("mae").network
    bound = math.sqrt(6 / (48 + 4 * 48))
    for weights in (scratch.blocks[0].mlp.fc1.weight, made("mae").decoder.blocks[0].mlp.fc1.weight):
        assert 0.98 * bound < weights.abs().max() <= bound
    assert scratch.patch_embed.proj.weight.abs().max() <= math.sqrt(6 / (48 + PATCH**2))
    start = Start("toy", "0", "vit_tiny_patch16_224", {}, None, PATCH, 1, 0, None, (0.5,), (0.5,))
    given = network(seed=3)
    expected = {name: value.clone() for name, value in given.state_dict().items()}
    kept = MAE(setting("mae", start=start), given, steps=30).network
    assert all(torch.equal(kept.state_dict()[name], value) for name, value in expected.items())
    assert not kept.pos_embed.requires_grad


# -------------------------------------------------------------------------------------------------------------- SimSiam


def simsiam_parts(method, batch):
    seen = [method.network.forward_features(view)[:, 0] for view in batch.globals]
    targets = [method.projector(each) for each in seen]
    return [method.predictor(target) for target in targets], targets


def test_simsiams_loss_is_the_mean_negative_cosine():
    method = made("simsiam")
    batch = batch_for(method)
    with torch.no_grad():
        guesses, targets = simsiam_parts(method, batch)
        cosines = []
        for guess, target in ((guesses[0], targets[1]), (guesses[1], targets[0])):
            for one, other in zip(guess.double().numpy(), target.double().numpy(), strict=True):
                cosines.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
        assert method(batch, 0, False).losses["prediction"].item() == pytest.approx(-np.mean(cosines), rel=1e-4)


def test_no_gradient_flows_through_simsiams_targets():
    """The gradient is that of predictions against constants, which is another than that of both sides."""
    method = made("simsiam")
    batch = batch_for(method)
    weights = method.projector.layers[0].weight
    (gradient,) = torch.autograd.grad(method(batch, 0, False).losses["prediction"], weights)
    guesses, targets = simsiam_parts(method, batch)

    def loss(targets):
        cosine = torch.nn.functional.cosine_similarity
        return -(cosine(guesses[0], targets[1]) + cosine(guesses[1], targets[0])).mean() / 2

    (stopped,) = torch.autograd.grad(loss([each.detach() for each in targets]), weights, retain_graph=True)
    (through,) = torch.autograd.grad(loss(targets), weights)
    torch.testing.assert_close(gradient, stopped)
    assert (gradient - through).norm() > 0.1 * gradient.norm()


def test_only_the_predictors_rate_is_constant():
    method = made("simsiam")
    assert method.constant_rate() == {name for name in method.trainable() if name.startswith("predictor.")}
    assert method.constant_rate()


def test_the_spread_of_projections_is_one_where_even_and_nothing_where_collapsed():
    method = made("simsiam")
    batch = batch_for(method)
    assert 0.7 < method(batch, 0, True).signals["output_std"].item() < 1.05
    alike = PretrainBatch(batch.globals[:, :1].expand_as(batch.globals), None, {})
    assert method(alike, 0, True).signals["output_std"].item() < 0.01


def test_simsiams_heads_are_the_papers():
    projector, predictor = made("simsiam").projector.layers, made("simsiam").predictor.layers
    assert [type(part).__name__ for part in projector] == ["Linear", "SharedBatchNorm", "ReLU"] * 2 + [
        "Linear",
        "SharedBatchNorm",
    ]
    assert not projector[-1].affine
    assert [type(part).__name__ for part in predictor] == ["Linear", "SharedBatchNorm", "ReLU", "Linear"]
    assert [predictor[0].out_features, predictor[3].out_features] == [16, 64]


# --------------------------------------------------------------------------------------------------------------- SimCLR


def test_simclr_begins_near_chance_and_has_no_common_shift():
    method = made("simclr")
    assert method(batch_for(method), 0, False).losses["contrast"].item() == pytest.approx(math.log(31), abs=1.0)
    shift = method.projector.layers[-1]
    assert isinstance(shift, SharedBatchNorm)
    assert "projector.layers.4.bias" not in method.trainable()
    trained(method, 2)
    assert not shift.bias.any()
    assert shift.weight.std() > 0


# ------------------------------------------------------------------------------------------------------------ processes


def one_pass(name, first, last):
    """The loss, the gradients and the running statistics of a pass over some of the images of a batch."""
    method = made(name).train()
    batch = batch_for(method)
    part = PretrainBatch(
        batch.globals[:, first:last], None, {draw: value[first:last] for draw, value in batch.draws.items()}
    )
    loss = sum(method(part, 0, False).losses.values())
    loss.backward()
    gradients = {each: weights.grad for each, weights in method.trainable().items()}
    running = {each: value for each, value in method.named_buffers() if "running" in each}
    return {"loss": loss.detach(), **gradients, **running}


def on_one_of_two(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    half = BATCH // 2
    seen = {name: one_pass(name, rank * half, (rank + 1) * half) for name in METHODS}
    torch.save(seen, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_compute_what_one_does(tmp_path):
    torch.multiprocessing.spawn(on_one_of_two, (str(tmp_path),), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name in METHODS:
        for what, expected in one_pass(name, 0, BATCH).items():
            both = (halves[0][name][what] + halves[1][name][what]) / 2
            assert (both - expected).norm() <= 1e-3 * expected.norm() + 1e-4, f"{name}: {what}"
