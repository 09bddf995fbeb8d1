"""Speed of penalised objectives, ganjax against PyTorch: second-order terms at 28x28, interleaved in one run.

    python benchmarks/objectives.py --rounds 5 --seconds 4 --workloads wgan_gp28 r1_28

WGAN-GP with five turns of the critic, and the non-saturating loss with R1, both with the DCGAN of width 64 without
BatchNorm in the discriminator. A step is all turns of both players. The machinery is that of speed.py.
"""

import speed
from workloads import OBJECTIVES

if __name__ == "__main__":
    speed.main(OBJECTIVES, __doc__)
