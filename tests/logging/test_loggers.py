"""metrics.csv after stops and restarts, and one offline W&B run; real Lightning fits on a tiny model."""

from __future__ import annotations

import csv
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from ltmed.errors import UserError
from ltmed.logging.csv import CSVLogger
from ltmed.logging.wandb import WandbLogger, run_id
from ltmed.runs.job import RunName

CONF = Path(__file__).resolve().parents[2] / "conf" / "logger"
NAME = RunName("isic2018", "erm", "grouped", ("loss=focal",), fold=1, seed=3)
OFFLINE: Any = {"project": "ltmed", "entity": None, "offline": True}
CONFIG = {"dataset": {"root": "/data"}, "method": {"name": "erm"}, "fold": 1, "seed": 3}


def found(classes: int = 3) -> dict:
    """The part of metrics.json that loggers show."""
    codes = [f"c{k}" for k in range(classes)]
    row = {"tier": "head", "support": 4, "precision": 0.5, "recall": 0.25, "f1": 0.3, "auroc": None}
    return {
        "test": {
            "scalars": {"balanced_accuracy": 0.5, "tail_recall": None},
            "intervals": {
                "scalars": {"balanced_accuracy": [0.4, 0.6], "tail_recall": [None, None]},
                "per_class": {code: {"recall": [0.1, 0.4]} for code in codes},
            },
            "per_class": [{"class": code, "name": code.upper(), **row} for code in codes],
            "confusion": [[int(i == j) for i in range(classes)] for j in range(classes)],
        },
        "val": {"scalars": {"balanced_accuracy": 0.55}},
        "split": {"name": "grouped", "hash": "abc", "leakage": {"fraction": 0.0}},
    }


class KilledError(Exception):
    pass


