"""Has TensorFlow and gpt-2-simple write tiny GPT-2 checkpoints, and computes their logits.

In an environment of its own (`pip install tensorflow-cpu gpt-2-simple plyvel`), from the top of the checkout:
`python -m tools.foreign_checkpoints.tensorflow_checkpoints`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import plyvel
import tensorflow
from gpt_2_simple import gpt_2
from gpt_2_simple.src import model as gpt2_model

tf = tensorflow.compat.v1
DATA = Path("tests/data/checkpoints")
DEMO = Path("worker/demo/gpt2")
MERGES, END = 43, "<|endoftext|>"
VOCABULARY = 256 + MERGES + 1
SHAPE = {"n_vocab": VOCABULARY, "n_ctx": 32, "n_embd": 8, "n_head": 2, "n_layer": 2}
TOKENS = [39, 68, 75, 75, 78, 11, 220, 256, 270, 298, 13, 299]


def main() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    openai(DATA / "openai")
    shards(DATA / "shards")
    partitioned(DATA / "partitioned")
    kinds(DATA / "kinds")
    gpt_2_simple(DATA / "gpt-2-simple")
    leveldb(DATA / "leveldb")


def openai(folder: Path) -> None:
    """OpenAI's layout, and the logits that OpenAI's own code computes."""
    describe(folder, SHAPE)
    with new_session(seed=1) as session:
        logits = build(SHAPE)
        save(session, folder / "model.ckpt")
        keep_logits(session, logits, folder)


def shards(folder: Path) -> None:
    """The weights with Adam's slots in two files, and a `checkpoint` that was written elsewhere."""
    describe(folder, SHAPE)
    with new_session(seed=2) as session:
        logits = build(SHAPE, devices=["/cpu:0", "/cpu:1"])
        optimizer = tf.train.AdamOptimizer(0.01)
        step = optimizer.minimize(tf.reduce_sum(tf.square(logits["logits"])), tf.train.get_or_create_global_step())
        session.run(tf.global_variables_initializer())
        session.run(step, {logits["tokens"]: [TOKENS]})
        saver = tf.train.Saver(sharded=True, max_to_keep=1)
        saver.save(session, str(folder / "model"), global_step=7, write_meta_graph=False)
        keep_logits(session, logits, folder)
    path = folder / "checkpoint"
    path.write_text(path.read_text().replace('"model-7"', '"/content/drive/My Drive/checkpoint/run1/model-7"'))


def partitioned(folder: Path) -> None:
    """Weights in two pieces each, as a partitioner makes them."""
    describe(folder, SHAPE)
    with new_session(seed=3) as session:
        with tf.variable_scope(tf.get_variable_scope(), partitioner=tf.fixed_size_partitioner(2)):
            build(SHAPE)
        save(session, folder / "model.ckpt")


def kinds(folder: Path) -> None:
    """The same numbers in every kind of number."""
    folder.mkdir(parents=True)
    with new_session(seed=4) as session:
        values = np.array([[0.5, -1.25, 3.0], [0.0, 2.0**-7, -64.0]])
        for dtype in (tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.int32):
            tf.get_variable(dtype.name, initializer=tf.constant(values, dtype))
        tf.get_variable("scalar", initializer=tf.constant(1.5))
        tf.get_variable("empty", initializer=tf.zeros([0, 3]))
        session.run(tf.global_variables_initializer())
        save(session, folder / "model.ckpt")


