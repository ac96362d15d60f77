"""Which types a stored pipeline may hold when it is loaded.

skops loads the types that its authors have audited, and refuses the others by name. An artifact never vouches for
itself: a list in the file, or a tag beside it, is written by whoever wrote the file. Beside skops' own list count:

1. `KNOWN`, where the library is installed: the types that common models are made of.
2. `trusted` of the model file.
3. For a version that was promoted, the promotion log: the list that the version needed when it was registered, if the
   version's tags still have the same list and the same sha256, of either fit, as the log. The log is another store than
   the registry, and the version was loaded under the model file's rules of then before the line was written. So the
   former champion can be loaded after the model file went on to another estimator. `EVERGREEN_TRUST_LOG=false` forbids
   it.

For a version that was never promoted the model file alone counts.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from functools import cache

from evergreen.errors import ModelFileError
from evergreen.ledger.promotions import Move, PromotionLog
from evergreen.registry.version import Version, VersionTags
from evergreen.spec.model import ModelSpec

_SKLEARN = {
    "_loss.loss": ("HalfTweedieLoss", "HalfTweedieLossIdentity"),
    "calibration": ("_CalibratedClassifier", "_SigmoidCalibration", "_TemperatureScaling"),
    "compose._column_transformer": ("make_column_selector",),
    "ensemble._hist_gradient_boosting.predictor": ("TreePredictor",),
    "feature_selection._mutual_info": ("mutual_info_classif", "mutual_info_regression"),
    "feature_selection._univariate_selection": ("chi2", "f_classif", "f_regression", "r_regression"),
    "gaussian_process._gpc": ("_BinaryGaussianProcessClassifierLaplace",),
    "gaussian_process.kernels": (
        *("CompoundKernel", "ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Matern"),
        *("PairwiseKernel", "Product", "RBF", "RationalQuadratic", "Sum", "WhiteKernel"),
    ),
    "impute._iterative": ("IterativeImputer", "_ImputerTriplet"),
    "metrics._classification": (
        *("accuracy_score", "balanced_accuracy_score", "brier_score_loss", "cohen_kappa_score", "f1_score"),
        *("fbeta_score", "jaccard_score", "log_loss", "matthews_corrcoef", "precision_score", "recall_score"),
    ),
    "metrics._dist_metrics": tuple(
        f"{kind}Distance64" for kind in ("Chebyshev", "Euclidean", "Haversine", "Manhattan", "Minkowski")
    ),
    "metrics._ranking": ("average_precision_score", "roc_auc_score"),
    "metrics._regression": (
        *("d2_absolute_error_score", "d2_pinball_score", "d2_tweedie_score", "explained_variance_score", "max_error"),
        *("mean_absolute_error", "mean_absolute_percentage_error", "mean_gamma_deviance", "mean_pinball_loss"),
        *("mean_poisson_deviance", "mean_squared_error", "mean_squared_log_error", "median_absolute_error"),
        *("r2_score", "root_mean_squared_error", "root_mean_squared_log_error"),
    ),
    "metrics._scorer": ("_CurveScorer", "_PassthroughScorer", "_Scorer"),
    "model_selection._search_successive_halving": ("HalvingGridSearchCV", "HalvingRandomSearchCV"),
    "model_selection._split": (
        *("GroupKFold", "KFold", "RepeatedKFold", "RepeatedStratifiedKFold", "ShuffleSplit", "StratifiedGroupKFold"),
        *("StratifiedKFold", "StratifiedShuffleSplit", "TimeSeriesSplit"),
    ),
    "multiclass": ("_ConstantPredictor",),
    "neighbors._ball_tree": ("BallTree",),
    "neighbors._kd_tree": ("KDTree",),
    "neural_network._stochastic_optimizers": ("AdamOptimizer", "SGDOptimizer"),
    "tree._tree": ("Tree",),
    "utils._bunch": ("Bunch",),
    "utils._metadata_requests": ("MetadataRequest", "MethodMetadataRequest"),
    "utils.validation": ("check_array",),
}
"""The types of scikit-learn by their module in it."""
_NUMPY = ("numpy.dtype", "numpy.mean")
_SCIPY = (
    # A spline holds the function by which SciPy converts what it is given to an array.
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "scipy.interpolate._bsplines.BSpline",
    "scipy.sparse._csc.csc_array",
    "scipy.sparse._csc.csc_matrix",
    "scipy.sparse._csr.csr_array",
    "scipy.sparse._csr.csr_matrix",
)
_LIGHTGBM = (
    "lightgbm.basic.Booster",
    *(f"lightgbm.sklearn.LGBM{kind}" for kind in ("Classifier", "Ranker", "Regressor")),
)
_XGBOOST = (
    "xgboost.core.Booster",
    *(f"xgboost.sklearn.XGB{kind}" for kind in ("Classifier", "RFClassifier", "RFRegressor", "Ranker", "Regressor")),
)
_CATBOOST = tuple(f"catboost.core.CatBoost{kind}" for kind in ("", "Classifier", "Ranker", "Regressor"))
# LightGBM keeps the results of its evaluation in one.
_COLLECTIONS = ("collections.OrderedDict",)
# Boosting by histograms prepares columns of categories with one; what it calls has to be known too.
_FUNCTOOLS = ("functools.partial",)

KNOWN: dict[str, tuple[str, ...]] = {
    "sklearn": tuple(f"sklearn.{module}.{name}" for module, names in _SKLEARN.items() for name in names),
    "numpy": _NUMPY,
    "scipy": _SCIPY,
    "lightgbm": _LIGHTGBM,
    "xgboost": _XGBOOST,
    "catboost": _CATBOOST,
    "collections": _COLLECTIONS,
    "functools": _FUNCTOOLS,
}
"""The types that common models are made of, by the library that has to be installed: those that were seen in fitted
models, and their like.

