"""Speed of translators, ganjax against PyTorch: training, interleaved in one run.

    python benchmarks/translation.py --rounds 5 --seconds 4

CycleGAN with pools and identity losses on 32x32 (width 32, three residual blocks, batch 16), and pix2pix with a U-Net
of six halvings on 64x64 (width 32, batch 16), networks and play as in the authors' PyTorch code. The machinery is that
of speed.py; peer_translation.py is PyTorch's side.
"""

import speed
from workloads import TRANSLATION

if __name__ == "__main__":
    speed.main(TRANSLATION, __doc__)
