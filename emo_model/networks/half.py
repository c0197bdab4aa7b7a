"""Matrices and convolutions held in bfloat16: half the memory of what does not learn."""

import torch
from torch import nn


def frozen_in_half(network: nn.Module) -> None:
    """Hold the frozen matrices and convolutions in bfloat16, as autocast would cast them in every step: the same
    results to the bit, half the memory. Norms stay float32."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)
