"""Copies to a device that the processor does not wait for."""

from __future__ import annotations

import torch


def moved(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """A tensor on a device; to CUDA from pages that stay in memory, so that the copy goes on beside what comes next."""
    if not device.startswith("cuda") or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
