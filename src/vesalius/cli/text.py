"""`vesalius text ...`: tools for clinical text. Every command lives in a file of its own."""

from cyclopts import App

from vesalius.language import say

app = App(
    name="text",
    help=say(
        "Clean, cut, augment, deduplicate, audit text.", "文本：清洗、分词、增强、去重、审查。"
    ),
    help_format="plaintext",
)
for _name, _place, _help in (
    (
        "clean",
        "text_clean:clean",
        say("Unify characters without changing a value.", "规范文字，数值不变。"),
    ),
    (
        "words",
        "text_words:words",
        say("Cut texts into words; count them.", "分词与词表。"),
    ),
    (
        "augment",
        "text_augment:augment",
        say("New wordings whose clinical facts are checked.", "数据增强，临床事实经过核对。"),
    ),
    (
        "deduplicate",
        "text_words:deduplicate",
        say("Remove exact and near duplicates.", "删除完全与近似重复。"),
    ),
    (
        "audit",
        "text_audit:audit",
        say(
            "Find label errors, leakage and personal data.",
            "查找标签错误、泄漏与个人信息。",
        ),
    ),
    (
        "deidentify",
        "text_audit:deidentify",
        say("Mask or replace personal data.", "去除个人信息。"),
    ),
):
    app.command(f"vesalius.cli.{_place}", name=_name, help=_help)
