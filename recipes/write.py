"""Write the complete, commented form of every named recipe: `python recipes/write.py`."""

from pathlib import Path

from vesalius.detect import recipe as detect
from vesalius.diagnose import recipe as diagnose
from vesalius.segment import recipe as segment

HERE = Path(__file__).parent

for department in (segment, detect, diagnose):
    folder = HERE / department.__name__.split(".")[1]
    folder.mkdir(exist_ok=True)
    for name, entry in department.RECIPE.presets().items():
        body = department.RECIPE.load(name).to_yaml(comments=True)
        text = f"# {name}: {entry['about']}\n\n{body}"
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
