"""Worlds with one right answer for the student, and parity of its ONNX step."""

from dataclasses import dataclass, replace

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from learner.data.event_weights import weights_by_kind  # noqa: E402
from learner.data.events import Kind  # noqa: E402
from learner.data.inputs import log_gap, normalise_value, normalise_values, value_scale  # noqa: E402
from learner.models.item_table import ItemContent  # noqa: E402
from learner.models.prior import Prior  # noqa: E402
from learner.models.retrieval import retrieval_ndcg  # noqa: E402
from learner.models.run import Run  # noqa: E402
from learner.models.sequences import encode_histories  # noqa: E402
from learner.models.student import Student, StudentConfig  # noqa: E402
from learner.models.student_export import step_model, student_arrays  # noqa: E402
from learner.models.student_training import train_student  # noqa: E402
from learner.release.bundle import ReleaseError  # noqa: E402

pytestmark = pytest.mark.learner
SMALL = StudentConfig(dim=16, dropout=0.0, epochs=30, batch_events=256, warmup_steps=5, context=4)


@dataclass
class Log:
    user: np.ndarray
    item: np.ndarray
    time_ms: np.ndarray
    kind: np.ndarray
    value: np.ndarray


def make_log(user, item, kind=None, value=None) -> Log:
    n = len(user)
    return Log(
        np.asarray(user, np.int32),
        np.asarray(item, np.int32),
        np.arange(n, dtype=np.int64) * 60_000 + 1_600_000_000_000,
        np.full(n, Kind.CLICK, np.uint8) if kind is None else np.asarray(kind, np.uint8),
        np.full(n, np.nan, np.float32) if value is None else np.asarray(value, np.float32),
    )


def cycles(users: int, items: int, length: int, seed: int = 0) -> Log:
    """Every user walks the cycle 0, 1, 2, … from a place of their own: the next item is certain."""
    rng = np.random.default_rng(seed)
    start = rng.integers(items, size=users)
    user = np.tile(np.arange(users), length)
    item = (start[None] + np.arange(length)[:, None]).ravel() % items
    return make_log(user, item)


def random_log(n: int = 400, users: int = 13, items: int = 40, seed: int = 0) -> Log:
    rng = np.random.default_rng(seed)
    log = make_log(rng.integers(users, size=n), rng.integers(items, size=n), rng.integers(len(Kind), size=n))
    log.value[:] = rng.normal(3, 1, size=n)
    return log


def random_content(items: int, seed: int = 0) -> ItemContent:
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(items, 8)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    return ItemContent(text, rng.integers(-1, 5, size=(items, 6)).astype(np.int32))


def session_of(student: Student) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(step_model(student), providers=["CPUExecutionProvider"])


def walk(session, vectors, log, rows, scale, hidden_size):
    """The user vectors after each of a user's events, one ONNX step at a time."""
    hidden = np.zeros((1, hidden_size), np.float32)
    value = normalise_values(log.kind, log.value, scale)
    previous, out = -1, []
    for row in rows:
        feed = {
            "item_vector": vectors[log.item[row]][None],
            "kind": log.kind[row : row + 1].astype(np.int64),
            "log_gap": log_gap(log.time_ms[row : row + 1], np.array([previous])),
            "value": value[row : row + 1],
            "hidden": hidden,
        }
        hidden, vector = session.run(None, feed)
        previous = log.time_ms[row]
        out.append(vector[0])
    return np.array(out), hidden


@pytest.mark.parametrize("full_softmax_below", [5000, 1])
def test_learns_the_certain_next_item(full_softmax_below: int) -> None:
    log = cycles(users=60, items=30, length=12)
    config = replace(SMALL, full_softmax_below=full_softmax_below, negatives=20, learning_rate=1e-2)
    student, report = train_student(log, 600, ItemContent.empty(30), {}, config, Run(seed=1))
    assert report.steps > 0
    # chance is .15; the step is as certain for the users' later events, which it has not seen
    assert retrieval_ndcg(student, log, 600, len(log.user), {}) > 0.95