They are data: none of them runs code that the file brings. skops leaves the trees of scikit-learn and the boosters out
because their content is not audited: a crafted node or buffer can crash the process. Evergreen opens only a file whose
sha256 is the one that it wrote down after it had fitted it, and almost every model is made of trees: a line that is
copied into each model file protects nobody.

Distributions of `scipy.stats`, which a RandomizedSearchCV may draw from, are left out on purpose: they execute source
text that is among their data. Lists of values need no distribution.
"""


@cache
def known_types() -> frozenset[str]:
    """The types of `KNOWN` whose library is installed."""
    return frozenset(name for library, names in KNOWN.items() if is_installed(library) for name in names)


def is_installed(library: str) -> bool:
    """Whether a library can be imported; it is not."""
    try:
        return importlib.util.find_spec(library) is not None
    except ValueError:
        # A module that was not imported from a file, such as __main__.
        return True


def strange_types(needed: Iterable[str], trusted: Sequence[str]) -> tuple[str, ...]:
    """The types that neither `KNOWN` nor the model file's `trusted` accepts, sorted."""
    return tuple(sorted(set(needed) - known_types() - set(trusted)))


def require_vouched(
    version: Version, strange: Sequence[str], promotions: PromotionLog, *, file: str, trust_log: bool
) -> None:
    """Refuse types that the model file does not trust, unless the promotion log vouches for them.

    Args:
        version: what is to be loaded.
        strange: the types of `strange_types`.
        promotions: the model's log.
        file: the model file, as a person names it.
        trust_log: the setting of this name.

    Raises:
        ModelFileError: the log does not vouch for them, or may not.
    """
    if not strange:
        return
    absent = sorted({name.partition(".")[0] for name in strange if not is_installed(name.partition(".")[0])})
    if absent:
        raise ModelFileError(
            f"{version.label} cannot be loaded: {', '.join(absent)} is not installed here.",
            f"Install it, or roll back to another version: evergreen history {version.model}",
        )
    objection = _objection(strange, version.tags, _line_of(version.number, promotions), trust_log=trust_log)
    if objection:
        raise untrusted(version.label, strange, file, objection)


def champion_problem(promotions: PromotionLog, spec: ModelSpec, *, trust_log: bool) -> str:
    """Why the champion cannot be loaded, as far as the log and the model file say; empty where nothing is in the way.

    The registry is not asked: opening it takes seconds.
    """
    done = promotions.done()
    line = done[-1] if done else None
    if line is None or line.after is None or line.trusted is None:
        return ""
    tags = VersionTags(sha256=line.sha256, judged_sha256=line.judged_sha256, trusted=line.trusted)
    version = Version(promotions.model, line.after, "", "", tags, "")
    strange = strange_types(line.trusted, spec.trusted)
    try:
        require_vouched(version, strange, promotions, file=spec.file, trust_log=trust_log)
    except ModelFileError as error:
        return str(error)
    return ""


def untrusted(what: str, strange: Sequence[str], file: str, why: str) -> ModelFileError:
    """A stored pipeline holds types that nobody vouches for; `why` is about the promotion log."""
    return ModelFileError(
        f"{what} cannot be loaded: it holds {', '.join(strange)}, which {file} does not trust, and {why}.",
        f"If you trust {'it' if len(strange) == 1 else 'them'}, write in {file}: trusted={tuple(strange)!r}",
    )


def _line_of(number: int, promotions: PromotionLog) -> Move | None:
    """The newest line of the log that made a version champion."""
    lines = [move for move in promotions.all() if move.after == number]
    return lines[-1] if lines else None


def _objection(strange: Sequence[str], tags: VersionTags, line: Move | None, *, trust_log: bool) -> str:
    """Why the log does not vouch for some types; empty where it does."""
    if line is None:
        return "it was never promoted, so that the promotion log says nothing of it"
    if line.trusted is None:
        return "it was promoted before the promotion log kept such lists"
    if not trust_log:
        return "EVERGREEN_TRUST_LOG=false forbids to go by the promotion log"
    if (line.sha256, line.judged_sha256, line.trusted) != (tags.sha256, tags.judged_sha256, tags.trusted):
        return "its tags differ from the promotion log, so that somebody has changed one of them"
    if set(strange) - set(line.trusted):
        return "the promotion log does not have them either"
    return ""
