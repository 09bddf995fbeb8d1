"""Speed of models with a likelihood, ganjax against PyTorch: training and drawing, interleaved in one run.

    python benchmarks/relatives.py --rounds 5 --seconds 4 --workloads vae gated_pixelcnn sample_gated_pixelcnn

The variational autoencoder of Burda et al. with one latent layer, and Gated PixelCNN of width 16 with six blocks, both
on binarised 28x28 images in batches of 100 and 64, with Adam and an average of the weights. A step of sampling is a
batch of 64 images. The machinery is that of speed.py; peer_relatives.py is PyTorch's side.
"""

import speed
from workloads import RELATIVES

if __name__ == "__main__":
    speed.main(RELATIVES, __doc__, images=64)
