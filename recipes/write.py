"""Write the complete, commented form of every named recipe: `python recipes/write.py`."""

from pathlib import Path

from vesalius.segment.recipe import SegmentRecipe, presets

HERE = Path(__file__).parent

for name, entry in presets().items():
    body = SegmentRecipe.load(name).to_yaml(comments=True)
    path = HERE / "segment" / f"{name}.yaml"
    path.write_text(f"# {name}: {entry['about']}\n\n{body}", encoding="utf-8")
