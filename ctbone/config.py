"""The settings of a study: typed, each with a default, unknown keys refused with the nearest key named.

The defaults are the main paper's protocol; ``configs/sacral_ct.yaml`` gives the source of each value, or says that
the paper is silent and the choice is ours.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
READER = "reader"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, validate_default=True)


class DicomSettings(_Section):
    """How a DICOM series becomes a volume in Hounsfield units."""

    kernel: Literal["any", "bone", "soft"] = "any"
    """Reconstruction that is preferred when an exam holds several."""
    irregular: Literal["refuse", "resample"] = "refuse"
    """What happens to tilted or unevenly spaced series."""


class Crop3D(_Section):
    """The cube that the 3D network sees."""

    size: Annotated[int, Field(ge=8, le=512)] = 96
    """Voxels along each edge."""
    spacing: PositiveFloat = 1.0
    """Edge of a voxel in mm."""
    margin: NonNegativeFloat = 10.0
    """Tissue kept around the lesion, in mm."""
    mode: Literal["physical", "fit"] = "physical"
    """``physical``: fixed mm, so that size means something; ``fit``: the lesion's box fills the cube."""
    interpolation: Literal["linear", "cubic"] = "linear"


class Images2D(_Section):
    """The three images of a patient that the 2D network sees."""

    views: Literal["planes", "neighbours"] = "planes"
    """``planes``: largest cross-section in axial, coronal and sagittal; ``neighbours``: three axial images."""
    distance: PositiveFloat = 5.0
    """mm between the images when ``views`` is ``neighbours``."""
    size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Pixels along each edge."""
    margin: NonNegativeFloat = 10.0
    """Tissue kept around the lesion, in mm."""


class PreprocessSettings(_Section):
    """From a volume and a lesion mask to what the networks see."""

    mask_label: int | str | None = None
    """Which label of the mask is the lesion, by number or name; None where a mask holds one."""
    lesions: Literal["all", "largest"] = "all"
    """What is the lesion where a mask has several separate parts: all as one, or the largest. A number in the cohort's
    ``lesion`` column takes one part, so that each can be a case of its own."""
    crop_3d: Crop3D = Crop3D()
    images_2d: Images2D = Images2D()


class FoldSettings(_Section):
    """Cross-validation by patient."""

    count: Annotated[int, Field(ge=2, le=20)] = 5
    validation_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Share of the training part that is held out for validation."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Window(_Section):
    """One grey-scale window in HU; the network sees it scaled to 0–1."""

    center: float
    width: PositiveFloat


BONE = Window(center=400, width=1800)
SOFT_TISSUE = Window(center=40, width=400)
WIDE = Window(center=0, width=2000)


class Augmentation(_Section):
    """Ranges from which every training sample draws, uniform around none."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Degrees about each axis."""
    translation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the edge along each axis."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """0.1 draws a zoom between 0.9 and 1.1."""
    flip: tuple[Literal["left_right", "anterior_posterior", "superior_inferior"], ...] = (
        "left_right",
    )
    """Axes that are mirrored with probability one half each."""


class TrainingSettings(_Section):
    """How a network is trained; a model may override any of it."""

    batch_size: Annotated[int, Field(ge=1)] = 20
    epochs: Annotated[int, Field(ge=1)] = 50
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    """``cosine``: the learning rate falls to 0 by half a cosine over the epochs after the warm-up."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs over which the learning rate rises from 0, step by step."""
    loss: Name = "cross_entropy"
    """``cross_entropy`` or ``focal``."""
    focal_gamma: NonNegativeFloat = 2.0
    """How much the focal loss plays down what is easy; 0 is cross-entropy."""
    class_weights: Literal["none", "balanced"] | dict[Name, PositiveFloat] = "none"
    """Weight of each class in the loss; ``balanced``: inverse to its cases in the fold's training part."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the truth that is spread over all classes."""
    sampling: Literal["each", "balanced"] = "each"
    """``each``: every training image once an epoch; ``balanced``: as many, drawn so that classes are equally likely."""
    mixup: NonNegativeFloat = 0.0
    """α of the Beta distribution by which two samples are mixed; 0: none are."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the running mean of the weights, which is validated and kept in their place; 0: no mean."""
    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Epochs without a better one after which a fold ends; null: it runs through."""
    micro_batch: Annotated[int, Field(ge=2)] | None = None
    """Samples that go through the network at once; their gradients add up to the batch's. Null: the whole batch."""
    augmentation: Augmentation = Augmentation()
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto``: bf16 on a GPU that computes in it, else fp32; on processors bf16 is unproven."""
    channels_last: bool = True
    """Images and kernels lie channels-last in memory; false: as PyTorch lays them out, and convolves them."""
    compile: bool = False
    """The network is compiled first: pays on a GPU in long runs; false, since that takes minutes."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _parts_fit(self) -> TrainingSettings:
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs}, expected fewer than the {self.epochs} epochs"
            )
        if self.micro_batch is not None and self.micro_batch > self.batch_size:
            raise ValueError(
                f"micro_batch is {self.micro_batch}, expected at most batch_size, {self.batch_size}"
            )
        return self


