"""What the model sees and how it is built: the transform plan, the network and the gates."""

from __future__ import annotations

from typing import Final

from mainspring.core import projects
from mainspring.core.features import ops, plan

__all__ = ["declare_plan", "evaluation", "model_spec", "quality_gates", "rolling_gates"]

_MEDIAN: Final = ops.Impute(method="median")
_ZERO: Final = ops.Impute(method="constant", value=0.0)

#: Minutes of delay have a long right tail; beyond these quantiles a mean over few flights says little more.
_TAILS: Final = ops.Clip(lower_quantile=0.001, upper_quantile=0.999)

_DEP_VIEWS: Final = (
    "origin_dep_1h", "origin_dep_3h", "origin_dep_24h", "carrier_origin_dep_3h", "carrier_origin_dep_24h",
)  # fmt: skip
_ARR_VIEWS: Final = (
    "carrier_origin_arr_7d", "carrier_arr_24h", "dest_arr_6h", "dest_arr_24h", "dest_arr_28d", "route_arr_28d",
    "flight_number_arr_28d",
)  # fmt: skip


def declare_plan() -> plan.TransformPlan:
    """The unfitted plan over the training set's columns."""
    scaled = ops.Standardise()
    indicated = (scaled, ops.Indicator())
    columns = [
        *(
            plan.dense(name, _MEDIAN, scaled)
            for name in (
                "dep_minute",
                "dep_minute_sin",
                "dep_minute_cos",
                "arr_minute",
                "block_minutes",
                "slack_minutes",
                "speed_needed_mph",
                "bank_departures",
            )
        ),
        plan.dense("distance_miles", _MEDIAN, ops.Log1p(), scaled),
        plan.dense("aircraft_age_years", _MEDIAN, _TAILS, *indicated),
        plan.dense("plane_static__seats", _MEDIAN, _TAILS, scaled),
        plan.dense("hours_since_tail", _MEDIAN, ops.Clip(lower=0.0, upper=72.0), ops.Log1p(), *indicated),
        plan.dense("tail_last__arr_delay", _MEDIAN, _TAILS, scaled),
        *(
            plan.dense(f"weather_origin__{name}", _MEDIAN, scaled)
            for name in ("temp", "dewp", "humid", "wind_speed", "visib")
        ),
        plan.dense("weather_origin__pressure", _MEDIAN, *indicated),
        plan.dense("weather_origin__wind_gust", _ZERO, *indicated),
        plan.dense("weather_origin__precip", _ZERO, ops.Clip(upper=1.0), scaled),
        *(plan.dense(name, _MEDIAN, scaled) for name in ("dew_spread", "fog", "wind_east", "wind_north")),
    ]
    for view in _DEP_VIEWS:
        columns += _history(view, "mean_dep_delay", cancel=True)
    for view in _ARR_VIEWS:
        columns += _history(view, "mean_arr_delay", cancel=False)
    columns += [
        plan.vocabulary("carrier"),
        plan.vocabulary("origin"),
        plan.vocabulary("dest", min_count=20),
        plan.vocabulary("dep_hour", dtype="int64"),
        plan.vocabulary("dep_weekday", dtype="int64"),
    ]
    return plan.TransformPlan(name="flight-delay", columns=tuple(columns))


def _history(view: str, mean: str, *, cancel: bool) -> list[plan.PlanColumn]:
    shares = ["late_share", "cancel_share"] if cancel else ["late_share"]
    return [
        plan.dense(f"{view}__{mean}", _MEDIAN, _TAILS, ops.Standardise()),
        *(plan.dense(f"{view}__{share}", _MEDIAN, ops.Standardise()) for share in shares),
        plan.dense(f"{view}__flights", _ZERO, ops.Log1p(), ops.Standardise()),
    ]


def model_spec() -> projects.ModelSpec:
    """Sizes found on the validation month; a wider or deeper network only fits September better.

    No id of `tailnum`: with one, the validation AUC falls from 0.765 to 0.757 (and that of the test months
    from 0.757 to 0.748), because the network learns the aircraft of summer by heart.
    """
    dimensions = {"carrier": 4, "origin": 2, "dest": 8, "dep_hour": 4, "dep_weekday": 2}
    return projects.ModelSpec(
        embeddings=tuple(projects.Embedding(column=c, dimensions=d) for c, d in dimensions.items()),
        hidden_sizes=(128, 64),
        dropout=0.2,
        epochs=10,
        batch_rows=2048,
        learning_rate=2e-3,
        weight_decay=1e-4,
        seed=20131231,
    )


def quality_gates(*, relaxed: bool = False) -> projects.QualityGates:
    """On October to December. Honest models land at 0.74 to 0.78; above 0.80 two hours ahead, somebody peeked.

    A sample run (`relaxed`) has too little history for the full gates: it must beat chance, and the alarm stays.
    """
    if relaxed:
        return projects.QualityGates(
            min_auc=0.52,
            leak_alarm_auc=0.80,
            min_auc_gain_over_baseline=-0.10,
            max_calibration_gap=0.25,
            relaxed=True,
        )
    return projects.QualityGates(
        min_auc=0.75, leak_alarm_auc=0.80, min_auc_gain_over_baseline=0.0, max_calibration_gap=0.05
    )


def rolling_gates() -> projects.QualityGates:
    """Of other days than October to December: a fortnight of these has from 0.716 to 0.774 (the model with 0.7575 on all of them,
    measured on all seven, six of which are below 0.75). A model trained up to 17 December has 0.723 on the last one, where that
    one has 0.716.

    What a training has to beat is the logistic regression on the same days; the other gates stay.
    """
    own = quality_gates()
    return projects.QualityGates(
        min_auc=0.70,
        leak_alarm_auc=own.leak_alarm_auc,
        min_auc_gain_over_baseline=own.min_auc_gain_over_baseline,
        max_calibration_gap=own.max_calibration_gap,
    )


def evaluation() -> projects.Evaluation:
    """By carrier, each with its own fleet and habits, and between the three airports of departure."""
    return projects.Evaluation(slices=("carrier", "origin"), fairness=("origin",))
