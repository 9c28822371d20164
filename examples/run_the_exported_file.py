"""Export a run as one ONNX file, run it by ONNX Runtime alone, and see that both say the same.

    pip install '.[export]'
    python examples/run_the_exported_file.py
    python examples/run_the_exported_file.py --run runs/parts --photos new --out parts.onnx

`alone` is all that a line needs: it imports nothing of invad, and gives the file photos as a person sees them. The
first command trains a small model.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import invad
from invad.data import make_synthetic
from invad.data.images import is_image
from invad.inference import export

SMALL = invad.TrainSettings(encoder="analytic", image_size=(96,), blocks=(1, 1, 1), batch_size=8, held_back=0.2)


def alone(model: Path, photos: list[Path]) -> tuple[list[float], float | None]:
    """Return the scores of the photos, and the threshold that rides in the file, if one does."""
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageOps

    session = onnxruntime.InferenceSession(model)
    scores = []
    for photo in photos:
        upright = ImageOps.exif_transpose(Image.open(photo))  # turned as its EXIF flag says
        pixels = np.asarray(upright.convert("RGB"))  # (H, W, 3), of any size
        _map, (score,) = session.run(["map", "score"], {"images": pixels[None]})
        scores.append(float(score))
    decision = json.loads(session.get_modelmeta().custom_metadata_map["invad"])["decision"]
    return scores, decision and decision["overall"]["image"]


def main() -> None:
    """Export, run the file, and compare with the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="left out: a small one is trained")
    parser.add_argument("--photos", type=Path, help="a folder of them; left out: images made on the spot")
    parser.add_argument("--out", type=Path, help="the file; left out: a temporary one")
    parser.add_argument("--steps", type=int, default=120, help="of the training")
    options = parser.parse_args()

    work = Path(tempfile.mkdtemp())
    fabric = make_synthetic(work / "photos", train=100, good=3, defective=1, size=96)[1]
    run = options.run or small_run(work, fabric, options.steps)
    photos = sorted(path for path in (options.photos or fabric / "test").rglob("*") if is_image(path.name))
    out = options.out or work / "fabric.onnx"
    try:
        exported = export(run, out, to="onnx")
    except invad.InvadError as error:
        raise SystemExit(str(error)) from error
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, checked on {exported.images}")

    scores, threshold = alone(out, photos)
    predictor = invad.load(run)
    predictions = [predictor(photo) for photo in photos]
    print(f"threshold: {threshold}")
    for photo, score, prediction in zip(photos, scores, predictions, strict=True):
        said = "" if threshold is None else "anomalous" if score >= threshold else "normal"
        print(f"{photo.parent.name}/{photo.name}: {score:.4f} by the file, {prediction.score:.4f} by the run  {said}")
    apart = max(abs(score - found.score) for score, found in zip(scores, predictions, strict=True))
    print(f"file and run differ by at most {apart:.1e}")


def small_run(work: Path, fabric: Path, steps: int) -> Path:
    """A run on fabric made on the spot, which calibrates itself."""
    settings = replace(SMALL, data=(f"folder:{fabric}",), steps=steps)
    return invad.train(settings, work / "run", quiet=True).path


if __name__ == "__main__":
    main()
