"""The feature columns: their names, their order, and where in a row each lies.

Owns the one table of them, `BLOCKS`: a block is what one function writes, and a column is added by its name
here and one line there. Releases keep the names (`FEATURES`) and fit no other. Knows no kernel.
"""

from collections import namedtuple
from itertools import accumulate, pairwise
from typing import Any

from learner.ranking.layout import Layout
from learner.ranking.sources import SOURCES
from learner.signals.settings import DEPTH_HALF_LIVES, HALF_LIVES

# Popularity among users of the same depth (`signals.settings.DEPTHS`) at three half-lives, with a share of
# that among all.
_POPULARITY_BY_DEPTH = tuple(f"popularity_depth_{h}" for h in DEPTH_HALF_LIVES)
# In these columns each of the user's newest own items is looked up too, as a candidate of the moment before
# it came, by today's signals without its own click (where they have counted it yet). The share of today's
# candidates that lie below it (ties count half), as a mean over these items and one at `look_back.PRIOR`,
# tells which columns this user's next item can be found by.
FOLLOWED_HALF_LIVES = (1, 3, 5)
FOLLOWED_DEPTH = 1  # which of the half-lives by depth
FOLLOWED = (
    "student_cosine", "student_profile", *(f"popularity_{h}" for h in FOLLOWED_HALF_LIVES), "popularity_all",
    f"popularity_depth_{DEPTH_HALF_LIVES[FOLLOWED_DEPTH]}", "age", "year",
    "knn_1", "knn_10", "rules", "rule_1",
    "content_1", "content_profile", "content_max", "ease_10", "value_item",
)  # fmt: skip

BLOCKS = {
    "student": (
        "student", "student_mean", "student_max", "student_rank", "student_cosine", "student_profile",
    ),
    "popularity": (
        *(f"popularity_{h}" for h in range(HALF_LIVES)),  # log decayed popularity by half-life
        "popularity_all",
        *(f"trend_{h}" for h in range(HALF_LIVES - 1)),  # popularity_h - popularity_(h+1)
        "last_seen",  # log seconds since anyone's last click
        "age",  # log seconds since the first click
        "popularity_per_age",
        "year",  # years since it was published
        "published_age",  # log days since it was published
    ),
    "depth": (
        *_POPULARITY_BY_DEPTH,
        "depth_mean",  # of those who clicked the item
        "depth_gap",  # what that is above the user's
    ),
    "user": (
        "user_events", "user_day", "user_hour", "user_session", "user_gap", "user_tenure", "user_new",
        "last_view", "last_purchase", "last_rating", "taste_popularity", "taste_popularity_gap",
        "taste_popularity_distance", "taste_age_gap", "taste_year_gap",
    ),
    # knn: co-occurrence in either order / sqrt of both counts; rule: the candidate after the item, 1/d;
    # inverse: knn in which users count the less the more they click; knn_day: knn of own events that fade
    # within a day; value_near: mean value of own items, weighted by their knn.
    "pairs": (
        "knn_1", "knn_3", "knn_10", "knn_50", "jaccard_1", "jaccard_10", "conditional_1", "lift_1",
        "decayed_1", "decayed_10", "rules", "rules_raw", "rule_1", "rule_2", "rule_3",
        "decayed_rule_1", "decayed_rules", "nearest_companion", "companions",
        "inverse_3", "inverse_10", "inverse_50", "knn_max", "conditional_10", "knn_day", "value_near",
    ),
    "content": (
        "content_1", "content_profile", "content_max", "dislike_similarity",
        "category_profile", "category_last", "category_popularity", "category_share",
    ),
    "rest": (
        "value_item", "value_user", "value_last",
        "own_count", "own_since", "own_distance",
        "own_due",  # log of the time since the user last had the item over the mean time between
        "ease_10", "ease_all", *(f"rank_{source}" for source in SOURCES),
    ),
    "follows": tuple(f"follows_{name}" for name in FOLLOWED),
}  # fmt: skip
RAW = tuple(name for names in BLOCKS.values() for name in names)
# Columns whose level differs from list to list while their order within the list is what matters.
CENTRED = (
    "student", *(f"popularity_{h}" for h in range(1, HALF_LIVES)), "popularity_all", *_POPULARITY_BY_DEPTH,
    "last_seen", "age", "year",
    "knn_1", "knn_3", "knn_10", "knn_50", "jaccard_10", "conditional_1", "decayed_1", "decayed_10",
    "rules", "rules_raw", "rule_1", "rule_2", "decayed_rules", "student_cosine",
    "inverse_10", "inverse_50", "knn_max", "conditional_10", "knn_day",
    "content_1", "content_profile", "content_max", "category_profile", "ease_10", "ease_all",
)  # fmt: skip
# Of the candidate and each of the newest own items: whether there is one, log d, log of the time since, its
# value, log of its clicks and of the candidate's; as logs, how often the two came together, and the
# candidate after it (1/d), over the root of both counts, which are smoothed as in knn. How much an own item
# counts by all this is the ranker's to learn.
OWN_ITEM_COLUMNS = ("there", "distance", "gap", "value", "clicks", "item_clicks", "cosine", "rule_cosine")
OWN_ITEMS = 20
FEATURES = (
    *RAW, *(f"{name}_centred" for name in CENTRED),
    *(f"{name}_at_{place}" for place in range(1, OWN_ITEMS + 1) for name in OWN_ITEM_COLUMNS),
)  # fmt: skip
LAYOUT = Layout(len(RAW) + len(CENTRED), OWN_ITEMS, len(OWN_ITEM_COLUMNS))

KNOWN = RAW.index("user_events")  # 0 for users without a past
ITEM_CLICKS = RAW.index("popularity_all")  # the same as `item_clicks` by place


# What kernels know the columns by; numba takes tuples of numbers and slices for constants.
def places(name: str, columns: tuple[str, ...]) -> Any:
    """The columns' numbers, each under its own name."""
    return namedtuple(name, columns)(*range(len(columns)))


# SPAN.pairs is the slice of a row that the block "pairs" has, PAIRS.knn_3 the column within it.
_bounds = pairwise(accumulate((len(columns) for columns in BLOCKS.values()), initial=0))
SPAN: Any = namedtuple("SPAN", BLOCKS)(*(slice(*bounds) for bounds in _bounds))  # type: ignore[misc,arg-type]
STUDENT, POPULARITY, DEPTH, USER, PAIRS, CONTENT, REST, FOLLOWS = (
    places(name, columns) for name, columns in BLOCKS.items()
)
