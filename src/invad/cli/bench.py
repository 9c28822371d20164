"""`invad bench`."""

import math
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from invad.errors import DataError, SettingsError

DRAWN = 8
"""Photos that are drawn where none are given, and their side in pixels."""
SIDE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Time a model on this machine: latency, throughput, and what a million images cost."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run folder made by `invad train`, or a file made by `invad export`."""
    images: tuple[Path, ...] = ()
    """Photos, or folders of them, to time it on: all, or 16 of them, evenly spread. None given: drawn
    ones of 1024 x 1024 pixels, as JPEG."""
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    """The batch sizes that the best throughput is looked for in."""
    seconds: float = 5.0
    """How long each of the measurements goes on."""
    price_per_hour: float | None = None
    """What an hour of this machine costs, in any currency, for the price of a million images."""
    watts: float | None = None
    """What this machine draws under load, for the energy of a million images."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""
    threads: int | None = None
    """Threads to compute with. None: as many as the runtime chooses."""

    def run(self) -> None:
        """Time, and print."""
        from invad.inference.bench import bench
        from invad.inference.opening import open_model

        self._require_numbers()
        opened = open_model(self.model, device=self.device, threads=self.threads)
        with tempfile.TemporaryDirectory() as folder:
            paths = self._photos(Path(folder))
            found = bench(opened.scorer, paths, seconds=self.seconds, batches=self.batches)
        processor = platform.processor() or platform.machine()
        print(f"{self.model} on {processor}, {os.cpu_count()} cores; {found.photos} of {len(paths)} photos")
        print("                     latency ms        throughput")
        print("                  p50    p90    p99   images/s  batch")
        for what, timing in (("from pixels", found.pixels), ("with decoding", found.files)):
            shown = "".join(f"{value:7.1f}" for value in timing.latency.values())
            print(f"{what:<14}{shown}{timing.throughput:11.1f}{timing.batch:7d}")
        hours = found.files.hours()
        print(f"a million images, decoded: {hours:.2f} hours at full throughput")
        if self.price_per_hour is not None:
            print(f"  price: {hours * self.price_per_hour:.2f} at {self.price_per_hour:g} an hour")
        if self.watts is not None:
            print(f"  energy: {hours * self.watts / 1000:.2f} kWh at {self.watts:g} W")

    def _require_numbers(self) -> None:
        """Refuse numbers that nothing can be timed or computed with; a comparison with NaN is false."""
        above_zero = {"--seconds": self.seconds, "--batches": min(self.batches, default=0)}
        for name, value in above_zero.items():
            if not 0 < value < math.inf:
                raise SettingsError(f"{name} must be a finite number above 0, not {value}")
        for name, given in {"--price-per-hour": self.price_per_hour, "--watts": self.watts}.items():
            if given is not None and not 0 <= given < math.inf:
                raise SettingsError(f"{name} must be a finite number, 0 or more, not {given}")

    def _photos(self, folder: Path) -> list[Path]:
        """The photos given, or drawn ones in a folder."""
        from invad.inference.inputs import list_inputs

        if self.images:
            given = [str(path) for path in self.images]
            named = [item.path for item in list_inputs(given)]
            if not named:  # a manifest or standard input without a line; list_inputs refuses an empty folder
                raise DataError(f"no image is named in {', '.join(given)}; expected one or more to time the model on")
            return named
        import numpy as np
        from PIL import Image

        rng = np.random.default_rng(0)
        paths = [folder / f"{i}.jpg" for i in range(DRAWN)]
        for path in paths:
            coarse = Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=92)
        return paths
