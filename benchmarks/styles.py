"""Speed of StyleGAN2, ganjax against PyTorch: training steps and draws, interleaved in one run.

    python benchmarks/styles.py --rounds 5 --seconds 4

The networks of 64x64 pixels that experiments/stylegan.py trains by default, batch 16, R1 in every 16th step and path
lengths in every 4th, and 64 draws of the generator, whose time is that of modulated convolutions: by activations here,
by a kernel for each example in one grouped convolution there, as in the authors' PyTorch code. The machinery is that of
speed.py; peer_styles.py is PyTorch's side.
"""

import speed
from workloads import STYLES

if __name__ == "__main__":
    speed.main(STYLES, __doc__)