def gpt_2_simple(folder: Path) -> None:
    """What `gpt_2.finetune()` leaves in `checkpoint/run1`."""
    shape = SHAPE | {"n_ctx": 1024}  # it trains on texts of that length
    with tempfile.TemporaryDirectory() as place:
        models, corpus = Path(place, "models"), Path(place, "corpus.txt")
        describe(models / "tiny", shape)
        corpus.write_text("The mill turns.\n" * 2000)
        with new_session(seed=5) as session:
            build(shape)
            save(session, models / "tiny" / "model.ckpt")
        tf.reset_default_graph()
        session = gpt_2.start_tf_sess()
        gpt_2.finetune(
            session, str(corpus), steps=2, model_name="tiny", model_dir=str(models), checkpoint_dir=place,
            accumulate_gradients=1, learning_rate=0.01,
        )  # fmt: skip
        shutil.copytree(Path(place, "run1"), folder, ignore=shutil.ignore_patterns("events*", "*.meta"))
        gpt_2.reset_session(session)
    with new_session(seed=6) as session:
        logits = build(shape)
        tf.train.Saver().restore(session, str(folder / "model-2"))
        keep_logits(session, logits, folder)


def leveldb(folder: Path) -> None:
    """A table as LevelDB itself writes it: many blocks, compressed by Snappy."""
    with tempfile.TemporaryDirectory() as place:
        database = plyvel.DB(place, create_if_missing=True, compression="snappy", block_size=1024)
        for number in range(600):
            database.put(f"model/h{number:03}/attn".encode(), f"value {number} ".encode() * 3)
        database.compact_range()
        database.close()
        (table,) = [*Path(place).glob("*.ldb")]
        folder.mkdir(parents=True)
        shutil.copyfile(table, folder / "snappy.ldb")


def new_session(seed: int) -> Any:
    tf.reset_default_graph()
    tf.set_random_seed(seed)
    return tf.Session(config=tf.ConfigProto(device_count={"CPU": 2}))


def build(shape: dict[str, int], devices: list[str] | None = None) -> dict[str, Any]:
    """OpenAI's graph, as gpt-2-simple carries it; its weights are drawn at random, the norms' and biases too."""
    hparams = gpt2_model.default_hparams()
    hparams.override_from_dict(shape)
    tokens = tf.placeholder(tf.int32, [1, None])
    placed = iter(range(1 << 30))
    chosen = devices or ["/cpu:0"]
    with tf.device(lambda operation: chosen[next(placed) // 40 % len(chosen)] if "Variable" in operation.type else ""):
        logits = gpt2_model.model(hparams=hparams, X=tokens)["logits"]
    session = tf.get_default_session()
    session.run(tf.global_variables_initializer())
    for variable in tf.trainable_variables():
        drawn = tf.random_normal(variable.shape, stddev=0.3) + (1.0 if variable.op.name.endswith("/g") else 0.0)
        session.run(variable.assign(drawn))
    return {"tokens": tokens, "logits": logits}


def save(session: Any, prefix: Path) -> None:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    tf.train.Saver().save(session, str(prefix), write_meta_graph=False)


def keep_logits(session: Any, built: dict[str, Any], folder: Path) -> None:
    logits = session.run(built["logits"], {built["tokens"]: [TOKENS]})[0]
    rounded = [[round(float(value), 6) for value in row] for row in logits[-2:]]
    (folder / "logits.json").write_text(json.dumps({"tokens": TOKENS, "last_logits": rounded}) + "\n")


def describe(folder: Path, shape: dict[str, int]) -> None:
    """`hparams.json` and a vocabulary of 300 tokens in OpenAI's files: bytes, the demo model's first merges, an end."""
    folder.mkdir(parents=True)
    (folder / "hparams.json").write_text(json.dumps(shape))
    version, *merges = (DEMO / "merges.txt").read_text("utf-8").splitlines()
    known = json.loads((DEMO / "vocab.json").read_text("utf-8"))
    names = sorted((name for name in known if len(name) == 1), key=known.__getitem__)
    names += [merge.replace(" ", "") for merge in merges[:MERGES]] + [END]
    assert len(names) == VOCABULARY, len(names)
    (folder / "encoder.json").write_text(json.dumps({name: token for token, name in enumerate(names)}))
    (folder / "vocab.bpe").write_text("\n".join([version, *merges[:MERGES], ""]), "utf-8")


if __name__ == "__main__":
    main()
