"""What the service takes and answers, every field described; the OpenAPI description is made of these."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Decision = Literal["good", "defective"]
MapKind = Literal["none", "png", "values", "image", "overlay"]
StateDigest = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{16}$",
        description="A digest of all that /info says, which changes where any of it does: the model, a threshold, a "
        "colour scale, the calibration.",
    ),
]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the image's bytes.")]


class Answer(BaseModel):
    """All bodies: no field but those described."""

    model_config = ConfigDict(extra="forbid")


class Problem(Answer):
    """Why a request was refused."""

    detail: str = Field(description="A sentence: what was expected, what came, what to do.")


class Region(Answer):
    """One connected region at or above the pixel threshold, in pixels of the image that was sent."""

    x: int = Field(description="The first column, from the left; the image's EXIF rotation is carried out.")
    y: int = Field(description="The first row, from the top.")
    width: int = Field(description="Columns, at least 1.")
    height: int = Field(description="Rows, at least 1.")
    area: int = Field(description="Pixels that it covers, at least 1.")
    peak: float = Field(description="The map's largest value in it.")
    peak_x: int = Field(description="The column of the pixel with that value.")
    peak_y: int = Field(description="The row of that pixel.")


class Result(Answer):
    """What the model says of one image, or why it could not be read."""

    name: str = Field(description="The name that the image was sent under, to show; nothing is opened by it.")
    id: Digest
    width: int | None = Field(description="Of the image, in pixels; null where it cannot be read.")
    height: int | None = Field(description="Of the image, in pixels; null where it cannot be read.")
    score: float | None = Field(description="The map's maximum, in [0, 2]: higher is less normal; null with an error.")
    share_below: float | None = Field(
        description="The share of the calibration's normal images that score lower; null without a calibration."
    )
    decision: Decision | None = Field(
        description="`defective` where the score reaches the threshold; null where no threshold is known."
    )
    threshold: float | None = Field(description="The score that decided; null where none is known.")
    regions: list[Region] = Field(description="Where the map reaches the pixel threshold, highest peak first.")
    map: str | None = Field(
        description="Base64 of a PNG as large as the model's input: for `png` the map as 8-bit grey over the scale "
        "that /info names, for `values` all of the map, red * 256 + green standing for 65535 / 2 times its value, for "
        "`image` the image as a person sees it, for `overlay` the image with the map over it; null where none was "
        "asked for."
    )
    error: str | None = Field(description="Why the image cannot be read; null where it can.")


class Predictions(Answer):
    """The results of one request, in the order of its images."""

    model: str = Field(description="The checksum of the model that said all this.")
    state: StateDigest
    results: list[Result] = Field(description="One for each image.")


class Limits(Answer):
    """What the server takes on at most."""

    body_bytes: int = Field(description="Bytes of one request's body.")
    pixels: int = Field(description="Pixels of one image.")
    batch: int = Field(description="Images in one request.")
    queue: int = Field(description="Images taken in and not yet answered.")


class Calibration(Answer):
    """The distribution of normal scores that thresholds come from."""

    scores: list[float] = Field(
        description="101 quantiles, 0 % to 100 %, of the scores of all normal calibration images; where the server "
        "decides by the thresholds of one class, of that one's."
    )
    class_scores: dict[str, list[float]] = Field(
        description="The same of the classes that are calibrated on their own, which `share_below` of their images is "
        "counted among, even where the server was given a threshold that decides; that of others among all `scores`."
    )
    count: int = Field(description="Normal images calibrated on.")
    class_counts: dict[str, int] = Field(description="The same of each class in `class_scores`.")
    method: str = Field(description="`false-alarms`, `f1-max` or `recall`.")
    false_alarm_rate: float = Field(description="The expected share of normal images that count as defective.")
    wanted: float | None = Field(description="The false-alarm rate or recall that was asked for.")
    interval: tuple[float, float] = Field(description="In which the true false-alarm rate lies.")
    confidence: float = Field(description="How often such intervals hold the truth.")
    images: str = Field(description="Where the calibration images came from.")


class Description(Answer):
    """What `Info` says, but for the digest of all this."""

    name: str = Field(description="The model's name: that of its run folder or file, which a link leads to.")
    checksum: str = Field(description="The SHA-256 of the trained model; changes with a reload of another.")
    version: str = Field(description="Of the package invad.")
    classes: list[str] = Field(description="What the model was trained on; empty where that is not known.")
    class_names: list[str] = Field(description="What `class_name` may be; empty: any name, which decides nothing.")
    image_size: tuple[int, int] = Field(description="Height and width of the model's input and of its maps.")
    threshold: float | None = Field(description="For images whose class is not said; null: nothing is decided.")
    thresholds: dict[str, float] = Field(description="Image thresholds of the classes that have their own.")
    pixel_threshold: float | None = Field(
        description="From which map value on regions begin, where the class is not said."
    )
    pixel_thresholds: dict[str, float] = Field(description="The same for the classes that have their own.")
    scale: tuple[float, float] = Field(
        description="The map values where colours begin and end, which a `png` map shows as 0 and as 255, for images "
        "of unknown class."
    )
    scales: dict[str, tuple[float, float]] = Field(description="The same for each class.")
    calibration: Calibration | None = Field(description="Null where the model has none.")
    limits: Limits = Field(description="What the server takes on at most.")
    auth: bool = Field(description="Whether requests need a bearer token.")
    marks: bool = Field(description="Whether marks are kept.")


class Info(Description):
    """What is served, and how it decides."""

    state: StateDigest


class State(Answer):
    """Whether the server is there."""

    status: Literal["alive", "ready", "stopping"] = Field(description="`stopping`: it takes no new images.")


class Reload(Answer):
    """What a reload found."""

    checksum: str = Field(description="Of the model that is served now.")
    previous: str = Field(description="Of the one before.")
    changed: bool = Field(description="Whether they differ.")


class NewMark(Answer):
    """What a person says of an image."""

    mark: Decision = Field(description="What the image really is.")
    class_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="What it shows; null: as it was predicted with, or the model's only class.",
    )
    name: str | None = Field(default=None, max_length=255, description="A name to show; null: as it was sent under.")


class Mark(Answer):
    """A mark that is kept, with what the model said."""

    id: Digest
    mark: Decision = Field(description="What a person says that the image is.")
    class_name: str | None = Field(description="What it shows; null: not known.")
    name: str = Field(description="A name to show.")
    width: int = Field(description="Of the image, in pixels.")
    height: int = Field(description="Of the image, in pixels.")
    score: float = Field(description="The model's, when the image was predicted.")
    threshold: float | None = Field(description="The one that decided then.")
    decision: Decision | None = Field(description="The model's, then.")
    model: str = Field(description="The checksum of the model that said so.")
    marked_at: str = Field(description="When, as ISO 8601 in UTC.")


class Marks(Answer):
    """All marks, the newest first."""

    marks: list[Mark] = Field(description="One for each image that is marked.")
