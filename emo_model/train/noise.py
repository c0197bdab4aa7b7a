"""The noise recipe of a run: chosen once, when the first stage begins, and kept to the last sampled video.

Another schedule in training than in sampling shows in no loss, only in the videos. So a run that resumes, or starts
from a checkpoint, takes the checkpoint's recipe, and a checkpoint whose scheduler is not its recipe's is refused.
"""

from emo_model import diffusion
from emo_model.errors import UserError
from emo_model.train import checkpoint
from emo_model.train.config import RunSpec, TrainConfig


def with_recipe_of_start(spec: RunSpec, config: TrainConfig) -> TrainConfig:
    """The numbers with the recipe of what the run goes on from. UserError where the run asks for another one."""
    # A run's newest checkpoint comes last: it has the recipe of the start, and may be damaged.
    begun = (spec.start, spec.run_dir / "start", checkpoint.latest(spec.run_dir / "checkpoints"))
    came = next((folder for folder in begun if folder is not None and folder.is_dir()), None)
    if came is None:
        return config
    recipe, asked = diffusion.load_recipe(came), spec.changed.get("noise")
    if asked not in (None, recipe):
        raise UserError(
            f"{came} was trained with the noise recipe {recipe}, and {asked} is asked for: one schedule trains and "
            f"samples; leave out noise, or begin again, run: emo train image NEW_RUN_DIR --noise {asked}"
        )
    return config.model_copy(update={"noise": recipe})
