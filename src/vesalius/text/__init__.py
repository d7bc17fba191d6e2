"""Tools for clinical text, Chinese and English: clean, cut, augment, deduplicate, audit.

from vesalius import text

text.clean("血压１２０／８０mmHg，，，白细胞10×10⁹/L")     # "血压120/80mmHg，白细胞10×10⁹/L"
text.words("患者否认高血压病史")
text.augment("患者5年前出现胸痛", "thesaurus", n=3)
text.run("notes.jsonl", work, out="new.jsonl", fields=["现病史"])
"""

from vesalius.lazy import lazily

__getattr__ = lazily(
    __name__,
    modules=(
        "auditing",
        "augmenting",
        "certificate",
        "cleaning",
        "duplicates",
        "encodings",
        "entities",
        "facts",
        "formats",
        "lexicons",
        "ngrams",
        "personal",
        "splitting",
        "stems",
        "stopwords",
        "streams",
        "subwords",
        "tagging",
        "vocabulary",
        "wording",
    ),
    names={
        "CleanOptions": "cleaning",
        "Cutter": "wording",
        "Output": "streams",
        "Summary": "streams",
        "audit": "auditing",
        "augment": "augmenting",
        "certify": "certificate",
        "clean": "cleaning",
        "clean_with_report": "cleaning",
        "deduplicate": "duplicates",
        "deidentify": "personal",
        "kinds": "augmenting",
        "near_duplicates": "duplicates",
        "run": "streams",
        "sentences": "splitting",
        "tag": "tagging",
        "train_subwords": "subwords",
        "words": "wording",
    },
)