def test_same_seed_same_student_and_another_seed_another() -> None:
    log, content = random_log(), random_content(40)
    config = replace(SMALL, dropout=0.3, epochs=3)
    first, again, other = (
        train_student(log, 300, content, {}, config, Run(seed))[0].table() for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_training_sees_nothing_after_stop() -> None:
    log, content = random_log(), random_content(40)
    student, _ = train_student(log, 300, content, {}, replace(SMALL, epochs=2, prior_weight=1.0))
    log.item[300:] = 0
    log.kind[300:] = Kind.DISLIKE
    after, _ = train_student(log, 300, content, {}, replace(SMALL, epochs=2, prior_weight=1.0))
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), after.parameters(), strict=True))


def test_step_equals_torch_and_whole_history() -> None:
    log, content = random_log(), random_content(40)
    scale = value_scale(log.kind, log.value)
    student, _ = train_student(log, 300, content, scale, replace(SMALL, epochs=2))
    with torch.no_grad():  # kinds and gaps must matter for the comparison to mean anything
        student.kind_part.normal_(0, 0.5)
        student.gap_value.normal_(0, 0.5)
    session, arrays = session_of(student), student_arrays(student)
    encoded = encode_histories(student, log, scale, batch=3, chunk=5)
    for user in range(13):
        rows = np.flatnonzero((log.user == user) & (log.kind != Kind.IMPRESSION))
        vectors, _ = walk(session, arrays.vectors, log, rows, scale, student.hidden_size)
        np.testing.assert_allclose(encoded[rows[0]], arrays.initial, atol=1e-6)
        np.testing.assert_allclose(encoded[rows[1:]], vectors[:-1], atol=1e-4)


def test_encoding_a_part_equals_the_part_of_encoding_all() -> None:
    log = random_log()
    student, _ = train_student(log, 300, random_content(40), {}, replace(SMALL, epochs=1))
    whole = encode_histories(student, log, {})
    np.testing.assert_allclose(
        encode_histories(student, log, {}, start=250, stop=390), whole[250:390], atol=1e-5
    )


def test_impressions_leave_user_vectors_alone() -> None:
    log = random_log()
    student, _ = train_student(log, 300, random_content(40), {}, replace(SMALL, epochs=1))
    without = encode_histories(student, log, {})
    log.item[log.kind == Kind.IMPRESSION] = 7
    np.testing.assert_array_equal(encode_histories(student, log, {}), without)