class ModelSettings(_Section):
    """One network of the study."""

    dim: Literal["2d", "3d"]
    network: Name = "densenet121"
    """MONAI's name; in 2D timm's, or MONAI's after ``monai.``."""
    network_options: dict[str, Any] = {}
    weights: str = "none"
    """``none``, ``imagenet``, or the path of a safetensors file."""
    windows: Annotated[tuple[Window, ...], Field(min_length=1)] = (WIDE,)
    """One input channel a window."""
    view_weights: Literal["equal", "area"] | tuple[NonNegativeFloat, ...] = "equal"
    """How the probabilities of a 2D model's images are averaged: equally, by lesion area, or as given."""
    mask: Literal["none", "channel", "only"] = "none"
    """``channel``: the lesion's mask is one more input channel; ``only``: what lies outside it becomes air."""
    mask_dilation: NonNegativeFloat = 0.0
    """mm by which the mask is grown before."""
    metadata: tuple[str, ...] = ()
    """Clinical columns of ``cohort.csv``, such as age and sex, that are the network's second input."""
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _mask_is_used(self) -> ModelSettings:
        if self.mask_dilation and self.mask == "none":
            raise ValueError(
                "mask_dilation grows a mask that is not used; set mask to channel or only"
            )
        return self

    @property
    def channels(self) -> int:
        """Input channels of the network: one a window, and the mask's."""
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


class Stacking(_Section):
    """A model over probabilities and clinical columns, fitted on the validation rows of each fold."""

    parts: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The probabilities that take part, as in a combination."""
    columns: tuple[str, ...] = ()
    """Clinical columns of ``cohort.csv``, such as age, sex and site."""
    model: Literal["logistic", "random_forest", "gradient_boosting"] = "logistic"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _each_once(self) -> Stacking:
        names = [*self.parts, *self.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"each part and column once, found {names}")
        if set(self.parts) == {READER}:
            raise ValueError("a stack needs a model beside the reader")
        return self


class Recalibration(_Section):
    """One table of probabilities, recalibrated on the validation rows of each fold."""

    of: Name
    """A model, a combination, a stack, or ``reader``."""
    method: Literal["temperature", "platt", "isotonic"] = "platt"
    """``platt`` moves and stretches the logit, ``temperature`` only stretches it, ``isotonic`` needs many cases."""


class FusionSettings(_Section):
    """Which probabilities are fused, and how the weights are found."""

    combinations: dict[Name, Annotated[tuple[Name, ...], Field(min_length=2)]] = {
        "3d+2d": ("3d", "2d"),
        "3d+reader": ("3d", READER),
        "3d+2d+reader": ("3d", "2d", READER),
    }
    """Name of each fusion and its parts; ``reader`` is a radiologist's score."""
    weights: Literal["auc", "log_loss", "equal"] | dict[Name, NonNegativeFloat] = "auc"
    """What the weights maximise on the validation predictions of each fold; or ``equal``; or given."""
    stacking: dict[Name, Stacking] = {}
    """Name of each stack: parts and clinical columns under a model of their own."""
    recalibration: dict[Name, Recalibration] = {}
    """Name of each recalibrated table: what it is made of, and how."""
    reader: str | None = None
    """``reader_id`` whose unaided scores are fused; needed only where several readers scored every case."""


class DangerousError(_Section):
    """An error that is worse than others, such as malignant called normal."""

    truth: Name
    """The true class."""
    called: Name
    """What it is called instead."""

    @model_validator(mode="after")
    def _two_classes(self) -> DangerousError:
        if self.truth == self.called:
            raise ValueError(f"truth and called are two classes, found '{self.truth}' twice")
        return self


class EvaluationSettings(_Section):
    """How predictions become the report's numbers."""

    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["youden"] = 0.5
    """Probability from which a case counts as positive; ``youden`` is fitted on validation predictions."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 2000
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the positive class where the models will be used, for decision curves of case-control data; default:
    that of the cases."""
    dangerous_error: DangerousError | None = None
    """An error whose share of its true class is reported by itself."""


class Settings(_Section):
    """Everything a study is configured by; ``study.yaml`` holds it.

    Examples
    --------
    >>> Settings(name="pilot").classes
    ('benign', 'malignant')
    """

    name: Name
    title: str = ""
    classes: Annotated[tuple[Name, ...], Field(min_length=2)] = ("benign", "malignant")
    positive: Name | None = None
    """The class whose probability is judged in a two-class study; default: the last."""
    dicom: DicomSettings = DicomSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    folds: FoldSettings = FoldSettings()
    training: TrainingSettings = TrainingSettings()
    models: dict[Name, ModelSettings] = Field(default_factory=dict, min_length=1)
    """Default: the main paper's two, named ``3d`` and ``2d``."""
    fusion: FusionSettings = FusionSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="before")
    @classmethod
    def _training_is_shared(cls, raw: Any) -> Any:
        """Lay each model's own training settings over the study's."""
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
                    f"evaluation.dangerous_error.{key} is '{name}', expected one of the classes {list(self.classes)}"
                )
        if READER in self.models:
            raise ValueError(
                f"models: '{READER}' is the radiologist's name in a fusion, call the model otherwise"
            )
        for name, model in self.models.items():
            weights = model.training.class_weights
            if isinstance(weights, dict) and set(weights) != set(self.classes):
                raise ValueError(
                    f"models.{name}.training.class_weights: one number for each of the classes {list(self.classes)}, "
                    f"found {list(weights)}"
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
    def positive_class(self) -> str:
        """The class whose probability is judged in a two-class study."""
        return self.positive or self.classes[-1]
