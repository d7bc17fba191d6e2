import importlib.machinery
import json
import subprocess
import sys

import pytest

from vesalius import doctor
from vesalius.doctor import Check, diagnose_installation, print_doctor


@pytest.fixture(scope="module")
def checks():
    return diagnose_installation()


def _named(checks, part):
    return [check for check in checks if part in check.name]


def test_this_installation_has_everything_required(checks):
    assert [c for c in checks if c.required and c.status != "ok"] == []
    assert {"Python", "vesalius", "torch", "numpy"} <= {c.name for c in checks}


def test_no_probe_failed_and_every_gap_has_a_remedy(checks):
    assert all(check.remedy for check in checks if check.status != "ok"), checks
    assert all(check.detail for check in checks)


def test_the_automatic_device_is_the_engines(checks):
    from vesalius.engine.device import choose_device

    (found,) = _named(checks, "'auto'")
    assert f"device={choose_device('auto')}" in found.detail


def test_extras_and_data_sets_are_listed(checks):
    assert _named(checks, "extra 'datasets'")
    assert _named(checks, "data set 'brain-tissue'")
    assert not _named(checks, "extra 'dev'")


def test_a_package_that_is_too_old_is_missing(monkeypatch):
    from packaging.requirements import Requirement

    monkeypatch.setattr(doctor, "_installed", lambda name: "1.0")
    found = doctor._package(Requirement("numpy>=2.0"))
    assert found.status == "missing"
    assert found.remedy == 'pip install "numpy>=2.0"'
    monkeypatch.setattr(doctor, "_installed", lambda name: None)
    assert "not installed" in doctor._package(Requirement("numpy>=2.0")).detail


def test_a_broken_torchvision_is_a_warning_that_says_it_is_not_needed(monkeypatch):
    def broken(command, **options):
        error = "Traceback\nRuntimeError: operator torchvision::nms does not exist\n"
        return subprocess.CompletedProcess(command, 1, "", error)

    spec = importlib.machinery.ModuleSpec("torchvision", None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: spec)
    monkeypatch.setattr(doctor.subprocess, "run", broken)
    (found,) = doctor._torchvision()
    assert found.status == "warning"
    assert "nms does not exist" in found.detail
    assert "never needs it" in found.detail
    assert "pip uninstall torchvision" in found.remedy


def test_without_a_chinese_font_the_remedy_is_said(monkeypatch):
    from matplotlib import font_manager

    latin = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", latin)
    (found,) = doctor._fonts()
    assert found.status == "warning"
    assert "fonts-noto-cjk" in found.remedy


def test_a_folder_that_cannot_be_written_is_a_warning(monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    (found,) = doctor._write_permission()
    assert found.status == "warning"
    assert "Permission denied" in found.detail


def test_one_broken_probe_does_not_hide_the_others(monkeypatch):
    def explode():
        raise RuntimeError("driver gone")

    monkeypatch.setattr(doctor, "_gpus", explode)
    monkeypatch.setattr(doctor, "_packages", lambda: iter(()))
    found = diagnose_installation()
    assert any("driver gone" in check.detail for check in found)
    assert _named(found, "Python")


def test_json_is_one_document_and_nothing_else(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "diagnose_installation", lambda: [Check("磁盘", "ok", "x")])
    assert print_doctor(json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert document["checks"][0]["name"] == "磁盘"


def test_a_missing_requirement_fails_and_a_missing_option_does_not(monkeypatch, capsys):
    option = Check("extra 'onnx'", "missing", "x", 'pip install "vesalius[onnx]"')
    monkeypatch.setattr(doctor, "diagnose_installation", lambda: [option])
    assert print_doctor() == 0
    assert 'pip install "vesalius[onnx]"' in capsys.readouterr().out
    needed = Check("torch", "missing", "x", "y", required=True)
    monkeypatch.setattr(doctor, "diagnose_installation", lambda: [option, needed])
    assert print_doctor() == 1


def test_a_terminal_gets_a_table_that_keeps_the_brackets(monkeypatch, capsys):
    option = Check("extra 'onnx'", "missing", "x", 'pip install "vesalius[onnx]"')
    monkeypatch.setattr(doctor, "diagnose_installation", lambda: [option])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_doctor()
    assert "[onnx]" in capsys.readouterr().out.replace("\n", "")


def test_the_doctor_speaks_chinese(monkeypatch, capsys):
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    monkeypatch.setattr(doctor, "diagnose_installation", lambda: list(doctor._disk()))
    print_doctor()
    assert "磁盘" in capsys.readouterr().out
