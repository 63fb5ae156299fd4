import pytest
from transeg.engines import tracking
from transeg.errors import ConfigError


def test_what_is_not_installed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None if name == "alembic" else name)
    for track in (lambda: tracking.track_validation(tmp_path), lambda: tracking.track_training(tmp_path, {})):
        with pytest.raises(ConfigError, match=r"tracking needs MLflow: pip install .*\[mlflow\]"):
            track()
