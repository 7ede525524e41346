"""What every test may ask for."""

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded source of randomness; no test touches the global one."""
    return torch.Generator().manual_seed(20)
