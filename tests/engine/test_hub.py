import pytest
import torch

from tests.engine.test_crash import train
from vesalius.engine.hub import PretrainedModel
from vesalius.engine.run import Run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("hub") / "run"
    train(out)
    return out


def test_a_run_folder_is_a_pretrained_model_and_the_other_way_round(folder, tmp_path):
    model = PretrainedModel.from_pretrained(folder)
    points = torch.randn(5, 2)
    expected = Run(folder).model()(points)
    torch.testing.assert_close(model(points), expected, rtol=0, atol=0)

    with torch.no_grad():
        model.network.head.bias += 1.0  # somebody goes on with it
    model.save_pretrained(tmp_path / "copy")
    again = Run(tmp_path / "copy")
    torch.testing.assert_close(again.model()(points), expected + 1.0)
    assert again.scores.values == Run(folder).scores.values
    assert again.scores.cases == {}  # names of cases may be names of patients
    assert again.department == "toy"


def test_saving_makes_a_model_card(folder, tmp_path):
    PretrainedModel.from_pretrained(folder).save_pretrained(tmp_path / "copy")
    assert "library_name: vesalius" in (tmp_path / "copy" / "README.md").read_text()
