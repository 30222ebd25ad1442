from torch import nn


class Light(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.m = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(16, 32, 4, 2, 1), nn.LeakyReLU(.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1))
    def forward(self, x):
        return self.m(x).squeeze(-1)
DISCRIMINATORS = {"light": Light, "srgan": Light}