class Tiny(LightningModule):
    """Logs like a stage: the loss at some steps, a validation number every epoch."""

    def __init__(self, stage: str, killed_in: int | None = None) -> None:
        super().__init__()
        self.stage, self.killed_in = stage, killed_in
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        if self.current_epoch == self.killed_in and batch_idx == 3:
            raise KilledError
        loss = self.layer(batch[0]).square().mean()
        self.log(f"{self.stage}/train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log(f"{self.stage}/val/accuracy", self.layer(batch[0]).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(run_dir: Path, logger, stage: str, killed_in: int | None = None) -> None:
    """Three epochs of four steps, from the last checkpoint if there is one; a number every second step."""
    folder = run_dir / stage
    last = folder / "last.ckpt"
    done = torch.load(last, weights_only=True)["epoch"] + 1 if last.exists() else 0
    checkpoint = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
    torch.manual_seed(0)
    model = Tiny(stage, killed_in)
    loader = DataLoader(TensorDataset(torch.arange(16.0).view(8, 2) / 16), batch_size=2)
    trainer = Trainer(
        max_epochs=3, accelerator="cpu", logger=logger, callbacks=[checkpoint, LearningRateMonitor("step")],
        log_every_n_steps=2, num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    logger.rewind(stage, done)
    trainer.fit(model, loader, loader, ckpt_path=last if last.exists() else None, weights_only=True)


def rows(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def whole_run(run_dir: Path, make, killed_in: int | None = None) -> None:
    """Two stages; the second is killed once and the run started again, if asked for."""
    run_dir.mkdir(exist_ok=True)
    if killed_in is not None:
        logger = make()
        fit(run_dir, logger, "contrast")
        with pytest.raises(KilledError):
            fit(run_dir, logger, "classify", killed_in)
    logger = make()
    if killed_in is None:
        fit(run_dir, logger, "contrast")
    fit(run_dir, logger, "classify")
    logger.log_final(found())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("run")
    whole_run(run_dir, lambda: CSVLogger(run_dir, NAME, CONFIG))
    return run_dir


def test_csv_has_a_row_per_number(uninterrupted):
    found_rows = rows(uninterrupted)
    for stage in ("contrast", "classify"):
        values = [row for row in found_rows if row["name"] == f"{stage}/val/accuracy"]
        assert [(row["stage"], row["epoch"], row["step"]) for row in values] == [
            (stage, "0", "3"), (stage, "1", "7"), (stage, "2", "11"),
        ]  # fmt: skip
        losses = [row for row in found_rows if row["name"] == f"{stage}/train/loss"]
        assert [(row["epoch"], row["step"]) for row in losses] == [
            ("0", "1"), ("0", "3"), ("1", "5"), ("1", "7"), ("2", "9"), ("2", "11"),
        ]  # fmt: skip
        assert all(0 < float(row["value"]) < 10 for row in losses)
        rates = [row["step"] for row in found_rows if row["name"] == "lr-SGD" and row["stage"] == stage]
        assert rates == ["1", "3", "5", "7", "9", "11"]
    assert found_rows[-2:] == [
        {"stage": "test", "epoch": "", "step": "", "name": "test/balanced_accuracy", "value": "0.5"},
        {"stage": "test", "epoch": "", "step": "", "name": "test/tail_recall", "value": "nan"},
    ]


@pytest.mark.parametrize("killed_in", [0, 1, 2])
def test_killed_and_resumed_equals_uninterrupted(uninterrupted, tmp_path, killed_in):
    whole_run(tmp_path, lambda: CSVLogger(tmp_path, NAME, CONFIG), killed_in)
    assert rows(tmp_path) == rows(uninterrupted)


def test_rewind_drops_one_stage_from_an_epoch_on(tmp_path):
    logger = CSVLogger(tmp_path, NAME, CONFIG)
    for stage in ("a", "b"):
        for epoch in range(3):
            logger.log_metrics({f"{stage}/train/loss": 1 / 3, "epoch": epoch}, step=epoch)
    logger.save()
    with logger.file.open("a") as file:
        file.write("b,2,2,b/val/accu")  # Killed while writing.
    CSVLogger(tmp_path, NAME, CONFIG).rewind("a", 1)
    assert [(row["stage"], row["epoch"]) for row in rows(tmp_path)] == [("a", "0"), ("b", "0"), ("b", "1"), ("b", "2")]
    CSVLogger(tmp_path, NAME, CONFIG).rewind("b", 0)
    assert [(row["stage"], row["epoch"], float(row["value"])) for row in rows(tmp_path)] == [("a", "0", 1 / 3)]


@pytest.mark.parametrize("left", ["", "stage,epo"])
def test_a_file_that_was_killed_within_its_first_line_has_names_of_columns_again(tmp_path, left):
    (tmp_path / "metrics.csv").write_text(left)
    logger = CSVLogger(tmp_path, NAME, CONFIG)
    logger.rewind("train", 0)
    logger.log_metrics({"train/train/loss": 0.5, "epoch": 0}, step=3)
    logger.save()
    assert rows(tmp_path) == [{"stage": "train", "epoch": "0", "step": "3", "name": "train/train/loss", "value": "0.5"}]


def test_final_numbers_are_there_once(tmp_path):
    logger = CSVLogger(tmp_path, NAME, CONFIG)
    logger.log_metrics({"test/balanced_accuracy": 0.5, "epoch": 3}, step=12)
    logger.save()
    logger.log_final(found())
    logger.log_final(found())
    assert [row["name"] for row in rows(tmp_path)] == ["test/balanced_accuracy", "test/tail_recall"]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = CSVLogger(tmp_path, NAME, CONFIG)
    logger.rewind("a", 0)
    logger.log_metrics({"a/train/loss": 1.0}, step=0)
    logger.save()
    logger.log_final(found())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["csv", "wandb"])
def test_configs_have_a_description_and_name_real_arguments(name, tmp_path, monkeypatch):
    file = CONF / f"{name}.yaml"
    assert file.read_text().startswith("# ")
    monkeypatch.setattr("ltmed.logging.wandb._start", lambda *args, **kwargs: None)
    logger = instantiate(OmegaConf.load(file))(run_dir=tmp_path, name=NAME, config=CONFIG)
    assert isinstance(logger, CSVLogger)
    assert (logger.name, logger.version) == ("isic2018-erm", "fold1-seed3")


# --- Weights & Biases, offline --------------------------------------------------------------------------------------


@pytest.fixture
def no_account(tmp_path, monkeypatch):
    """A home without credentials, and a server address where nothing listens."""
    import wandb

    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()
    yield
    wandb.finish()
    wandb.teardown()


def records(file: Path) -> list:
    """The records of an offline run: a LevelDB log (blocks of 32 KiB) of protocol buffers after 7 bytes of header."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # Waits for the process that writes the file.
    data, place, parts, out = file.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # Full, or the last fragment.
            out.append(Record.FromString(parts))
            parts = b""
    return out


def key_of(item) -> str:
    return item.key or "/".join(item.nested_key)


def test_one_offline_run_over_stages_and_restarts(tmp_path, no_account):
    run_dir = tmp_path / "run"
    whole_run(run_dir, lambda: WandbLogger(run_dir, NAME, CONFIG, **OFFLINE), killed_in=1)

    folders = sorted((run_dir / "wandb").glob("*run-*"))
    assert {folder.name.split("-")[0] for folder in folders} == {"offline"}
    assert {folder.name.rsplit("-", 1)[1] for folder in folders} == {run_id(run_dir, CONFIG)}
    history: list[dict] = []
    for folder in folders:
        for record in records(next(folder.glob("*.wandb"))):
            if record.HasField("run") and record.run.run_id:
                run = record.run
                assert run.run_id == run_id(run_dir, CONFIG)
                assert (run.project, run.run_group, run.job_type) == ("ltmed", "isic2018-erm", "erm")
                assert list(run.tags) == ["isic2018", "erm", "grouped"]
            if record.HasField("history"):
                history.append({key_of(item): json.loads(item.value_json) for item in record.history.item})
    # Steps restart with each stage, and no row is refused for it: every epoch of both stages is there.
    for stage in ("contrast", "classify"):
        logged = [row["trainer/global_step"] for row in history if f"{stage}/val/accuracy" in row]
        assert sorted(set(logged)) == [3, 7, 11]
    shown = {key.split("/")[1] for key in history[-1] if key.startswith("test/")}
    assert shown == {"per_class", "confusion_matrix_table"}
    assert [row["name"] for row in rows(run_dir)].count("classify/val/accuracy") == 3


def test_an_offline_run_that_was_killed_has_its_history_in_the_next_folder(tmp_path, no_account):
    """Killed with -9, W&B has lost what it had not yet written; metrics.csv has it."""

    def make() -> WandbLogger:
        return WandbLogger(tmp_path, NAME, CONFIG, project="ltmed", entity=None, offline=True)

    fit(tmp_path, make(), "contrast")
    with pytest.raises(KilledError):
        fit(tmp_path, make(), "classify", killed_in=2)
    for folder in (tmp_path / "wandb").glob("offline-run-*"):
        shutil.rmtree(folder)
    logger = make()
    logger.rewind("contrast", 3)
    fit(tmp_path, logger, "classify")
    logger.log_final(found())
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    history = [
        {key_of(item): json.loads(item.value_json) for item in record.history.item}
        for record in records(next(folder.glob("*.wandb")))
        if record.HasField("history")
    ]
    for stage in ("contrast", "classify"):
        for name, steps in ((f"{stage}/val/accuracy", [3, 7, 11]), (f"{stage}/train/loss", [1, 3, 5, 7, 9, 11])):
            shown = [(row["trainer/global_step"], row[name]) for row in history if name in row]
            written = [(int(row["step"]), float(row["value"])) for row in rows(tmp_path) if row["name"] == name]
            assert [step for step, _ in shown] == steps
            assert shown == written
    assert [row["epoch"] for row in history if "contrast/val/accuracy" in row] == [0, 1, 2]


def test_the_id_belongs_to_folder_configuration_and_attempt(tmp_path):
    ids = [
        run_id(tmp_path, CONFIG),
        run_id(tmp_path / "other", CONFIG),
        run_id(tmp_path, {**CONFIG, "seed": 4}),
        run_id(tmp_path, CONFIG, 1),
    ]
    assert len(set(ids)) == 4
    elsewhere = {**CONFIG, "dataset": {**CONFIG["dataset"], "root": "/mnt"}, "trainer": {"devices": 2}}
    assert run_id(tmp_path, elsewhere) == ids[0], "where and how fast it runs does not matter"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("run abc was previously created and deleted; try a new run name", "logger.attempt=1"),
        ("context deadline exceeded\nwhile retrying: no such host", "logger.offline=true"),
    ],
)
def test_what_wandb_says_is_one_line_with_the_way_out(tmp_path, no_account, monkeypatch, raised, said):
    import wandb
    from wandb.errors import CommError

    def fail(**settings):
        assert settings["settings"].init_timeout <= 20
        raise CommError(raised)

    monkeypatch.setattr(wandb, "init", fail)
    with pytest.raises(UserError) as refused:
        WandbLogger(tmp_path, NAME, CONFIG, project="ltmed", entity=None, offline=False)
    assert said in refused.value.hint
    assert "\n" not in str(refused.value)


def test_a_folder_that_wandb_cannot_make_is_one_line(tmp_path, no_account):
    (tmp_path / "wandb").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot write its files: .*wandb.*logger=csv"):
        WandbLogger(tmp_path, NAME, CONFIG, **OFFLINE)


def test_waiting_for_wandb_is_said(tmp_path, no_account, monkeypatch, capsys):
    import time

    import wandb

    from ltmed.logging import wandb as module

    monkeypatch.setattr(module, "_QUIET_SECONDS", 0.05)
    monkeypatch.setattr(wandb, "login", lambda **_: time.sleep(0.5) or True)
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.teardown()
    WandbLogger.require_usable(project="ltmed", entity=None, offline=False)
    assert "connecting" in capsys.readouterr().err


def test_config_and_final_numbers_are_in_the_offline_run(tmp_path, no_account):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    logger = WandbLogger(run_dir, NAME, CONFIG, **OFFLINE)
    logger.log_final(found(classes=120))
    config, summary = {}, {}
    for record in records(next((run_dir / "wandb").glob("offline-run-*/*.wandb"))):
        for item in [*record.config.update, *record.run.config.update]:
            config[key_of(item)] = json.loads(item.value_json)
        for item in record.summary.update:
            summary[key_of(item)] = json.loads(item.value_json)
    assert config["method"] == {"name": "erm"}
    assert config["fold"] == 1
    assert summary["test/balanced_accuracy"] == 0.5
    assert (summary["test/balanced_accuracy_low"], summary["test/balanced_accuracy_high"]) == (0.4, 0.6)
    assert (summary["split"], summary["split_hash"]) == ("grouped", "abc")


def test_a_second_run_in_one_process_is_another_run(tmp_path, no_account):
    first, second = tmp_path / "first", tmp_path / "second"
    for run_dir in (first, second):
        run_dir.mkdir()
        WandbLogger(run_dir, NAME, CONFIG, **OFFLINE)  # Never finished, as after an error.
    assert len(list((first / "wandb").glob("offline-run-*"))) == 1
    assert len(list((second / "wandb").glob(f"offline-run-*-{run_id(second, CONFIG)}"))) == 1


def test_environment_can_choose_offline(tmp_path, no_account, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()
    WandbLogger(tmp_path, NAME, CONFIG, project="ltmed", entity=None, offline=False)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


def test_online_without_an_account_is_a_user_error(tmp_path, no_account):
    with pytest.raises(UserError, match=r"nobody is logged in.*wandb login.*logger.offline=true"):
        WandbLogger.require_usable(project="ltmed", entity=None, offline=False)
