"""How much each feature adds to a prediction of boosted trees: path-dependent TreeSHAP, without LightGBM or XGBoost.

    >>> import numpy as np
    >>> from mainspring.native import contributions
    >>> model = contributions.Contributions.from_xgboost(
    ...     '{"learner": {"learner_model_param": {"num_feature": "2", "num_class": "0", "base_score": "[1E0]"},'
    ...     '"objective": {"name": "reg:squarederror"}, "gradient_booster": {"name": "gbtree", "model": {'
    ...     '"tree_info": [0], "trees": [{"left_children": [1, -1, -1], "right_children": [2, -1, -1],'
    ...     '"split_indices": [0, 0, 0], "split_conditions": [0.5, -1, 2], "default_left": [1, 0, 0],'
    ...     '"sum_hessian": [4, 1, 3]}]}}}}'
    ... )
    >>> model.run(np.array([[0.25, 9], [0.5, 9]], np.float32))  # of each feature, and what is expected without any
    array([[-2.25,  0.  ,  2.25],
           [ 0.75,  0.  ,  2.25]])

A row's numbers sum to the margin that `trees.Trees.run(raw=True)` gives.
"""

from __future__ import annotations

from mainspring.native._native import Contributions

__all__ = ["Contributions"]
