"""The one arrow between the packages, and what loading them may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "diffusers", "transformers", "mediapipe", "mlflow", "cv2"}


def imported(source: str) -> set[str]:
    """Top-level names of everything a source imports, also inside functions and `if TYPE_CHECKING`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the modules in a fresh interpreter after the statement."""
    code = f"{statement}\nimport sys; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("\n")[-2].split())


@pytest.mark.parametrize("file", sorted((HOME / "emo_model").rglob("*.py")), ids=lambda file: file.stem)
def test_emo_model_knows_nothing_of_the_orchestrator(file: Path) -> None:
    assert not imported(file.read_text()) & {"dagster", "emo_pipeline"}


def test_an_import_inside_a_function_would_be_seen() -> None:
    assert imported("def asset():\n    from dagster import asset\n") == {"dagster"}


def test_the_command_line_starts_without_heavy_libraries() -> None:
    assert not loaded_by("import emo_model.cli") & (HEAVY | {"dagster", "pyarrow", "scipy"})


def test_data_steps_load_without_torch_or_the_orchestrator() -> None:
    steps = [
        file.stem for file in sorted((HOME / "emo_model/data").glob("*.py")) if file.stem not in ("dataset", "transnet")
    ]
    statement = "; ".join(f"import emo_model.data.{step}" for step in steps if step != "__init__")
    assert not loaded_by(statement) & {"torch", "diffusers", "transformers", "mediapipe", "dagster", "mlflow"}


def test_definitions_load_without_heavy_libraries() -> None:
    assert not loaded_by("import emo_pipeline.definitions") & (HEAVY | {"scipy", "pandas", "matplotlib"})
