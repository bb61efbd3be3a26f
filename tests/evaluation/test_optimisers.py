from __future__ import annotations

import pytest
import torch

from gendistill.evaluation.optimisers import OPTIMISERS

RATES, MOMENTA, DECAYS = (0.1, 0.02), (0.9, 0.5), (5e-4, 0.1)


def reference(name: str, start: torch.Tensor, gradients: torch.Tensor, row: int) -> torch.Tensor:
    parameter = torch.nn.Parameter(start[row].clone())
    optimiser: torch.optim.Optimizer
    if name == "sgd":
        optimiser = torch.optim.SGD([parameter], RATES[row], momentum=MOMENTA[row], weight_decay=DECAYS[row])
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
        optimiser = kind([parameter], RATES[row], weight_decay=DECAYS[row])
    for gradient in gradients[:, row]:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter.detach()


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("together", [True, False])
def test_rows_move_as_torchs_optimiser_moves_each(name, together):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    gradients = torch.randn(6, 2, 7, generator=generator, dtype=torch.float64)
    matrix = start.clone()
    rows = OPTIMISERS[name](matrix)
    for step, gradient in enumerate(gradients):
        if together:
            columns = [torch.tensor(values, dtype=torch.float64)[:, None] for values in (RATES, MOMENTA, DECAYS)]
            rows.update(slice(None), gradient.clone(), step, *columns)
        else:
            for row in range(2):
                part = slice(row, row + 1)
                rows.update(part, gradient[part].clone(), step, RATES[row], MOMENTA[row], DECAYS[row])
    for row in range(2):
        torch.testing.assert_close(matrix[row], reference(name, start, gradients, row), rtol=1e-12, atol=1e-12)