@pytest.mark.parametrize("kind", [Kind.DISLIKE, Kind.HIDE])
def test_dislike_pushes_the_item_and_its_like_away(kind: Kind) -> None:
    """Two genres; users stay within theirs. Nobody dislikes anything in training."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(80), 10)
    item = rng.integers(10, size=800) + 10 * (user % 2)
    order = rng.permutation(800)
    student, _ = train_student(make_log(user[order], item[order]), 800, ItemContent.empty(20), {}, SMALL)
    session, arrays = session_of(student), student_arrays(student)

    def scores(last: Kind) -> np.ndarray:
        log = make_log([0, 0, 0], [1, 2, 3], [Kind.CLICK, Kind.CLICK, last])
        vectors, _ = walk(session, arrays.vectors, log, [0, 1, 2], {}, student.hidden_size)
        return arrays.vectors @ vectors[-1]

    liked, disliked = scores(Kind.LIKE), scores(kind)
    assert disliked[3] < liked[3]
    assert disliked[:10].mean() < liked[:10].mean()  # what is like it
    assert (disliked[:10] - liked[:10]).mean() < (disliked[10:] - liked[10:]).mean()


def test_disliked_items_are_no_targets() -> None:
    """Everybody dislikes item 5 all the time and clicks others: it must not become likely."""
    rng = np.random.default_rng(0)
    item = rng.integers(5, size=600)
    kind = np.full(600, Kind.CLICK, np.uint8)
    item[::2], kind[::2] = 5, Kind.DISLIKE
    log = make_log(rng.integers(30, size=600), item, kind)
    student, _ = train_student(log, 600, ItemContent.empty(6), {}, replace(SMALL, epochs=5))
    assert not student.seen[5]
    assert torch.equal(student.id_part[5], torch.zeros(16))


def test_content_carries_items_never_clicked() -> None:
    """Items come in two genres told by content; users stay within theirs; two items are never clicked."""
    rng = np.random.default_rng(0)
    text = np.zeros((22, 2), np.float32)
    text[:11, 0], text[11:, 1] = 1, 1
    user = np.tile(np.arange(60), 10)
    item = rng.integers(10, size=600) + 11 * (user % 2)
    content = ItemContent(text, np.full((22, 6), -1, np.int32))
    student, _ = train_student(make_log(user, item), 600, content, {}, SMALL)
    users = encode_histories(student, make_log(np.r_[user, [0, 1]], np.r_[item, [0, 0]]), {}, start=600)
    scores = users @ student.table().detach().numpy().T
    assert scores[0, 10] > scores[0, 21]  # user 0 lives in the first genre: its unclicked item wins
    assert scores[1, 21] > scores[1, 10]


def test_columns_without_a_text_are_no_content() -> None:
    log = cycles(20, 12, 20)
    nothing = ItemContent(np.zeros((12, 8), np.float32), np.full((12, 6), -1, np.int32))
    found, without = (
        train_student(log, len(log.user), content, {}, replace(SMALL, epochs=2))[0]
        for content in (nothing, ItemContent.empty(12))
    )
    assert not found.has_content
    assert not found.projection.any()  # a text that comes later is not read at random
    spread, plain = (float(model.id_part.detach().std()) for model in (found, without))
    assert spread == pytest.approx(plain, rel=0.2)


def test_unmet_kind_is_read_as_the_average_event() -> None:
    student, _ = train_student(cycles(20, 10, 8), 160, ItemContent.empty(10), {}, replace(SMALL, epochs=2))
    torch.testing.assert_close(student.kind_part[Kind.PURCHASE], student.kind_part[Kind.CLICK])


@pytest.mark.parametrize("events", [0, 1, 2, 50])
def test_works_on_almost_nothing(events: int) -> None:
    log = make_log(np.zeros(events), np.arange(events) % 7)
    student, _ = train_student(
        log, events, ItemContent.empty(9), {}, replace(SMALL, epochs=2, prior_weight=1.0)
    )
    assert encode_histories(student, log, {}).shape == (events, 16)
    assert np.isfinite(student_arrays(student).vectors).all()


def test_early_stop_keeps_the_best_weights() -> None:
    log = random_log(800)
    config = replace(SMALL, epochs=40, patience=1)
    student, report = train_student(log, 600, random_content(40), {}, config, validate_from=480)
    assert report.validation
    assert retrieval_ndcg(student, log, 480, 600, {}) == pytest.approx(max(report.validation))


def test_a_training_without_finite_gradients_says_so() -> None:
    log = make_log([0, 0, 1, 1] * 50, [0, 1, 2, 3] * 50)
    content = ItemContent(np.full((4, 64), np.nan, np.float32), np.full((4, 6), -1, np.int32))
    with pytest.raises(ReleaseError, match="diverged"):
        train_student(log, 200, content, {}, StudentConfig())


def test_prior_knows_only_what_came_before() -> None:
    log = make_log([0] * 5, [0, 0, 1, 1, 2])
    prior = Prior.of(log, 3, 5, half_life_ms=1e15)
    np.testing.assert_allclose(np.exp(prior.log_popularity[0].numpy()), 0.05, rtol=1e-5)
    long = make_log([0] * 401, [0] * 200 + [1] * 201)
    later = Prior.of(long, 2, 401, half_life_ms=1e15)
    np.testing.assert_allclose(np.exp(later.log_popularity[2].numpy()), [200.05, 200.05], rtol=1e-3)


def test_prior_counts_an_event_as_often_as_its_kind_weighs() -> None:
    log = make_log([0] * 401, [0] * 200 + [1] * 200 + [0], kind=[Kind.VIEW] * 200 + [Kind.PURCHASE] * 201)
    weights = weights_by_kind({"view": 0.25, "purchase": 5.0}).tolist()
    prior = Prior.of(log, 2, 401, half_life_ms=1e15, weights=weights)
    np.testing.assert_allclose(np.exp(prior.log_popularity[2].numpy()), [50.05, 1000.05], rtol=1e-3)


@pytest.mark.parametrize("below", [5000, 0])  # items: all of them in the softmax, or some that are drawn
@pytest.mark.parametrize(
    ("weights", "winner"),
    [({"view": 0.1, "purchase": 5.0}, 2), ({"purchase": 0.1}, 1), ({"view": 0.0}, 2), ({"purchase": 0.0}, 1)],
)
def test_targets_count_as_often_as_their_kind_weighs(weights, winner, below) -> None:
    """After item 0 half of the users view 1 and half purchase 2."""
    users = np.repeat(np.arange(100), 2)
    item = np.stack([np.zeros(100, int), 1 + np.arange(100) % 2], 1).ravel()
    kind = np.where(item == 1, Kind.VIEW, np.where(item == 2, Kind.PURCHASE, Kind.CLICK))
    log = make_log(users, item, kind=kind)
    config = replace(
        SMALL, event_weights=tuple(weights_by_kind(weights).tolist()), full_softmax_below=below, negatives=64
    )
    student, _ = train_student(log, 200, ItemContent.empty(3), {}, config)
    after = encode_histories(student, make_log([0, 0], [0, 0]), {})[1]
    arrays = student_arrays(student)
    scores = arrays.vectors @ after + arrays.bias
    assert scores[winner] > scores[3 - winner] + 0.5


def test_prior_of_clicks_that_lie_years_apart() -> None:
    """A shop's first years: two hundred clicks in more than a thousand half-lives are still numbers."""
    hour = 3_600_000
    log = make_log([0] * 401, [0] * 400 + [1])
    times = np.r_[np.arange(400) * 24 * 30 * hour, 399 * 24 * 30 * hour + hour]
    prior = Prior.of(replace(log, time_ms=times), 2, 401, half_life_ms=float(hour))
    assert np.isfinite(prior.log_popularity.numpy()).all()
    np.testing.assert_allclose(np.exp(prior.log_popularity[2].numpy()), [0.05 + 0.5, 0.05], rtol=1e-5)


def test_values_are_normalised_by_kind() -> None:
    kind = np.array([Kind.RATING, Kind.RATING, Kind.VIEW, Kind.CLICK], np.uint8)
    value = np.array([1, 5, 30, np.nan], np.float32)
    scale = value_scale(kind, value)
    assert scale == {"rating": (3.0, 2.0), "view": (30.0, 1e-3)}
    np.testing.assert_allclose(normalise_values(kind, value, scale), [-1, 1, 0, 0])
    np.testing.assert_allclose(normalise_values(kind, np.float32([1e9] * 4), scale), [3, 3, 3, 0])
    # A value that float32 cannot hold is as much as one can be, and nothing where its kind has no scale.
    for value_of_all, limit in ((1e39, 3), (-1e39, -3)):
        endless = np.full(4, np.copysign(np.inf, value_of_all), np.float32)
        np.testing.assert_allclose(normalise_values(kind, endless, scale), [limit, limit, limit, 0])
        assert [normalise_value(k, value_of_all, scale) for k in kind.tolist()] == [limit, limit, limit, 0]
    unknown = np.array([250], np.uint8)
    assert normalise_values(unknown, np.float32([1.0]), scale).tolist() == [0]
