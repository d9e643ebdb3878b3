"""The settings of a study: typed, each with a default; unknown keys are refused.

The defaults are the main paper's protocol; ``configs/sacral_ct.yaml`` gives the source of each
value, or says that the paper does not state it and the choice is ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]
Component = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$|^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        max_length=200,
    ),
]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
READER = "reader"
"""The radiologist as a part of a fusion."""
READERS = "readers"
"""Part of a stack: every reader, each as a feature of its own."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


class DicomSettings(_Section):
    """Conversion of a DICOM series to a volume in Hounsfield units."""

    kernel: Literal["any", "bone", "soft"] = "any"
    """Preferred reconstruction where an exam has several."""
    irregular: Literal["refuse", "resample"] = "refuse"
    """Handling of tilted or unevenly spaced series."""


class PacsSettings(_Section):
    """Pulling of examinations from a PACS; addresses and credentials are never settings."""

    deid: Literal["basic", "none"] = "basic"
    """``basic``: images are de-identified by the basic profile of DICOM PS3.15 before they are
    written; ``none``: they are written as they are sent."""


class Crop3D(_Section):
    """The cube that is the 3D network's input."""

    size: Annotated[int, Field(ge=8, le=512)] = 96
    """Voxels along each edge."""
    spacing: PositiveFloat = 1.0
    """Edge of a voxel in mm."""
    margin: NonNegativeFloat = 10.0
    """Tissue around the lesion, in mm."""
    mode: Literal["physical", "fit"] = "physical"
    """``physical``: fixed voxel size; ``fit``: the lesion's bounding box fills the cube."""
    interpolation: Literal["linear", "cubic"] = "linear"
    """Interpolation of the one resampling."""


class Images2D(_Section):
    """The three images of a patient that are the 2D network's input."""

    views: Literal["planes", "neighbours"] = "planes"
    """``planes``: largest axial, coronal and sagittal section; ``neighbours``: three axial."""
    distance: PositiveFloat = 5.0
    """mm between the images where ``views`` is ``neighbours``."""
    size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Pixels along each edge."""
    margin: NonNegativeFloat = 10.0
    """Tissue around the lesion, in mm."""


class Radiographs(_Section):
    """The crop of a radiograph that is a network's input."""

    size: Annotated[int, Field(ge=16, le=2048)] = 224
    """Pixels along each edge."""
    region: Literal["box", "box_or_image", "image"] = "box"
    """``box``: each radiograph needs a region; ``box_or_image``: one without a region is taken
    whole; ``image``: all are taken whole."""
    margin: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Width added on each side of the box, as a share of its longer edge."""
    aspect: Literal["letterbox", "stretch"] = "letterbox"
    """``letterbox``: the aspect ratio is kept and the square is padded; ``stretch``: it is not."""


class PreprocessSettings(_Section):
    """From a volume and a lesion mask to the networks' input."""

    mask_label: int | str | None = None
    """Label of the lesion in the mask, by name or number (the value of its voxels; of DICOM, the
    number of the segment or structure); null where a mask has one label."""
    lesions: Literal["all", "largest"] = "all"
    """Where a mask has several separate parts: all together are the lesion, or the largest alone. A
    number in the cohort's ``lesion`` column takes one part, so that each can be a case."""
    crop_3d: Crop3D = Crop3D()
    images_2d: Images2D = Images2D()
    radiographs: Radiographs = Radiographs()


class FoldSettings(_Section):
    """Cross-validation by patient."""

    count: Annotated[int, Field(ge=2, le=20)] = 5
    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Share of the training part that is held out for validation."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Window(_Section):
    """One grey-scale window in HU, scaled to 0–1 in the network's input."""

    center: float
    width: PositiveFloat


BONE = Window(center=400, width=1800)
SOFT_TISSUE = Window(center=40, width=400)
WIDE = Window(center=0, width=2000)

GREY_WHITE = 10_000
"""Stored value of white in the crop of a radiograph; black is 0."""
FULL_GREY = Window(center=GREY_WHITE / 2, width=GREY_WHITE)
"""The whole grey scale of a radiograph."""


