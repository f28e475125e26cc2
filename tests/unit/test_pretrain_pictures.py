"""Pictures of a pretraining: colours that stay, and patches in their places."""

import numpy as np
import pytest

from fmlab.errors import BadInput
from fmlab.pretrain.pictures import (
    Basis,
    patches_of,
    picture_steps,
    read_pictures,
    reconstructions,
    token_pictures,
    write_pictures,
)


def tokens(seed=0, images=2, grid=4, width=10):
    """Tokens that vary most along one direction, less along a second, and so on."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(images, grid, grid, width)) * 0.5 ** np.arange(width)


# Tokens ---------------------------------------------------------------------------------------------------------------


def test_the_first_three_components_become_red_green_and_blue():
    found = tokens()
    picture, basis = token_pictures(found)
    assert (picture.shape, picture.dtype) == ((2, 4, 4, 3), np.uint8)
    flat = found.reshape(-1, 10) - found.reshape(-1, 10).mean(axis=0)
    left, _, _ = np.linalg.svd(flat, full_matrices=False)
    for colour in range(3):
        shades = picture[..., colour].ravel().astype(float)
        assert abs(np.corrcoef(shades, left[:, colour])[0, 1]) > 0.98
    np.testing.assert_allclose(basis.coordinates.std(axis=0), 1)


def test_colours_stay_when_the_network_turns_its_features():
    """Another rotation and scale of the same tokens: without the basis before, the palette would change."""
    found = tokens()
    before, basis = token_pictures(found)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(10, 10)))
    turned = 7 * found @ rotation + 3
    after, _ = token_pictures(turned, basis)
    np.testing.assert_allclose(after.astype(int), before.astype(int), atol=1)
    swapped = found.copy()
    swapped[..., [0, 1, 2]] = found[..., [0, 1, 2]] * np.array([0.2, 4, -1])  # other components come first
    with_basis, _ = token_pictures(swapped, basis)
    without, _ = token_pictures(swapped)
    assert np.abs(with_basis.astype(int) - before).mean() < 0.5 * np.abs(without.astype(int) - before).mean()


def test_a_resumed_training_goes_on_from_the_pictures_on_disk():
    found = tokens()
    before, _ = token_pictures(found)
    after, _ = token_pictures(-found, Basis.of_picture(before))
    np.testing.assert_allclose(after.astype(int), before.astype(int), atol=12)


def test_tokens_that_are_all_alike_are_grey():
    picture, basis = token_pictures(np.full((1, 3, 3, 5), 0.1))
    assert (picture == 128).all()
    following, _ = token_pictures(tokens(images=1, grid=3), basis)
    assert following.std() > 0


def test_tokens_that_cannot_be_shown_are_refused():
    with pytest.raises(BadInput, match="not finite"):
        token_pictures(np.full((1, 2, 2, 5), np.nan))
    with pytest.raises(BadInput, match="same images"):
        token_pictures(tokens(images=3), token_pictures(tokens(images=2))[1])
    with pytest.raises(BadInput, match="shape"):
        token_pictures(np.zeros((4, 4, 3)))


# Reconstructions ------------------------------------------------------------------------------------------------------


def test_patches_go_row_by_row():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    assert patches_of(image, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_perfect_prediction_gives_the_image_back(channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, *channels), dtype=np.uint8)
    true = patches_of(images, 4).astype(float)
    scaled = (true - true.mean(axis=2, keepdims=True)) / true.std(axis=2, ddof=1, keepdims=True)
    hidden = np.array([[True, False, False, True], [False, True, False, False]])
    masked, rebuilt = reconstructions(images, scaled, hidden, patch=4)
    np.testing.assert_allclose(rebuilt.astype(int), images, atol=1)
    assert masked.shape == images.shape
    assert (masked[0, :4, :4] == 128).all()
    np.testing.assert_array_equal(masked[0, :4, 4:], images[0, :4, 4:])
    assert (masked[1, :4, 4:] == 128).all()


def test_an_empty_prediction_shows_each_patch_by_its_mean():
    images = np.zeros((1, 4, 4), np.uint8)
    images[0, :2, :2] = [[10, 30], [10, 30]]
    _, rebuilt = reconstructions(images, np.zeros((1, 4, 4)), np.array([[True, False, False, False]]), patch=2)
    assert (rebuilt[0, :2, :2] == 20).all()


def test_a_prediction_in_grey_values_is_shown_as_it_is():
    images = np.zeros((1, 2, 2), np.uint8)
    _, rebuilt = reconstructions(images, np.full((1, 1, 4), 0.2), np.array([[True]]), patch=2, normalised=False)
    assert (rebuilt == 51).all()


def test_a_prediction_of_other_patches_is_refused():
    with pytest.raises(BadInput, match="do not fit"):
        reconstructions(np.zeros((1, 4, 4), np.uint8), np.zeros((1, 1, 16)), np.zeros((1, 4), bool), patch=2)


# Files ----------------------------------------------------------------------------------------------------------------


def test_pictures_are_kept_by_step(tmp_path):
    images, (pca, _) = np.zeros((2, 8, 8), np.uint8), token_pictures(tokens())
    assert picture_steps(tmp_path) == {}
    write_pictures(tmp_path, 1200, images, pca)
    path = write_pictures(tmp_path, 0, images, pca, masked=images, reconstructed=images + 1)
    assert path.name == "step-00000000.npz"
    assert list(picture_steps(tmp_path)) == [0, 1200]
    kept = read_pictures(path)
    assert set(kept) == {"images", "pca", "masked", "reconstructed"}
    np.testing.assert_array_equal(kept["pca"], pca)
    assert set(read_pictures(picture_steps(tmp_path)[1200])) == {"images", "pca"}
    assert [path.name for path in (tmp_path / "pictures").iterdir() if not path.name.endswith(".npz")] == []
