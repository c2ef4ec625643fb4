"""The network learns, repeats itself, stops in time, and runs from a bundle as it was trained."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_contents import CONTENTS
from sklearn.linear_model import LogisticRegression

from mainspring.core import errors, ports, projects
from mainspring.core.models import bundle, evaluation, network, signing, torch_runtime, training

SPEC = projects.ModelSpec(
    embeddings=(projects.Embedding(column="carrier", dimensions=3),),
    hidden_sizes=(16, 8),
    dropout=0.1,
    epochs=6,
    batch_rows=64,
    learning_rate=0.02,
    weight_decay=1e-4,
    seed=7,
)
ARCHITECTURE = network.Architecture.of(SPEC, dense_width=2, id_columns={"origin": 3, "carrier": 5})


def examples(rows: int, seed: int) -> training.Examples:
    """The label follows a product of two columns and the carrier: a line cannot separate it."""
    return training.Examples.of(*arrays(rows, seed))


def arrays(rows: int, seed: int) -> tuple[ports.ModelInput, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(rows, 2)).astype(np.float32)
    ids = np.stack([rng.integers(0, 3, rows), rng.integers(0, 5, rows)], axis=1).astype(np.int32)
    logit = 3 * dense[:, 0] * dense[:, 1] + (ids[:, 1] - 2)
    return ports.ModelInput(dense, ids), rng.random(rows) < 1 / (1 + np.exp(-logit))


def trained(spec: projects.ModelSpec = SPEC) -> tuple[network.EmbeddingMlp, training.FitReport]:
    model = network.EmbeddingMlp(ARCHITECTURE, seed=spec.seed)
    return model, training.fit(model, examples(1500, 1), examples(500, 2), spec)


def test_beats_logistic_regression_where_it_should() -> None:
    test = examples(1000, 3)
    model, report = trained()
    baseline = network.EmbeddingMlp(ARCHITECTURE.baseline(), seed=SPEC.seed)
    training.fit(baseline, examples(1500, 1), examples(500, 2), SPEC)
    labels = test.labels.numpy()
    ours = evaluation.auc(labels, training.predict(model, test))
    theirs = evaluation.auc(labels, training.predict(baseline, test))
    assert ours > theirs + 0.05 > 0.6
    assert report.best_auc == max(e.valid_auc for e in report.epochs)


def test_same_seed_same_weights_another_seed_others() -> None:
    torch.manual_seed(99)
    first = network.save_weights(trained()[0])
    torch.manual_seed(100)
    assert network.save_weights(trained()[0]) == first
    assert network.save_weights(trained(SPEC.model_copy(update={"seed": 8}))[0]) != first


def test_without_hidden_layers_it_is_logistic_regression() -> None:
    batch, labels = arrays(800, 4)
    one_hot = np.concatenate([batch.dense, np.eye(5)[batch.ids[:, 1]]], axis=1)
    known = LogisticRegression(C=1.0).fit(one_hot, labels)
    model = network.EmbeddingMlp(ARCHITECTURE.baseline())
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == {
        "tables.0.weight": (5, 1),
        "head.0.weight": (1, 2),
        "head.0.bias": (1,),
    }
    model.load_state_dict(
        {
            "tables.0.weight": torch.tensor(known.coef_[0, 2:, None]),
            "head.0.weight": torch.tensor(known.coef_[:, :2]),
            "head.0.bias": torch.tensor(known.intercept_),
        }
    )
    ours = training.predict(model, training.Examples.of(batch, labels))
    np.testing.assert_allclose(ours, known.predict_proba(one_hot)[:, 1], atol=1e-6)


def test_ids_only_regression_learns_each_rate() -> None:
    architecture = network.Architecture(
        dense_width=0, id_columns=("c",), tables=(network.Table(column="c", rows=2, dimensions=1),)
    )
    ids = np.repeat(np.array([[0], [1]], np.int32), 500, axis=0)
    labels = np.arange(1000) % 10 < np.where(ids[:, 0] == 1, 8, 2)
    data = training.Examples.of(ports.ModelInput(np.zeros((1000, 0), np.float32), ids), labels)
    model = network.EmbeddingMlp(architecture)
    spec = SPEC.model_copy(update={"epochs": 30, "learning_rate": 0.05, "weight_decay": 0.0})
    training.fit(model, data, data, spec, patience_epochs=100)
    optimizer = training.make_optimizer(model, spec)
    for epoch in range(30):
        training.train_epoch(model, optimizer, data, batch_rows=64, seed=1, epoch=epoch)
    scores = training.predict(model, data)
    assert scores[0] == pytest.approx(0.2, abs=0.05)
    assert scores[-1] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"tables": [{"column": "absent", "rows": 1, "dimensions": 1}]},
        {"tables": [{"column": "carrier", "rows": 0, "dimensions": 1}]},
        {"hidden_sizes": []},
        {"hidden_sizes": [0]},
        {"dropout": 1.0},
        {"id_columns": ["carrier", "carrier"]},
        {"surprise": 1},
    ],
)
def test_impossible_architecture_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidRequest, match="architecture"):
        network.Architecture.parse({**ARCHITECTURE.model_dump(mode="json"), **change})


def test_spec_with_a_column_the_plan_lacks_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match="carrier"):
        network.Architecture.of(SPEC, dense_width=2, id_columns={"origin": 3})


def test_weights_round_trip_and_refuse_another_architecture() -> None:
    model, _ = trained()
    data = network.save_weights(model)
    again = network.load_weights(ARCHITECTURE, data)
    assert not again.training
    assert network.save_weights(again) == data
    for bad in (
        b"",
        data[:-1],
        data[1:],
        network.save_weights(network.EmbeddingMlp(ARCHITECTURE.baseline())),
    ):
        with pytest.raises(errors.CorruptArtifact, match="architecture"):
            network.load_weights(ARCHITECTURE, bad)
    with torch.no_grad():
        next(model.parameters())[0, 0] = float("nan")
    with pytest.raises(errors.CorruptArtifact, match="NaN"):
        network.load_weights(ARCHITECTURE, network.save_weights(model))


@pytest.mark.parametrize("rows", [1, 7, 8])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_workers_share_every_row_equally(rows: int, world_size: int) -> None:
    shares = [
        training.epoch_order(rows, seed=1, epoch=0, rank=r, world_size=world_size) for r in range(world_size)
    ]
    assert len({len(s) for s in shares}) == 1
    visited = np.concatenate(shares)
    assert set(visited.tolist()) == set(range(rows))
    assert len(visited) - rows < world_size


@pytest.mark.parametrize(("world_size", "later"), [(2, 2), (2, 3), (3, 1), (1, 4)])
def test_what_is_left_of_an_epoch_is_shared_by_as_many_as_there_are_then(world_size: int, later: int) -> None:
    rows, done = 1001, 120 * world_size

    def shares(size: int, begun: int) -> list[list[int]]:
        return [
            training.epoch_order(rows, seed=1, epoch=0, rank=r, world_size=size, done=begun).tolist()
            for r in range(size)
        ]

    before = [share[: done // world_size] for share in shares(world_size, 0)]
    after = shares(later, done)
    assert len({len(s) for s in after}) == 1
    visited = [row for share in before + after for row in share]
    assert set(visited) == set(range(rows)) and len(visited) - rows < later
    if later == world_size:
        assert [a + b for a, b in zip(before, after, strict=True)] == shares(world_size, 0)


def test_epochs_shuffle_differently() -> None:
    first = training.epoch_order(100, seed=1, epoch=0)
    assert not np.array_equal(first, training.epoch_order(100, seed=1, epoch=1))
    assert not np.array_equal(first, training.epoch_order(100, seed=2, epoch=0))
    assert np.array_equal(first, training.epoch_order(100, seed=1, epoch=0))


def test_stops_early_and_keeps_the_best_weights() -> None:
    aucs = iter([0.6, 0.7, 0.65, 0.7, 0.9])
    seen: list[tuple[training.Progress, bytes]] = []
    model = network.EmbeddingMlp(ARCHITECTURE, seed=1)
    report = training.fit(
        model,
        examples(300, 1),
        examples(100, 2),
        SPEC,
        patience_epochs=2,
        agree=lambda loss, auc: (loss / 2, next(aucs)),
        on_epoch=lambda progress: seen.append((progress, network.save_weights(model))),
    )
    assert [e.valid_auc for e in report.epochs] == [0.6, 0.7, 0.65, 0.7]
    assert [e.is_best for e in report.epochs] == [True, True, False, False]
    assert report.stopped_early
    assert report.best_epoch == 1
    assert network.save_weights(model) == seen[1][1] != seen[3][1]
    assert seen[3][0].epochs == report.epochs and seen[3][0].best_epoch == 1
    assert report.epochs[0].loss < 0.5  # what `agree` made of it: untrained, it is above log 2


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def never_stopped() -> tuple[network.EmbeddingMlp, training.FitReport]:
    return trained()


@pytest.mark.parametrize("after", [0, 4])
def test_a_resumed_fit_ends_with_the_same_weights(
    after: int, never_stopped: tuple[network.EmbeddingMlp, training.FitReport]
) -> None:
    straight, report = never_stopped
    kept: list[bytes] = []

    def stop(progress: training.Progress) -> None:
        kept.append(progress.to_bytes())
        if progress.epochs[-1].epoch == after:
            raise Stopped

    data = examples(1500, 1), examples(500, 2), SPEC
    with pytest.raises(Stopped):
        training.fit(network.EmbeddingMlp(ARCHITECTURE, seed=SPEC.seed), *data, on_epoch=stop)
    later: list[int] = []
    model = network.EmbeddingMlp(ARCHITECTURE, seed=99)
    again = training.fit(
        model,
        *data,
        resume=training.Progress.from_bytes(kept[-1]),
        on_epoch=lambda progress: later.append(progress.epochs[-1].epoch),
    )
    assert again == report
    assert later == list(range(after + 1, len(report.epochs)))
    assert network.save_weights(model) == network.save_weights(straight)


@pytest.mark.parametrize("after", [0, 3, 7])
def test_a_fit_resumed_within_an_epoch_ends_with_the_same_weights(after: int) -> None:
    kept: list[bytes] = []
    data = examples(1500, 1), examples(500, 2), SPEC

    def stop(progress: training.Progress) -> None:
        kept.append(progress.to_bytes())
        if len(kept) == after + 1:
            raise Stopped

    # 24 steps an epoch: two handovers in each, and none at its end.
    straight = network.EmbeddingMlp(ARCHITECTURE, seed=SPEC.seed)
    seen: list[int] = []
    report = training.fit(
        straight, *data, every_steps=8, on_steps=lambda p: seen.append(p.partial.rows if p.partial else -1)
    )
    assert seen == [8 * 64, 16 * 64] * len(report.epochs)
    with pytest.raises(Stopped):
        training.fit(network.EmbeddingMlp(ARCHITECTURE, seed=SPEC.seed), *data, every_steps=8, on_steps=stop)
    resume = training.Progress.from_bytes(kept[-1])
    assert len(resume.epochs) == after // 2 and resume.partial is not None
    model = network.EmbeddingMlp(ARCHITECTURE, seed=99)
    assert training.fit(model, *data, every_steps=8, resume=resume) == report
    assert network.save_weights(model) == network.save_weights(straight)


def test_fewer_workers_go_on_within_an_epoch_with_the_loss_of_all() -> None:
    data = examples(1500, 1)
    model = network.EmbeddingMlp(ARCHITECTURE, seed=1)
    begun = training.Partial(rows=1200, losses=(500.0, 540.0))
    loss = training.train_epoch(
        model, training.make_optimizer(model, SPEC), data, batch_rows=64, seed=1, epoch=0, begun=begun
    )
    # One worker: 1200 rows at a mean of 1040 / 1200, and the 300 that are left.
    assert 1040 / 1500 < loss < (1040 + 300 * 2) / 1500


def test_a_fit_that_had_stopped_early_does_not_go_on() -> None:
    model, data = network.EmbeddingMlp(ARCHITECTURE, seed=1), (examples(300, 1), examples(100, 2), SPEC)
    aucs = iter([0.7, 0.6, 0.65])
    last: list[training.Progress] = []
    first = training.fit(model, *data, agree=lambda loss, auc: (loss, next(aucs)), on_epoch=last.append)
    again = training.fit(model, *data, resume=last[-1], on_epoch=last.append)
    assert again == first and again.stopped_early and len(last) == 3


def test_bad_progress_is_refused() -> None:
    model, data = network.EmbeddingMlp(ARCHITECTURE, seed=1), (examples(300, 1), examples(100, 2), SPEC)
    kept: list[training.Progress] = []
    training.fit(model, *data, on_epoch=kept.append)
    whole = kept[0].to_bytes()
    for bad in (b"", whole[: len(whole) // 2], b"not a checkpoint"):
        with pytest.raises(errors.CorruptArtifact, match="checkpoint"):
            training.Progress.from_bytes(bad)
    with pytest.raises(errors.CorruptArtifact, match="checkpoint"):
        training.fit(network.EmbeddingMlp(ARCHITECTURE.baseline()), *data, resume=kept[0])


def test_diverging_loss_says_what_to_do() -> None:
    batch, labels = arrays(100, 1)
    batch.dense[3, 0] = np.inf
    model = network.EmbeddingMlp(ARCHITECTURE)
    with pytest.raises(errors.JobFailed, match="learning_rate") as failed:
        training.fit(model, training.Examples.of(batch, labels), examples(100, 2), SPEC)
    assert failed.value.status == "diverged"


def test_empty_or_uneven_data_is_refused() -> None:
    with pytest.raises(errors.DataInvalid, match="train"):
        training.fit(network.EmbeddingMlp(ARCHITECTURE), examples(0, 1), examples(100, 2), SPEC)
    batch, labels = arrays(10, 1)
    with pytest.raises(errors.SchemaMismatch, match="rows"):
        training.Examples.of(batch, labels[:-1])


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch_runtime.TorchRuntime, np.ndarray]:
    folder = tmp_path_factory.mktemp("runtime")
    model, _ = trained()
    key = signing.ensure_key(folder / "key.pem")
    key.publish(folder / "trusted")
    contents = dataclasses.replace(
        CONTENTS, model=ARCHITECTURE.model_dump(mode="json"), weights=network.save_weights(model)
    )
    store = bundle.BundleStore(folder / "bundles")
    written = store.write(contents, key)
    opened = store.open(written.digest, signing.TrustedKeys.load(folder / "trusted"))
    return torch_runtime.TorchRuntime.load(opened, threads=1), training.predict(model, examples(50, 9))


def test_runtime_answers_as_the_trained_model(
    runtime: tuple[torch_runtime.TorchRuntime, np.ndarray],
) -> None:
    loaded, expected = runtime
    batch, _ = arrays(50, 9)
    as_port: ports.ModelRuntime = loaded
    got = as_port.predict(batch)
    assert got.dtype == np.float32
    assert np.array_equal(got, expected)
    assert as_port.name == "torch"
    assert torch.get_num_threads() == 1
    batch.dense.setflags(write=False)
    batch.ids.setflags(write=False)
    assert np.array_equal(loaded.predict(batch), expected)
    np.testing.assert_allclose(
        loaded.predict(ports.ModelInput(batch.dense[:1], batch.ids[:1])), expected[:1], rtol=1e-5
    )
    assert loaded.predict(ports.ModelInput(batch.dense[:0], batch.ids[:0])).shape == (0,)


def test_runtime_refuses_what_the_plan_would_not_give(
    runtime: tuple[torch_runtime.TorchRuntime, np.ndarray],
) -> None:
    loaded, _ = runtime
    batch, _ = arrays(4, 1)
    for bad in (
        ports.ModelInput(batch.dense[:, :1].copy(), batch.ids),
        ports.ModelInput(batch.dense, batch.ids[:, :1].copy()),
        ports.ModelInput(batch.dense[:2], batch.ids),
        ports.ModelInput(batch.dense.astype(np.float64), batch.ids),  # type: ignore[arg-type]
        ports.ModelInput(batch.dense, batch.ids.astype(np.int64)),  # type: ignore[arg-type]
    ):
        with pytest.raises(errors.SchemaMismatch):
            loaded.predict(bad)
    for bad_id in (-1, 5):
        ids = batch.ids.copy()
        ids[2, 1] = bad_id
        with pytest.raises(errors.InvariantViolated, match="embedding"):
            loaded.predict(ports.ModelInput(batch.dense, ids))
    dense = batch.dense.copy()
    dense[0, 0] = np.nan
    with pytest.raises(errors.InvariantViolated, match="finite"):
        loaded.predict(ports.ModelInput(dense, batch.ids))


def test_bundle_of_another_model_does_not_load(tmp_path: Path) -> None:
    store = bundle.BundleStore(tmp_path)
    key = signing.ensure_key(tmp_path / "key.pem")
    with pytest.raises(errors.CorruptArtifact, match="architecture"):
        torch_runtime.TorchRuntime.load(store.write(CONTENTS, key), threads=1)