class ExtraTransform(_Section):
    """A further transform of each training sample; every other key is an argument of it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*([.:][A-Za-z_]\w*)+$", max_length=200)]
    """Dotted name of the class, such as `monai.transforms.RandGaussianNoise`."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The other keys."""
        return dict(self.model_extra or {})


class Augmentation(_Section):
    """Random changes of each training sample: uniform draws from ranges around no change."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Degrees about each axis."""
    translation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the edge along each axis."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """0.1 draws a zoom between 0.9 and 1.1."""
    flip: tuple[
        Literal["left_right", "anterior_posterior", "superior_inferior", "horizontal", "vertical"],
        ...,
    ] = ("left_right",)
    """Axes that are mirrored, each with probability 0.5: the patient's in CT, ``horizontal`` and
    ``vertical`` in radiographs."""
    extra: tuple[ExtraTransform, ...] = ()
    """Intensity transforms of MONAI, TorchIO or your own, applied in HU after the resampling."""


class TrainingSettings(_Section):
    """Training of a network; a model may override any setting."""

    batch_size: Annotated[int, Field(ge=1)] = 20
    epochs: Annotated[int, Field(ge=1)] = 50
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of SGD."""
    schedule: Literal["constant", "cosine", "step"] = "constant"
    """Of the learning rate; ``cosine``: it falls to 0 along half a cosine after the warm-up;
    ``step``: it is multiplied by ``step_factor`` after every ``step_epochs`` epochs."""
    step_epochs: Annotated[int, Field(ge=1)] = 30
    """Epochs between two steps of the schedule ``step``."""
    step_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor of the learning rate at each step."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs over which the learning rate rises linearly from 0."""
    loss: Component = "cross_entropy"
    """``cross_entropy``, ``focal``, or your own as ``package.module:name``."""
    focal_gamma: NonNegativeFloat = 2.0
    """γ of the focal loss: larger values give easy cases less weight; 0 is cross-entropy."""
    class_weights: Literal["none", "balanced"] | dict[Name, PositiveFloat] = "none"
    """Weight of each class in the loss; ``balanced``: inverse to its number of training cases."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread over all classes."""
    sampling: Literal["each", "balanced"] = "each"
    """``each``: every training image once an epoch; ``balanced``: as many, drawn with replacement
    so that all classes are equally likely."""
    mixup: NonNegativeFloat = 0.0
    """α of mixup's Beta distribution; 0: no mixup."""
    cutmix: NonNegativeFloat = 0.0
    """α of CutMix's Beta distribution; 0: no CutMix. With mixup too, each image is drawn one of the
    two, equally likely."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average (EMA) of the weights, which is validated and kept in
    their place; 0: no average."""
    swa_start: Annotated[int, Field(ge=1)] | None = None
    """Stochastic weight averaging (SWA): the mean of the weights after each epoch from this one on,
    with batch-norm statistics of the training part, is validated and kept; null: no average."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many epochs without improvement; null: train all epochs."""
    micro_batch: Annotated[int, Field(ge=2)] | None = None
    """Samples at once through the network (gradient accumulation); null: the whole batch."""
    augmentation: Augmentation = Augmentation()
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 on a GPU that computes in it, else fp32; on processors bf16 is unproven."""
    channels_last: bool = True
    """Channels-last memory format of images and kernels; false: PyTorch's default format."""
    compile: bool = False
    """Run ``torch.compile`` first: it takes minutes and saves time in long runs on a GPU."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _parts_fit(self) -> TrainingSettings:
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs}, expected fewer than epochs, {self.epochs}"
            )
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum belongs to optimizer sgd, found {self.optimizer}")
        if self.swa_start is not None and self.ema:
            raise ValueError("ema and swa_start are two averages of the weights; set one")
        if self.swa_start is not None and self.swa_start > self.epochs:
            raise ValueError(
                f"swa_start is {self.swa_start}, expected at most epochs, {self.epochs}"
            )
        if self.micro_batch is not None and self.micro_batch > self.batch_size:
            raise ValueError(
                f"micro_batch is {self.micro_batch}, expected at most batch_size, {self.batch_size}"
            )
        return self


class ModelSettings(_Section):
    """One network of the study."""

    title: Annotated[str, Field(max_length=100)] = ""
    """Its name in the report and the figures; empty: the key."""
    dim: Literal["2d", "3d", "radiograph"]
    network: Component = "densenet121"
    """MONAI's name; in 2D timm's, or MONAI's after ``monai.``; or your own as
    ``package.module:Class``."""
    network_options: dict[str, Any] = {}
    """Further arguments of the network."""
    weights: str = "none"
    """Initial weights: ``none`` (random), ``imagenet``, or the path of a safetensors file."""
    windows: Annotated[tuple[Window, ...], Field(min_length=1)] = (WIDE,)
    """One input channel for each window, in HU; of radiographs in grey, 0 to 10,000. The default
    is −1000 to 1000 HU, or the whole grey scale."""
    normalise: Literal["windows", "training"] = "windows"
    """``windows``: the input is 0–1 in each window (with ImageNet weights: normalised as ImageNet);
    ``training``: minus the mean, divided by the standard deviation, of the training part."""
    view_weights: Literal["equal", "area"] | tuple[NonNegativeFloat, ...] = "equal"
    """Weights of a 2D model's images in the patient's probability: ``equal``, by lesion ``area``,
    or given."""
    mask: Literal["none", "channel", "only"] = "none"
    """``channel``: the lesion's mask is one more input channel; ``only``: voxels outside it are set
    to air."""
    mask_dilation: NonNegativeFloat = 0.0
    """mm by which the mask is dilated first."""
    outputs: Literal["softmax", "sigmoid"] = "softmax"
    """``softmax``: one output a class; ``sigmoid``: one output, for two classes, whose
    cross-entropy is the binary one."""
    tta: Literal["none", "flips"] = "none"
    """Test-time augmentation: ``flips`` averages the probabilities of the image and its mirror
    images along each axis of ``training.augmentation.flip``."""
    metadata: tuple[str, ...] = ()
    """Clinical columns of ``cohort.csv``, such as age and sex: the network's second input."""
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="before")
    @classmethod
    def _grey_window(cls, raw: Any) -> Any:
        """Give a radiograph's network its whole grey scale, unless windows are given."""
        if isinstance(raw, dict) and raw.get("dim") == "radiograph" and "windows" not in raw:
            return {**raw, "windows": (FULL_GREY,)}
        return raw

    @model_validator(mode="after")
    def _mask_is_used(self) -> ModelSettings:
        if self.dim == "radiograph" and self.mask != "none":
            raise ValueError("radiographs have a region and no mask; set mask to none")
        if self.tta == "flips" and self.dim == "2d":
            raise ValueError("tta: the planes of a CT have different axes; set tta to none")
        if self.mask_dilation and self.mask == "none":
            raise ValueError(
                "mask_dilation dilates a mask that is not used; set mask to channel or only"
            )
        return self

    @property
    def channels(self) -> int:
        """Input channels of the network: one for each window, and the mask's."""
        return len(self.windows) + (self.mask == "channel")

    @field_validator("metadata")
    @classmethod
    def _columns_once(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError(f"each column once, found {list(columns)}")
        return columns


_PAPER_MODELS = {
    "3d": {"dim": "3d"},
    "2d": {"dim": "2d", "weights": "imagenet", "windows": (BONE, SOFT_TISSUE, WIDE)},
}


_SCORES = {
    "nine_point": {str(score): score / 10 for score in (1, 2, 3, 4, 6, 7, 8, 9)},
    "five_point": {str(score): (2 * score - 1) / 10 for score in range(1, 6)},
}
"""Probability of each score. ``nine_point``: the main paper's scale, which excludes the 50 %
midpoint; the paper gives no formula, the linear map is a choice of ctbone. ``five_point``: the
midpoints of five equal parts of 0–100 %, a choice of ctbone."""


class ScoreSettings(_Section):
    """The scale of the radiologists' scores, and the probability that each score stands for."""

    scale: Literal["nine_point", "percent", "five_point", "given"] = "nine_point"
    """``nine_point``: 1–9 without 5 are 10–90 %; ``percent``: 0–100; ``five_point``: 1–5 are 10,
    30, 50, 70 and 90 %; ``given``: the scores under ``given``."""
    given: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Each score, as ``scores.csv`` holds it, and its probability of the positive class."""

    @field_validator("given", mode="before")
    @classmethod
    def _scores_are_text(cls, given: Any) -> Any:
        """Take the whole numbers of a YAML file as the text that a CSV file holds."""
        return {str(key): p for key, p in given.items()} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _given_with_given(self) -> ScoreSettings:
        if (self.scale == "given") != bool(self.given):
            raise ValueError("scores.given belongs to 'scale: given': name each score there")
        if self.scale == "given" and len(set(self.given.values())) < 2:
            raise ValueError(f"scores.given needs two different probabilities, found {self.given}")
        return self

    def probability(self, score: str) -> float | None:
        """Return the probability of the positive class; None if the score is not on the scale.

        Examples
        --------
        >>> ScoreSettings().probability("7"), ScoreSettings(scale="percent").probability("62.5")
        (0.7, 0.625)
        >>> print(ScoreSettings().probability("5"))
        None
        """
        if self.scale == "percent":
            number = float(score) if re.fullmatch(r"\d{1,3}(\.\d+)?", score) else None
            return number / 100 if number is not None and number <= 100 else None
        return (self.given or _SCORES[self.scale]).get(score)

    @property
    def expected(self) -> str:
        """The scores of the scale, for messages."""
        words = {"nine_point": "1–9 without 5", "percent": "0–100", "five_point": "1–5"}
        return words.get(self.scale) or ", ".join(self.given)

    @property
    def description(self) -> str:
        """The scale and its probabilities, to stand after the word score.

        Examples
        --------
        >>> ScoreSettings(scale="percent").description
        'from 0 to 100, read as a probability in percent'
        """
        texts = {
            "nine_point": "from 1 to 9, without 5, read as a probability of 10 to 90 %",
            "percent": "from 0 to 100, read as a probability in percent",
            "five_point": "from 1 to 5, read as a probability of 10, 30, 50, 70 or 90 %",
        }
        percent = " or ".join(f"{100 * p:g}" for p in self.given.values())
        return texts.get(self.scale) or (
            f"of {' or '.join(self.given)}, read as a probability of {percent} %"
        )

    @property
    def offered(self) -> tuple[int, ...]:
        """Scores that the reading page offers: all whole numbers of the scale, of percent tens."""
        if self.scale == "percent":
            return tuple(range(0, 101, 10))
        scores = self.given or _SCORES[self.scale]
        return tuple(sorted(int(score) for score in scores if re.fullmatch(r"\d{1,3}", score)))


class Stacking(_Section):
    """A model of probabilities and clinical columns, fitted on the validation rows of each fold."""

    parts: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The probabilities that enter, as in a combination; ``readers``: every reader of
    ``scores.csv``, each as a feature of its own."""
    columns: tuple[str, ...] = ()
    """Clinical columns of ``cohort.csv``, such as age, sex and site."""
    model: Literal["logistic", "random_forest", "gradient_boosting", "tuned"] = "logistic"
    """Kind of the model; ``tuned``: in each fold the best of eight methods by inner AUC."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _each_once(self) -> Stacking:
        names = [*self.parts, *self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"each part and column once, found {names}")
        if set(self.parts) <= {READER, READERS}:
            raise ValueError("a stack needs a model beside the reader")
        return self


class Recalibration(_Section):
    """One table of probabilities, recalibrated on the validation rows of each fold."""

    of: Name
    """A model, a combination, a stack, or ``reader``."""
    method: Literal["temperature", "platt", "isotonic"] = "platt"
    """``platt`` (Platt scaling) fits intercept and slope of the logit, ``temperature`` the slope
    alone; ``isotonic`` needs many cases."""


class FusionSettings(_Section):
    """The probabilities that are fused, and how their weights are chosen."""

    combinations: dict[Name, Annotated[tuple[Name, ...], Field(min_length=2)]] = {
        "3d+2d": ("3d", "2d"),
        "3d+reader": ("3d", READER),
        "3d+2d+reader": ("3d", "2d", READER),
    }
    """Name of each fusion and its parts; ``reader`` is a radiologist's score."""
    weights: Literal["auc", "log_loss", "equal"] | dict[Name, NonNegativeFloat] = "auc"
    """Objective that the weights optimise on each fold's validation predictions; or ``equal``; or
    given."""
    stacking: dict[Name, Stacking] = {}
    """Name of each stack: a model of parts and clinical columns."""
    recalibration: dict[Name, Recalibration] = {}
    """Name of each recalibrated table: its source and its method."""
    reader: str | None = None
    """``reader_id`` whose unaided scores are fused; null: the only reader who scored every case,
    else the only senior among these, else the mean of all readers."""
    readers: Literal["one", "mean", "median"] = "one"
    """``mean``, ``median``: of the probabilities of all readers who scored a case; ``one``: the
    reader of ``reader``."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables in ``predictions/`` that fusions take, each once."""
        made = {READER, READERS, *self.combinations, *self.stacking, *self.recalibration}
        parts = [part for parts in self.combinations.values() for part in parts]
        parts += [part for stacking in self.stacking.values() for part in stacking.parts]
        parts += [one.of for one in self.recalibration.values()]
        return tuple(name for name in dict.fromkeys(parts) if name not in made)

    @model_validator(mode="after")
    def _one_choice_of_readers(self) -> FusionSettings:
        if self.reader is not None and self.readers != "one":
            raise ValueError(
                f"fusion.reader names '{self.reader}', and fusion.readers is '{self.readers}': "
                "leave out one of the two"
            )
        for name, parts in self.combinations.items():
            if READERS in parts:
                raise ValueError(f"fusion.combinations.{name}: '{READERS}' is for stacking")
        return self


class DangerousError(_Section):
    """An error that is worse than others, such as malignant classified as normal."""

    truth: Name
    """The true class."""
    called: Name
    """The class that it is taken for."""

    @model_validator(mode="after")
    def _two_classes(self) -> DangerousError:
        if self.truth == self.called:
            raise ValueError(f"truth and called are two classes, found '{self.truth}' twice")
        return self


NARROWEST_THRESHOLDS = 0.05
"""Width of the narrowest range of clinical thresholds; decision curves have steps of 0.01."""


class PrimaryComparison(_Section):
    """A comparison of two models or readers that is named before their results are known."""

    compare: tuple[Name, Name]
    """Two models, fusions, or ``reader``; a difference is the first minus the second."""
    metric: Literal["auc", "sensitivity", "specificity", "accuracy"] = "auc"
    """What is compared."""
    cohort: Annotated[str, Field(min_length=1, max_length=64)]
    """``internal``, ``external`` (all external centres together), or one external centre."""
    type: Literal["superiority", "noninferiority"] = "superiority"
    """``superiority``: the first is better; ``noninferiority``: it is not worse by the margin."""
    margin: float = 0.0
    """Difference of the metric on its scale from 0 to 1: 0.05 is 5 percentage points. Superiority
    by more than the margin; non-inferiority needs one."""

    @field_validator("margin", mode="before")
    @classmethod
    def _margin_is_a_difference(cls, margin: Any) -> Any:
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin < 1:
            raise ValueError(
                "a margin is a difference of the metric on its scale from 0 to 1; write 0.05 for 5 "
                f"percentage points, found {margin!r}"
            )
        return margin

    @model_validator(mode="after")
    def _parts_fit(self) -> PrimaryComparison:
        if self.compare[0] == self.compare[1]:
            raise ValueError(f"compare names two models, found '{self.compare[0]}' twice")
        if self.type == "noninferiority" and not self.margin:
            raise ValueError("noninferiority needs a margin, such as 'margin: 0.05'")
        return self


class EvaluationSettings(_Section):
    """From predictions to the numbers of the report."""

    primary: tuple[PrimaryComparison, ...] = ()
    """Comparisons that are named before the results are known; the report answers them first and
    adjusts them among themselves alone. Everything else is exploratory."""
    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["youden"] = 0.5
    """Lowest probability of a positive case; ``youden``: chosen on the validation predictions."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of the confidence intervals."""
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 2000
    """Resamples of each bootstrap."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Prevalence of the positive class where the models will be used, for decision curves of
    case-control data; null: that of the cases."""
    clinical_thresholds: tuple[float, float] | None = None
    """Lowest and highest threshold probability at which a clinician would decide; decision curves
    are drawn over this range; null: 0 to 1."""
    dangerous_error: DangerousError | None = None
    """An error whose rate is reported separately."""
    groups: dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]] = {}
    """Groups of classes, such as benign and malignant subtypes, reported from the same
    probabilities: those of its classes are summed."""

    @field_validator("clinical_thresholds")
    @classmethod
    def _thresholds_ascend(
        cls, thresholds: tuple[float, float] | None
    ) -> tuple[float, float] | None:
        if thresholds is None:
            return None
        low, high = thresholds
        if not (0 <= low <= high <= 1 and high - low >= NARROWEST_THRESHOLDS):
            raise ValueError(
                f"two probabilities of 0 to 1, the lower one first, at least "
                f"{NARROWEST_THRESHOLDS:g} apart, found {list(thresholds)}"
            )
        return thresholds

    @field_validator("primary")
    @classmethod
    def _named_once(cls, primary: tuple[PrimaryComparison, ...]) -> tuple[PrimaryComparison, ...]:
        seen = [(frozenset(one.compare), one.metric, one.cohort) for one in primary]
        for number, key in enumerate(seen):
            if key in seen[:number]:
                names = " and ".join(primary[number].compare)
                raise ValueError(
                    f"{names} are compared twice by {key[1]} on '{key[2]}'; name each comparison "
                    "once"
                )
        return primary


