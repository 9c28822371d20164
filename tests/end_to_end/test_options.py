"""The command line's options are a promise: this list changes only together with the CHANGELOG."""

import re

import pytest

from invad.cli.main import VERBS, parse

SETTINGS = """accumulate batch-size blocks blur cache cache-dir cache-memory checkpoint-every choose-by classes compile
data
device encoder epochs eval-every feature-disk feature-memory gradient-clip held-back image-size keep
latent-channels later-rates learning-rate levels loss loss-weight model no-resize-levels no-skip-unreadable
no-validation patience precision recipe resize-levels schedule seed skip-unreadable split standardise steps
style-channels track validation views warmup weights"""
OPTIONS = {
    "train": f"config dry-run help no-dry-run no-quiet out quiet resume {SETTINGS}",
    "reproduce": "help no-quiet out quiet",
    "evaluate": """bootstrap classes data device from-maps help no-report out protocol report save-maps split threshold
views""",
    "calibrate": """class device false-alarms help labelled no-overwrite no-quiet normal overwrite quiet recall
regions""",
    "predict": """batch-size class device format help maps no-maps no-overlays no-overwrite no-quiet no-resume no-strict
out overlays overwrite quiet resume scale strict threshold""",
    "serve": """access-log batch body-bytes body-seconds compute-batch compute-wait connections device help host hosts
idle-seconds insecure marks name no-access-log no-insecure pixels port queue receiving-bytes recent-bytes threshold
token-file""",
    "marks export": "help marks",
    "export": "help max-drop no-overwrite normal out overwrite precision to",
    "bench": "batches device help images price-per-hour seconds threads watts",
    "report": "bootstrap data device help out split views",
    "data check": "classes help split views",
    "data list": "help",
    "data coco": "all-splits help no-all-splits root split",
    "data fixture": "help",
    "data synthetic": "help seed",
    "import-weights": "data device help model out split",
    "results": "downloads format help no-downloads no-printed printed",
    "presets": "help",
    "demo": "help no-overwrite no-quiet out overwrite quiet",
}


@pytest.mark.parametrize("verb", VERBS)
def test_options(verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit, match="0"):
        parse(verb, ["--help"])
    shown = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", capsys.readouterr().out))
    assert shown == set(OPTIONS[verb].split())


def test_every_verb_has_its_list() -> None:
    assert set(OPTIONS) == set(VERBS)
