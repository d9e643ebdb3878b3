"""Statistics of diagnostic models and readers, each with its interval; NumPy and SciPy only."""

from ctbone.errors import StatsError
from ctbone.stats.agreement import (
    cohen_kappa,
    cohen_kappa_test,
    fleiss_kappa,
    fleiss_kappa_test,
    kappa_wording,
)
from ctbone.stats.baseline import (
    CategoricalComparison,
    CategoricalSummary,
    ContinuousComparison,
    ContinuousSummary,
    compare_categorical,
    compare_continuous,
)
from ctbone.stats.binned_calibration import ece, ece_and_mce, equal_width_bins, hosmer_lemeshow, mce
from ctbone.stats.bootstrap import (
    bootstrap_auc,
    bootstrap_auc_difference,
    bootstrap_estimate,
    bootstrap_estimates,
)
from ctbone.stats.calibration import (
    brier,
    calibration_intercept,
    calibration_slope,
    observed_expected,
    scaled_brier,
)
from ctbone.stats.clustered_rates import clustered_proportion, clustered_rates
from ctbone.stats.conformal import (
    ConformalLimit,
    class_limits,
    conformal_limit,
    conformal_sets,
    fewest_cases,
)
from ctbone.stats.confusion_table import Confusion, confusion
from ctbone.stats.decision_curve import (
    DecisionCurve,
    decision_curve,
    default_thresholds,
    treat_all,
    treat_none,
)
from ctbone.stats.delong import auc, auc_interval, delong_covariance, delong_test, delong_unpaired
from ctbone.stats.estimate import Comparison, Estimate, TestResult
from ctbone.stats.flexible_calibration import (
    CalibrationBin,
    CalibrationCurve,
    CalibrationErrors,
    calibration_curve,
    calibration_errors,
    ici,
)
from ctbone.stats.geometric_means import geometric_mean, paired_ratio, unpaired_ratio
from ctbone.stats.group_tests import independence_test, location_test
from ctbone.stats.heterogeneity import heterogeneity_test
from ctbone.stats.multiclass import (
    confusion_matrix,
    dangerous_error,
    macro_f1,
    multiclass_auc,
    multiclass_balanced_accuracy,
    multiclass_brier,
    top_label_ece,
)
from ctbone.stats.multiplicity import benjamini_hochberg, holm
from ctbone.stats.paired import cochran_q, mcnemar
from ctbone.stats.paired_rates import paired_rate_test
from ctbone.stats.proportions import proportion
from ctbone.stats.rates import (
    accuracy,
    balanced_accuracy,
    f1,
    mcc,
    negative_likelihood_ratio,
    npv,
    positive_likelihood_ratio,
    ppv,
    sensitivity,
    specificity,
    threshold_rates,
)
from ctbone.stats.recalibration import (
    IsotonicRegression,
    PlattScaling,
    TemperatureScaling,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from ctbone.stats.resampling import bootstrap_weights, weighted_auc
from ctbone.stats.roc import (
    OperatingPoint,
    RocBand,
    RocPoints,
    roc_band,
    roc_points,
    threshold_at_sensitivity,
    youden_threshold,
)

__all__ = [
    "CalibrationBin",
    "CalibrationCurve",
    "CalibrationErrors",
    "CategoricalComparison",
    "CategoricalSummary",
    "Comparison",
    "ConformalLimit",
    "Confusion",
    "ContinuousComparison",
    "ContinuousSummary",
    "DecisionCurve",
    "Estimate",
    "IsotonicRegression",
    "OperatingPoint",
    "PlattScaling",
    "RocBand",
    "RocPoints",
    "StatsError",
    "TemperatureScaling",
    "TestResult",
    "accuracy",
    "auc",
    "auc_interval",
    "balanced_accuracy",
    "benjamini_hochberg",
    "bootstrap_auc",
    "bootstrap_auc_difference",
    "bootstrap_estimate",
    "bootstrap_estimates",
    "bootstrap_weights",
    "brier",
    "calibration_curve",
    "calibration_errors",
    "calibration_intercept",
    "calibration_slope",
    "class_limits",
    "clustered_proportion",
    "clustered_rates",
    "cochran_q",
    "cohen_kappa",
    "cohen_kappa_test",
    "compare_categorical",
    "compare_continuous",
    "conformal_limit",
    "conformal_sets",
    "confusion",
    "confusion_matrix",
    "dangerous_error",
    "decision_curve",
    "default_thresholds",
    "delong_covariance",
    "delong_test",
    "delong_unpaired",
    "ece",
    "ece_and_mce",
    "equal_width_bins",
    "f1",
    "fewest_cases",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "fleiss_kappa",
    "fleiss_kappa_test",
    "geometric_mean",
    "heterogeneity_test",
    "holm",
    "hosmer_lemeshow",
    "ici",
    "independence_test",
    "kappa_wording",
    "location_test",
    "macro_f1",
    "mcc",
    "mce",
    "mcnemar",
    "multiclass_auc",
    "multiclass_balanced_accuracy",
    "multiclass_brier",
    "negative_likelihood_ratio",
    "npv",
    "observed_expected",
    "paired_rate_test",
    "paired_ratio",
    "positive_likelihood_ratio",
    "ppv",
    "proportion",
    "roc_band",
    "roc_points",
    "scaled_brier",
    "sensitivity",
    "specificity",
    "threshold_at_sensitivity",
    "threshold_rates",
    "top_label_ece",
    "treat_all",
    "treat_none",
    "unpaired_ratio",
    "weighted_auc",
    "youden_threshold",
]
