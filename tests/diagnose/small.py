"""A small, separable set of records for tests: three diseases, each with its words."""

import json

import numpy as np

SIGNS = {
    "高血压": ("反复头晕，血压170/100mmHg。", "测血压升高，未规律服药。"),
    "肺炎": ("发热、咳嗽、咳黄痰3天。", "双肺可闻及湿啰音。"),
    "胆囊结石": ("右上腹痛，进食油腻后加重。", "墨菲征阳性，B超示胆囊结石影。"),
}
OTHERS = ("饮食睡眠可。", "二便正常。", "神志清楚，精神可。", "否认药物过敏史。")


def rows(count=60, *, seed=0, patients=False):
    """Return records as mappings: two fields, one to three diseases, denials of the others."""
    rng, found = np.random.default_rng(seed), []
    names = list(SIGNS)
    for number in range(count):
        truth = [name for name in names if rng.random() < 0.45] or [names[number % 3]]
        story = [rng.choice(SIGNS[name]) for name in truth] + [str(rng.choice(OTHERS))]
        story += [f"否认{name}病史。" for name in names if name not in truth and rng.random() < 0.5]
        rng.shuffle(story)
        row = {
            "id": f"ZY{number:04d}",
            "性别": str(rng.choice(["男", "女"])),
            "年龄": f"{rng.integers(20, 90)}岁",
            "主诉": story[0],
            "现病史": "".join(story),
            "labels": truth,
        }
        if patients:
            row["patient_id"] = f"P{number // 2}"
        found.append(row)
    return found


def write(path, made):
    """Write rows as JSONL and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
    path.write_text(text, encoding="utf-8")
    return path


TINY = (
    "epochs=3",
    "batch_size=8",
    "data.length=64",
    "data.subwords=200",
    "optimizer.learning_rate=5e-3",
    "schedule.warmup=2",
    "model.hidden=32",
    "model.layers=1",
    "model.heads=2",
)
"""Overrides of a network that trains in about a second."""
