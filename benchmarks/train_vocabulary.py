"""Find the visual words of the screen: the centres of clusters of RootSIFT descriptors (spherical k-means).

    python benchmarks/train_vocabulary.py PICTURES [--write]

Prints how evenly the words are used. ``--write`` replaces ``provenance_guard/similarity/vocabulary.npy``; every library then has to
be described by the new words, so ``vocabulary.VERSION`` must change with it.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from provenance_guard.pictures import SUFFIXES
from provenance_guard.similarity import features, vocabulary
from provenance_guard.similarity.normalise import read

WORDS = 1024
ROUNDS = 20
SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.pictures.rglob("*") if path.suffix.lower() in SUFFIXES)
    with ThreadPoolExecutor() as pool:
        described = list(pool.map(lambda path: features.describe(read(path), features.QUERY_COUNT).descriptors, files))
    words, used = find_words(torch.from_numpy(np.concatenate(described)).float())
    print(f"{len(files)} pictures, {int(used.sum())} descriptors, {int(used.min())} to {int(used.max())} a word")
    if arguments.write:
        np.save(vocabulary.FILE, (words * features.SCALE).round().clamp(0, 127).to(torch.int8).numpy())


def find_words(descriptors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Words of length 1 (1024, 128), and how many descriptors (n, 128) each stands for."""
    unit = torch.nn.functional.normalize(descriptors, dim=1)
    generator = torch.Generator().manual_seed(SEED)
    words = unit[torch.randperm(len(unit), generator=generator)[:WORDS]]
    used = torch.zeros(WORDS)
    for _ in range(ROUNDS):
        nearest = torch.cat([(part @ words.T).argmax(dim=1) for part in unit.split(20_000)])
        used = torch.bincount(nearest, minlength=WORDS)
        sums = torch.zeros_like(words).index_add_(0, nearest, unit)
        sums[used == 0] = unit[torch.randperm(len(unit), generator=generator)[: int((used == 0).sum())]]
        words = torch.nn.functional.normalize(sums, dim=1)
    return words, used


if __name__ == "__main__":
    main()