Bone = Literal["bone", "sacrum", "spine", "pelvis", "femur", "tibia", "humerus"]


class PredictionSettings(_Section):
    """From a new patient's images to an answer."""

    answer: Name | None = None
    """The model, combination or recalibration that answers; null: the combination of most models,
    recalibrated if it is."""
    error_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """α of the conformal sets: share of the cases of a class whose set may lack the class."""
    augmented_copies: Annotated[int, Field(ge=0, le=100)] = 0
    """Test-time augmentation: randomly changed copies of each image, drawn as in training."""
    dropout_passes: Annotated[int, Field(ge=0, le=1000)] = 0
    """Monte-Carlo dropout: passes with active dropout layers, of networks trained with dropout."""
    bone: Bone = "bone"
    """Where the lesions of the study are: the finding site in DICOM objects of an answer."""


ExplainMethod = Literal["grad-cam", "grad-cam++", "score-cam", "integrated-gradients", "occlusion"]


class ExplainSettings(_Section):
    """Maps of what a network uses."""

    methods: Annotated[tuple[ExplainMethod, ...], Field(min_length=1)] = (
        "grad-cam",
        "score-cam",
        "integrated-gradients",
    )
    """The maps of each case."""
    target: Name | None = None
    """The class that a map is evidence for; null: the class that the model predicts."""
    layers: dict[Name, str] = {}
    """Layer of each model's class activation maps; default: the deepest whose cells are at most
    8 mm. Radiographs have no mm: there and below, lengths are percent of the crop's edge."""
    score_cam_channels: Annotated[int, Field(ge=1)] | None = 64
    """Channels of Score-CAM, those that vary most; null: all."""
    steps: Annotated[int, Field(ge=2, le=1000)] = 16
    """Steps of integrated gradients."""
    smoothing: NonNegativeFloat = 4.0
    """Standard deviation, in mm, of the Gaussian that smooths integrated gradients."""
    occlusion: PositiveFloat = 24.0
    """Edge of the occluded cube or square in mm; it moves by half of it."""


