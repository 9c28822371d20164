"""`invad demo`."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from invad.errors import RunError, command
from invad.settings import TrainSettings

SETTINGS = TrainSettings(encoder="analytic", image_size=(128,), batch_size=16, epochs=27, blocks=(1, 2, 2))
"""Small enough for two cores in minutes; everything else is the default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Demo:
    """All of it on images made on the spot: data, training, evaluation, a report; no network, no accelerator."""

    out: Path = Path("invad-demo")
    """The folder to work in."""
    overwrite: bool = False
    """Replace an earlier demo in that folder."""
    quiet: bool = False
    """Show no progress."""

    def run(self) -> None:
        """Make the images, train one model on all classes, evaluate, and write the report."""
        from invad.cli.evaluation import BOOTSTRAP, show
        from invad.data import make_synthetic, open_dataset
        from invad.evaluation import evaluate
        from invad.reporting import report
        from invad.training import train

        say = Console(stderr=True, quiet=self.quiet).print
        run_folder = self.out / "run"
        if run_folder.exists():
            if not self.overwrite:
                raise RunError(f"{run_folder} exists already; choose another --out, or pass --overwrite")
            if not (run_folder / "settings.toml").is_file():
                raise RunError(f"{run_folder} is not an earlier demo, so it is not replaced; choose another --out")
            shutil.rmtree(run_folder)
        say("[1/4] making images")
        make_synthetic(self.out / "data")
        data = open_dataset(f"synthetic:{self.out / 'data'}")
        say(f"[2/4] training one model on {len(data.classes)} classes: {', '.join(data.classes)}")
        settings = dataclasses.replace(SETTINGS, data=(f"synthetic:{self.out / 'data'}",))
        run = train(settings, run_folder, quiet=self.quiet)
        say("[3/4] evaluating")
        evaluation = evaluate(run, bootstrap=BOOTSTRAP, quiet=self.quiet)
        say("[4/4] writing the report")
        page = report(run)
        show(evaluation.results)
        print(f"report: {page.resolve()}")
        print(f"next:   {command('predict', run_folder, self.out / 'data', '--out', self.out / 'predictions')}")
