"""Audio encoders: sound -> features A of every frame (section 3.2 "Audio Layers"), at the clip's 30 fps.

    wav2vec 2.0 base   the paper's, where its weights are: 12 hidden states of 768; the convolutional features are
                       interpolated to the frame rate before the transformer, so that frame and feature align exactly
    Whisper tiny.en    the stand-in out of a package: 4 hidden states of 384 at 50 Hz, interpolated to the frame rate

Features are per frame. The +-m neighbours around each frame (A_gen) are sliced in `networks/`, never stored.
Numbers repeat bit for bit on one machine: one torch thread, no dropout, float32 inside, float16 out.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emo_model import weights
from emo_model.data.ctranslate2_file import read_arrays
from emo_model.data.workers import for_a_step
from emo_model.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

RATE = 16_000  # hertz, both encoders
FPS = 30
WINDOW_S = 12  # the longest clip: position in the window shows in the features, so none may be new to the network
OVERLAP_S = 4  # windows of longer sound share this much
FADE_S = 2  # in the middle of it one turns into the other, so that no frame shows where the windows meet


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder. `features` is the one way in, for the data and for generation alike."""

    name: str  # stored in every row
    weights: str  # in the registry; what a checkpoint's configuration names as its audio_encoder
    layers: int
    width: int
    sha256: str  # of the weights
    encode_window: Callable[[NDArray[np.float32], int], NDArray[np.float32]]

    def features(self, samples: NDArray[np.float32], num_frames: int) -> NDArray[np.float16]:
        """Features of the frames shown from sample 0 on at 30 fps.

        samples (N,) float, 16 kHz mono in [-1, 1]; returns (num_frames, layers, width) float16. Frames past the
        end of the sound hear silence. Sound longer than WINDOW_S is read in overlapping windows.
        """
        if samples.ndim != 1:
            raise ValueError(f"mono sound of shape (N,) was wanted; got {samples.shape}; run it through media first")
        return np.concatenate(list(self.stream([samples.astype(np.float32)], num_frames)))

    def stream(self, blocks: Iterable[NDArray[np.float32]], num_frames: int) -> Iterator[NDArray[np.float16]]:
        """The same of sound that comes in blocks (N,), a stretch of frames at a time: an hour takes no more memory
        than a window."""
        tape = _Tape(blocks)
        lead, fade = (OVERLAP_S - FADE_S) * FPS // 2, FADE_S * FPS
        rising = ((np.arange(fade, dtype=np.float32) + 0.5) / fade)[:, None, None]
        ending: NDArray[np.float32] | None = None  # of the window before, where the next one takes over
        for start, stop in windows(num_frames):
            encoded = self.encode_window(tape.cut(start * RATE // FPS, stop * RATE // FPS), stop - start)
            if ending is not None:
                turning, rest = np.split(encoded[lead:], [fade])
                encoded = np.concatenate([ending * (1 - rising) + turning * rising, rest])
            if stop < num_frames:
                encoded, ending = encoded[: -lead - fade], encoded[-lead - fade : -lead]
            yield encoded.astype(np.float16)


def windows(num_frames: int) -> Iterator[tuple[int, int]]:
    """(first frame, end) of each window: they cover all frames, and share OVERLAP_S with the one before."""
    size, step = WINDOW_S * FPS, (WINDOW_S - OVERLAP_S) * FPS
    for start in range(0, max(num_frames - OVERLAP_S * FPS, 1), step):
        yield start, min(start + size, num_frames)


class _Tape:
    """Sound that comes in blocks, read in windows that move on: only what a window spans is held."""

    def __init__(self, blocks: Iterable[NDArray[np.float32]]) -> None:
        self._blocks, self._held, self._first = iter(blocks), np.empty(0, np.float32), 0

    def cut(self, begin: int, end: int) -> NDArray[np.float32]:
        """Samples [begin, end), zeros past the end of the sound. begin never falls."""
        while self._first + len(self._held) < end and (block := next(self._blocks, None)) is not None:
            drop = min(begin - self._first, len(self._held))
            self._held, self._first = np.concatenate([self._held[drop:], block]), self._first + drop
        window = self._held[begin - self._first : end - self._first]
        return np.pad(window, (0, end - begin - len(window)))


def frame_positions(num_frames: int, rate: float, centre: float) -> NDArray[np.float64]:
    """Where each frame's middle lies on a feature axis whose k-th entry is centred on (k + centre) / rate seconds."""
    return (np.arange(num_frames) + 0.5) / FPS * rate - centre


def at_positions(features: NDArray[np.float32], positions: NDArray[np.float64]) -> NDArray[np.float32]:
    """Linear interpolation along the first axis; beyond the ends the end's value holds."""
    positions = np.clip(positions, 0, len(features) - 1)
    low = np.minimum(np.floor(positions).astype(int), max(len(features) - 2, 0))
    share = (positions - low).astype(np.float32).reshape(-1, *[1] * (features.ndim - 1))
    high = np.minimum(low + 1, len(features) - 1)
    return features[low] * (1 - share) + features[high] * share


def default_encoder() -> str:
    """Registry name of the encoder in use: wav2vec 2.0 if its weights are there, else Whisper tiny.en."""
    return "wav2vec2_base" if weights.have("wav2vec2_base") else "whisper_tiny_encoder"


def encoder_identity() -> tuple[str, str]:
    """(registry name, sha256 of the weights) of the encoder in use, without loading it."""
    name = default_encoder()
    return name, _folder_sha256() if name == "wav2vec2_base" else weights.REGISTRY[name].sha256 or ""


@for_a_step
def load_encoder(name: str | None = None) -> Encoder:
    """An encoder by its registry name, as a checkpoint's `audio_encoder`; by default the one in use.

    UserError naming the command where its weights are missing, or where no encoder is called so.
    """
    loaders = {"wav2vec2_base": _wav2vec2, "whisper_tiny_encoder": _whisper}
    name = name or default_encoder()
    if name not in loaders:
        raise UserError(f"no audio encoder {name!r}: wanted one of {', '.join(loaders)}; run: emo weights list")
    return loaders[name]()


# ---- wav2vec 2.0 ----


def _folder_sha256() -> str:
    from emo_model.data.store import file_sha256, text_sha256

    folder = weights.path("wav2vec2_base")
    files = sorted([*folder.glob("config.json"), *folder.glob("*.safetensors"), *folder.glob("*.bin")])
    return text_sha256(*(f"{file.name} {file_sha256(file)}" for file in files))


def _wav2vec2() -> Encoder:
    import torch
    from transformers import Wav2Vec2Model

    model = Wav2Vec2Model.from_pretrained(weights.path("wav2vec2_base"), local_files_only=True).eval()
    kernels, strides = model.config.conv_kernel, model.config.conv_stride
    hop = int(np.prod(strides))
    field = 1 + sum((kernel - 1) * int(np.prod(strides[:layer])) for layer, kernel in enumerate(kernels))
    centre = (field - 1) / 2 / hop  # unpadded convolutions: entry k hears samples k * hop to k * hop + field

    def at_frames(convolved: "Tensor", num_frames: int) -> "Tensor":
        """(1, 512, T) at 50 Hz -> (1, 512, F) at the frame rate."""
        frames = at_positions(convolved[0].T.numpy(), frame_positions(num_frames, RATE / hop, centre))
        return torch.from_numpy(frames).T[None]

    @torch.inference_mode()
    def encode_window(samples: NDArray[np.float32], num_frames: int) -> NDArray[np.float32]:
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)  # as it was trained
        hook = model.feature_extractor.register_forward_hook(lambda _, __, out: at_frames(out, num_frames))
        try:
            with one_thread():
                states = model(torch.from_numpy(samples)[None], output_hidden_states=True).hidden_states[1:]
        finally:
            hook.remove()
        return torch.cat(states).transpose(0, 1).numpy()  # (F, 12, 768)

    config = model.config
    return Encoder(
        "wav2vec2-base", "wav2vec2_base", config.num_hidden_layers, config.hidden_size, _folder_sha256(), encode_window
    )


# ---- Whisper tiny.en, the stand-in ----

WHISPER = {
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "num_mel_bins": 80,
}
_RENAMED = (  # CTranslate2 -> transformers
    ("encoder/", ""),
    ("position_encodings/encodings", "embed_positions.weight"),
    ("layer_norm/gamma", "layer_norm.weight"),
    ("layer_norm/beta", "layer_norm.bias"),
    ("self_attention/layer_norm", "self_attn_layer_norm"),
    ("ffn/layer_norm", "final_layer_norm"),
    ("self_attention/linear_1", "self_attn.out_proj"),
    ("ffn/linear_0", "fc1"),
    ("ffn/linear_1", "fc2"),
    ("layer_", "layers."),
    ("layers.norm", "layer_norm"),
    ("attn_layers.norm", "attn_layer_norm"),
    ("final_layers.norm", "final_layer_norm"),
    ("/", "."),
)


def whisper_state(arrays: dict[str, NDArray]) -> dict[str, "Tensor"]:
    """The encoder's arrays of a CTranslate2 file under the names of transformers' WhisperEncoder, float32.

    Queries, keys and values lie in one array there (linear_0); transformers keeps three, keys without a bias.
    """
    import torch

    state = {}
    for name, array in arrays.items():
        if not name.startswith("encoder/") or name == "encoder/num_heads":
            continue
        values = torch.from_numpy(array.astype(np.float32))
        if "self_attention/linear_0" in name:
            layer, kind = name.split("/")[1].removeprefix("layer_"), name.rsplit("/", 1)[1]
            for part, third in zip("qkv", values.chunk(3), strict=True):
                if (part, kind) != ("k", "bias"):
                    state[f"layers.{layer}.self_attn.{part}_proj.{kind}"] = third
            continue
        for old, new in _RENAMED:
            name = name.replace(old, new)
        state[name] = values
    return state


def _whisper() -> Encoder:
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    path = weights.path("whisper_tiny_encoder")
    encoder = WhisperEncoder(WhisperConfig(**WHISPER, attn_implementation="sdpa")).eval()
    encoder.load_state_dict(whisper_state(read_arrays(path)), strict=True)
    log_mel = WhisperFeatureExtractor(feature_size=WHISPER["num_mel_bins"])

    @torch.inference_mode()
    def encode_window(samples: NDArray[np.float32], num_frames: int) -> NDArray[np.float32]:
        with one_thread():
            mel = log_mel(samples, sampling_rate=RATE, return_tensors="pt").input_features  # padded to 30 s
            states = encoder(mel, output_hidden_states=True).hidden_states[1:]
        hidden = torch.cat(states).transpose(0, 1).numpy()  # (1500, 4, 384), 50 Hz
        return at_positions(hidden, frame_positions(num_frames, rate=50, centre=0))  # padded: entry k around k / 50 s

    entry = weights.REGISTRY["whisper_tiny_encoder"]
    sizes = WHISPER["encoder_layers"], WHISPER["d_model"]
    return Encoder("whisper-tiny.en", entry.name, *sizes, entry.sha256 or "", encode_window)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch with one thread, so that sums are taken in one order and the numbers repeat; restored afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