class ReadingSettings(_Section):
    """The reader study on the reading page."""

    design: Literal["two_sessions", "sequential", "crossover", "unaided"] = "two_sessions"
    """``two_sessions``: all cases unaided, and aided after the wash-out; ``sequential``: each case
    unaided, then aided at once; ``crossover``: half of the cases aided in session one, the other
    half in session two; ``unaided``: one session without the model."""
    washout_days: NonNegativeFloat = 28.0
    """Days between a reader's last score of session one and the start of session two."""
    scale: tuple[Annotated[int, Field(ge=0, le=999)], ...] = ScoreSettings().offered
    """Scores that the page offers, ascending; default: the whole numbers of ``scores.scale``, of
    ``percent`` 0, 10, … 100."""
    model: Name | None = None
    """The model or fusion whose probability the aided readings show; null: the first model."""
    clinical: tuple[str, ...] | None = None
    """Columns of ``cohort.csv`` shown beside the images; null: age and sex, where there are
    such."""
    training: str | None = None
    """Table of the training round, in the study folder: ``image, label``, cases outside the
    study, and the clinical columns; null: no training round."""

    @field_validator("scale")
    @classmethod
    def _scale_ascends(cls, scale: tuple[int, ...]) -> tuple[int, ...]:
        if list(scale) != sorted(set(scale)):
            raise ValueError(f"scores ascend, each once, found {list(scale)}")
        return scale

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        return 2 if self.design in ("two_sessions", "crossover") else 1

    @property
    def shows_model(self) -> bool:
        """Whether some readings are aided."""
        return self.design != "unaided"


