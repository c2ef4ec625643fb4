"""Boosted trees of LightGBM and XGBoost, read from their own files: their answers, without their overhead.

    >>> import numpy as np
    >>> from mainspring.native import trees
    >>> model = trees.Trees.from_xgboost(
    ...     '{"learner": {"learner_model_param": {"num_feature": "1", "num_class": "0", "base_score": "[1E0]"},'
    ...     '"objective": {"name": "reg:squarederror"}, "gradient_booster": {"name": "gbtree", "model": {'
    ...     '"tree_info": [0], "trees": [{"left_children": [1, -1, -1], "right_children": [2, -1, -1],'
    ...     '"split_indices": [0, 0, 0], "split_conditions": [0.5, -1, 2], "default_left": [1, 0, 0]}]}}}}'
    ... )
    >>> model.run(np.array([[0.25], [0.5], [np.nan]], np.float32))
    array([[0.],
           [3.],
           [0.]], dtype=float32)

Bytes that are no model, or ask for what is not done here, are refused with a NativeError that says what is wrong
(`bad_model`, `unsupported_model`); the list is in native/README.md.
"""

from __future__ import annotations

from mainspring.native._native import BoundModel, Trees

__all__ = ["BoundModel", "Trees"]
