"""Small run folders as the engine writes them, for the tests of reports."""

import io
import json
import math
from pathlib import Path

from PIL import Image

from vesalius.engine.run import to_json
from vesalius.report import Picture

RECIPE = "seed: 7\nepochs: 2\nmodel:\n  name: unet\n  note: <script>alert(1)</script>\n"


def make_run(folder: Path, *, steps: int = 20, dice: float = 0.9, ended: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    config = {
        "department": "segment",
        "created": "2030-01-02T03:04:05+00:00",
        "command": "vesalius segment train DATA",
        "parameters": 1234567,
        "task": {"labels": {"background": 0, "grey": 1, "white & grey": 2}},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    rows = [_train_row(step) for step in range(1, steps + 1)]
    rows += [_valid_row(steps // 2, dice - 0.1), _valid_row(steps, dice)]
    if ended:
        rows.append({"kind": "end", "step": steps, "epoch": 2, "seconds": steps * 0.5})
    (folder / "history.jsonl").write_text("".join(f"{to_json(row)}\n" for row in rows))
    (folder / "scores.json").write_text(to_json(_scores(dice, steps)), encoding="utf-8")
    return folder


def picture(caption: str = "case") -> Picture:
    out = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(out, "PNG")
    return Picture(out.getvalue(), caption)


def _train_row(step: int) -> dict:
    return {
        "kind": "train",
        "step": step,
        "epoch": step / 10,
        "loss": 2 / step,
        "terms": {"dice": 1 / step, "focal": 1 / step},
        "learning_rate": 1e-3,
        "gradient_norm": math.inf if step == 3 else 1.0,
        "seconds": step * 0.5,
    }


def _valid_row(step: int, dice: float) -> dict:
    scores = {"dice": dice, "hd95": math.nan}
    row = {"kind": "valid", "step": step, "epoch": step / 10, "headline": "dice"}
    return {**row, "scores": scores, "seconds": step * 0.5}


def _scores(dice: float, steps: int) -> dict:
    return {
        "headline": "dice",
        "values": {"dice": dice, "hd95": math.inf},
        "labels": {"grey": {"dice": dice, "hd95": 2.0}, "white & grey": {"dice": math.nan}},
        "cases": {
            "good": {"dice": 0.95, "hd95": 1.0},
            "undefined": {"dice": math.nan, "hd95": math.inf},
            "bad": {"dice": 0.2, "hd95": 9.0},
        },
        "higher_is_better": True,
        "step": steps,
        "split": "valid",
    }
