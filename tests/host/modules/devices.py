"""Device and number formats."""

from __future__ import annotations

import torch

device: torch.device = torch.device("cpu")
dtype: torch.dtype = torch.float32
dtype_vae: torch.dtype = torch.float32
dtype_unet: torch.dtype = torch.float32