class Settings(_Section):
    """All settings of a study, as ``study.yaml`` holds them.

    Examples
    --------
    >>> Settings(name="pilot").classes
    ('benign', 'malignant')
    """

    name: Name
    title: str = ""
    classes: Annotated[tuple[Name, ...], Field(min_length=2)] = ("benign", "malignant")
    positive: Name | None = None
    """The class whose probability is evaluated in a two-class study; null: the last."""
    grouping: str = ""
    """How the rows of ``cohort.csv`` were grouped in ``patient_id`` where the patients are unknown;
    empty: it holds the patients."""
    dicom: DicomSettings = DicomSettings()
    pacs: PacsSettings = PacsSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    folds: FoldSettings = FoldSettings()
    training: TrainingSettings = TrainingSettings()
    models: dict[Name, ModelSettings] = Field(default_factory=dict, min_length=1)
    """By name; default: the main paper's two, ``3d`` and ``2d``."""
    scores: ScoreSettings = ScoreSettings()
    fusion: FusionSettings = FusionSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    prediction: PredictionSettings = PredictionSettings()
    explain: ExplainSettings = ExplainSettings()
    reading: ReadingSettings = ReadingSettings()

    @model_validator(mode="before")
    @classmethod
    def _training_is_shared(cls, raw: Any) -> Any:
        """Override the study's training settings by each model's own."""
        if not isinstance(raw, dict):
            return raw
        shared, given = raw.get("training") or {}, raw.get("models", _PAPER_MODELS)
        if not isinstance(shared, dict) or not isinstance(given, dict):
            return raw
        models = {
            name: {**model, "training": {**shared, **(model.get("training") or {})}}
            if isinstance(model, dict) and isinstance(model.get("training") or {}, dict)
            else model
            for name, model in given.items()
        }
        return {**raw, "models": models}

    @model_validator(mode="before")
    @classmethod
    def _page_has_the_scale(cls, raw: Any) -> Any:
        """Let the reading page offer the scores of the study's scale."""
        scores = raw.get("scores") if isinstance(raw, dict) else None
        reading = (raw.get("reading") or {}) if isinstance(raw, dict) else None
        if not scores or not isinstance(reading, dict) or "scale" in reading:
            return raw
        try:
            offered = ScoreSettings.model_validate(scores).offered
        except ValidationError:
            return raw  # reported with the section
        return {**raw, "reading": {**reading, "scale": offered}}

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len({name.casefold() for name in classes}) < len(classes):
            raise ValueError(f"each class once, found {list(classes)}")
        return classes

    @model_validator(mode="after")
    def _names_meet(self) -> Settings:
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(
                f"positive is '{self.positive}', expected one of the classes {list(self.classes)}"
            )
        worst = self.evaluation.dangerous_error
        for key, name in (("truth", worst.truth), ("called", worst.called)) if worst else ():
            if name not in self.classes:
                raise ValueError(
                    f"evaluation.dangerous_error.{key} is '{name}', "
                    f"expected one of the classes {list(self.classes)}"
                )
        if self.evaluation.primary and len(self.classes) != 2:
            raise ValueError("evaluation.primary: primary comparisons are for two classes")
        for name, model in self.models.items():
            if model.outputs == "sigmoid" and len(self.classes) != 2:
                raise ValueError(f"models.{name}.outputs: sigmoid is for two classes")
        if len({model.dim == "radiograph" for model in self.models.values()}) > 1:
            raise ValueError("models: a study has CT (2d, 3d) or radiographs, not both")
        for name, members in self.evaluation.groups.items():
            if not set(members) <= set(self.classes) or len(set(members)) < len(members):
                raise ValueError(
                    f"evaluation.groups.{name} is {list(members)}, expected some of the classes "
                    f"{list(self.classes)}, each once"
                )
        for name in (READER, READERS):
            if name in self.models:
                raise ValueError(
                    f"models: '{name}' is the radiologist in a fusion, choose another name"
                )
        off = [n for n in self.reading.scale if self.scores.probability(str(n)) is None]
        if off:
            raise ValueError(
                f"reading.scale: {off} are no scores of '{self.scores.scale}', "
                f"expected {self.scores.expected}"
            )
        if self.explain.target is not None and self.explain.target not in self.classes:
            raise ValueError(
                f"explain.target is '{self.explain.target}', "
                f"expected one of the classes {list(self.classes)}"
            )
        for name in self.explain.layers:
            if name not in self.models:
                raise ValueError(
                    f"explain.layers: there is no model '{name}', expected {list(self.models)}"
                )
        for name, model in self.models.items():
            weights = model.training.class_weights
            if isinstance(weights, dict) and set(weights) != set(self.classes):
                raise ValueError(
                    f"models.{name}.training.class_weights: one number for each of the classes "
                    f"{list(self.classes)}, found {list(weights)}"
                )
        for name, parts in self.fusion.combinations.items():
            if name in self.models:
                raise ValueError(f"fusion.combinations: '{name}' is a model's name already")
            if len(set(parts)) < len(parts):
                raise ValueError(f"fusion.combinations.{name}: each part once, found {list(parts)}")
        for name in self.fusion.stacking:
            if name in self.models or name in self.fusion.combinations or name == READER:
                raise ValueError(
                    f"fusion.stacking: '{name}' is the name of a model, a combination or the reader"
                )
        taken = {*self.models, *self.fusion.combinations, *self.fusion.stacking, READER}
        for name, recalibration in self.fusion.recalibration.items():
            if name in taken:
                raise ValueError(
                    f"fusion.recalibration: '{name}' is the name of a model, a fusion or the reader"
                )
            if recalibration.of in self.fusion.recalibration:
                raise ValueError(
                    f"fusion.recalibration.{name}: '{recalibration.of}' is recalibrated already"
                )
        return self

    @property
    def of_radiographs(self) -> bool:
        """Whether the cases are radiographs, not CT."""
        return any(model.dim == "radiograph" for model in self.models.values())

    @property
    def positive_class(self) -> str:
        """The class whose probability is evaluated in a two-class study."""
        return self.positive or self.classes[-1]
