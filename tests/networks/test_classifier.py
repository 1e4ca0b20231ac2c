"""The judge: shapes, names, and that it can learn."""

import torch

from hairclip.networks.classifier import HairstyleClassifier


def test_logits_and_names_for_images_of_any_size():
    torch.manual_seed(0)
    judge = HairstyleClassifier(["afro", "bob cut", "mohawk"], widths=(4, 8), input_size=16).eval()
    for size in (16, 24, 64):
        images = torch.rand(2, 3, size, size) * 2 - 1
        logits = judge(images)
        assert logits.shape == (2, 3)
        assert judge.names(images) == [judge.classes[i] for i in logits.argmax(dim=1)]


def test_it_learns_a_simple_distinction():
    torch.manual_seed(0)
    judge = HairstyleClassifier(["dark", "light"], widths=(4, 8), input_size=16)
    optimizer = torch.optim.Adam(judge.parameters(), lr=1e-2)
    labels = torch.arange(16) % 2
    images = (labels * 1.0 - 0.5)[:, None, None, None] + 0.1 * torch.randn(16, 3, 16, 16)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(judge(images), labels).backward()
        optimizer.step()
    assert judge.eval().names(images) == ["dark", "light"] * 8
