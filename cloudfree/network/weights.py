"""Weights files: the registry that travels with the package, loading, saving and conversion of published checkpoints.

A weights file is a safetensors file whose metadata holds one JSON document under `METADATA_KEY`: architecture, config,
normalization and provenance. So a file says by itself how to build its network, and no pickle is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import warnings
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from cloudfree.errors import UNPARSABLE, WeightsError
from cloudfree.network.models import ARCHITECTURES, CloudDetector, CloudRemovalModel, Normalization, Seen, WeightsInfo
from cloudfree.network.models.base import refuse_giants
from cloudfree.network.registry import REGISTRY, weights_folder

METADATA_KEY = "cloudfree"
FORMAT_VERSION = 1

_LARGEST = 4096  # number that says what a network is: widths, blocks, ranges of normalization

_SHOWN_THE_MODEL = "expects_primed"  # in files of weights that were shown the model in place of clouds

GOLDEN_TOLERANCE = 1e-4
"""Reflectance, or probability, by which an output may differ from machine to machine."""

GOLDEN_OUTPUT = "restored"
"""What golden tensors call the output: reflectance (B, 4, H, W), or of a detector probability (B, 5, H, W)."""

_DETECTOR = CloudDetector.architecture
N = TypeVar("N", CloudRemovalModel, CloudDetector)

# Where a published checkpoint keeps its tensors, and what a DataParallel wrapper puts before each key.
_PUBLISHED_ENTRY, _PARALLEL_PREFIX = "network", "module."
OF_DAMAGE = (SafetensorError, RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)
"""What torch raises, beside UnpicklingError, on bytes that are no checkpoint: in a pickle anything may go wrong."""

# Published checkpoints carry these, but they follow from the size of the training crops.
_DERIVED_BUFFERS = ("relative_position_index", "attn_mask")


@dataclass(frozen=True)
class RegisteredWeights:
    """One entry of `weights/registry.json`: a file beside it, and all there is to know before trusting it."""

    name: str
    file: str
    sha256: str
    size_bytes: int
    architecture: str
    licence: str
    source: str
    trained_on: str
    recipe: str
    scores: Mapping[str, float] = field(default_factory=dict)
    default: bool = False

    @property
    def path(self) -> Path:
        return weights_folder() / self.file

    @property
    def golden_path(self) -> Path:
        """Inputs and the output that the weights gave where they were made; not there for a toy."""
        return self.path.with_suffix(".golden.safetensors")


def registry() -> list[RegisteredWeights]:
    """The weights that come with the package, in the registry's order."""
    path = weights_folder() / REGISTRY
    try:
        return [RegisteredWeights(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))["weights"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"cannot read the registry {path} ({error}); it is a JSON list of weights: reinstall cloudfree"
        ) from error


def default_weights() -> RegisteredWeights:
    """The registered weights that a run uses when none are named."""
    for entry in registry():
        if entry.default:
            return entry
    raise WeightsError(f"no registered weights are the default; {_choices()}")


def sha256_of(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with _readable(Path(path)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(name_or_path: str | Path) -> str:
    """The sha256 of the file, having compared it and the size with the registry's, if the registry knows the file."""
    path, entry = _resolve(name_or_path)
    digest = sha256_of(path)
    if entry and (digest, path.stat().st_size) != (entry.sha256, entry.size_bytes):
        raise WeightsError(
            f"{path} has {path.stat().st_size} bytes and sha256 {digest[:12]}…; the registry says {entry.size_bytes} "
            f"and {entry.sha256[:12]}…: the file is damaged or replaced, so fetch it again or reinstall cloudfree"
        )
    return digest


def verify_output(name: str) -> float | None:
    """Largest difference (reflectance, probability) of registered weights' output to the golden one; None without one.

    Raises WeightsError where it is more than rounding.
    """
    _, entry = _resolve(name)
    if entry is None or not entry.golden_path.exists():
        return None
    golden, network = load_file(entry.golden_path), load_network(name)
    expected = golden.pop(GOLDEN_OUTPUT)
    difference = float((golden_output(network, golden) - expected).abs().max())
    if not difference < GOLDEN_TOLERANCE:
        raise WeightsError(
            f"{name} differs from its golden output by {difference:.1g}, {GOLDEN_TOLERANCE:g} is allowed: "
            "this torch computes something else; install the versions in constraints.txt"
        )
    return difference


def golden_output(network: CloudRemovalModel | CloudDetector, inputs: Mapping[str, Tensor]) -> Tensor:
    """What a network gives on golden inputs, by the names of its arguments or of the planes of `Seen`."""
    with torch.inference_mode():
        if isinstance(network, CloudDetector):
            return network(**inputs).softmax(1)
        return network(*(Seen(**inputs) if network.planes else (inputs["reflectance"], inputs["sar_db"])))


def load_model(path_or_name: str | Path, device: str | torch.device = "cpu") -> CloudRemovalModel:
    """A model ready for inference from a registered name, a weights file, or a published checkpoint as downloaded.

    "auto" is the default of the registry.
    Registered files are verified first. Raises WeightsError where the file is missing, damaged, or of another network.
    """
    network = load_network(path_or_name, device)
    if isinstance(network, CloudDetector):
        raise WeightsError(
            f"{network.info.name} finds clouds and removes none; to remove them, {_choices(ARCHITECTURES)}"
        )
    return network


def load_detector(path_or_name: str | Path, device: str | torch.device = "cpu") -> CloudDetector:
    """A detector of clouds ready for inference; as `load_model` otherwise."""
    network = load_network(path_or_name, device)
    if not isinstance(network, CloudDetector):
        raise WeightsError(f"{network.info.name} removes clouds and finds none; to find them, {_choices([_DETECTOR])}")
    return network


def load_network(path_or_name: str | Path, device: str | torch.device = "cpu") -> CloudRemovalModel | CloudDetector:
    """Either of them: see `load_model`."""
    path, entry = _resolve(path_or_name)
    digest = verify(path_or_name)
    state, metadata = _read_safetensors(path) if _is_safetensors(path) else (_read_published(path), {})
    model = _build(path, state, metadata)
    model.weights_info = WeightsInfo(
        name=entry.name if entry else path.name,
        sha256=digest,
        architecture=model.architecture,
        config=model.config_dict(),
        provenance=metadata.get("provenance", {}),
    )
    return model.to(device).prepare_for_inference()


def save_model(
    model: CloudRemovalModel | CloudDetector, path: str | Path, provenance: Mapping[str, Any] | None = None
) -> Path:
    """Write a weights file, whole or not at all. `provenance` is free: trained_on, recipe, scores and the like."""
    document = {
        "format": FORMAT_VERSION,
        "architecture": model.architecture,
        "config": model.config_dict(),
        "normalization": model.normalization.as_dict(),
        "provenance": dict(provenance or {}),
    }
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    with replaced_atomically(Path(path)) as temporary:
        temporary.write_bytes(save(state, {METADATA_KEY: json.dumps(document)}))
    return Path(path)


def convert(source: str | Path, target: str | Path) -> Path:
    """Rewrite any weights that `load_model` reads as a weights file; its provenance says where they came from."""
    model = load_model(source)
    provenance = {"converted_from": model.info.name, "converted_from_sha256": model.info.sha256}
    return save_model(model, target, {**model.info.provenance, **provenance})


@contextmanager
def replaced_atomically(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` if the block ends well, and is removed if not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise WeightsError(f"cannot write {path} ({error}); a writable folder is needed: give another") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _choices(architectures: Container[str] = (*ARCHITECTURES, _DETECTOR)) -> str:
    names = ", ".join(entry.name for entry in registry() if entry.architecture in architectures)
    return f"registered are {names}: give one of these, or the path of a weights file"


def _resolve(name_or_path: str | Path) -> tuple[Path, RegisteredWeights | None]:
    """The file and its entry. A registered name wins over a file of that name; `./name` means the file."""
    name_or_path = default_weights().name if name_or_path == "auto" else name_or_path
    path = Path(name_or_path)
    for entry in registry():
        if name_or_path == entry.name or (os.path.isfile(path) and path.resolve() == entry.path.resolve()):  # noqa: PTH113
            return _readable(entry.path), entry
    return _readable(path), None


def _readable(path: Path) -> Path:
    if not os.path.isfile(path):  # noqa: PTH113 - Path's fails for a name that is too long, or has a NUL
        raise WeightsError(f"{str(path)[:300]} is no file and no name of weights; {_choices()}")
    return path


def _is_safetensors(path: Path) -> bool:
    """By content: eight bytes of header length, then JSON. A checkpoint is a zip or a pickle, whatever its name."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})[METADATA_KEY])
            _refuse_wild(metadata)
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 - not a dict
    except KeyError as error:
        raise WeightsError(
            f"{path} is a safetensors file without the metadata of cloudfree; files of `cloudfree train` and "
            "`cloudfree weights convert` have it: convert the published checkpoint instead"
        ) from error
    except (SafetensorError, OSError, RuntimeError, TypeError, *UNPARSABLE) as error:
        raise WeightsError(f"{path} is damaged ({_first_line(error)}); fetch or write the weights again") from error


def _refuse_wild(document: Any) -> None:
    """Raise ValueError where the metadata of a network are not, or have numbers that no network has."""
    if not isinstance(document, dict) or not isinstance(document.get("provenance", {}), dict):
        raise ValueError("its metadata are no JSON object")
    of_network = list(map(document.get, ("config", "normalization")))
    for value in of_network:
        if isinstance(value, dict | list):
            of_network += value.values() if isinstance(value, dict) else value
        if isinstance(value, int | float) and not abs(value) <= _LARGEST:
            raise ValueError("its metadata have numbers that no network has")


def _read_published(path: Path) -> dict[str, Tensor]:
    """The network's tensors of a published checkpoint, without the wrapper's prefix and the derived buffers."""
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # of pickles in a new protocol, which is refused or read all the same
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is no weights file, or a pickle that could run any code; "
            "a safetensors file or a checkpoint of tensors is needed: save it again as one of these"
        ) from error
    except OF_DAMAGE as error:
        raise WeightsError(f"{path} is damaged ({_first_line(error)}); fetch or write the weights again") from error
    tensors = checkpoint.get(_PUBLISHED_ENTRY) if isinstance(checkpoint, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise WeightsError(
            f"{path} has no entry {_PUBLISHED_ENTRY!r} of tensors; published checkpoints have it: give such a file"
        )
    unwrapped = {str(key).removeprefix(_PARALLEL_PREFIX): tensor for key, tensor in tensors.items()}
    return {key: tensor for key, tensor in unwrapped.items() if not key.endswith(_DERIVED_BUFFERS)}


def _build(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> CloudRemovalModel | CloudDetector:
    """The network that the metadata describes, or else the shapes of the tensors, holding the tensors."""
    if metadata and metadata.get("format") != FORMAT_VERSION:
        raise WeightsError(
            f"{path} has format {metadata.get('format')}; this cloudfree reads {FORMAT_VERSION}: upgrade cloudfree"
        )
    if metadata.get(_SHOWN_THE_MODEL):
        raise WeightsError(
            f"{path} was trained to be shown the scene's model in place of clouds, as no run does any more; networks "
            "that see them do better: use the default weights, or train again (cloudfree train --samples)"
        )
    if metadata.get("architecture") == _DETECTOR:
        return _filled(path, CloudDetector, state, metadata)
    return _filled(path, _architecture(path, state, metadata), state, metadata)


def _filled(path: Path, architecture: type[N], state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> N:
    """The network of an architecture, holding the tensors."""
    try:
        if metadata or not issubclass(architecture, CloudRemovalModel):
            config = architecture.config_type(**metadata["config"])
            refuse_giants(lambda: architecture(config), len(state))
            model: N = architecture(config, Normalization.from_dict(metadata["normalization"]))
        else:
            model = architecture(architecture.infer_config(state))
        model.load_state_dict(state)
    except (TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError, *UNPARSABLE) as error:
        raise WeightsError(
            f"{path} does not hold a whole {architecture.architecture} ({_first_line(error)}); every tensor of the "
            "network in its shape is needed: fetch or write the weights again"
        ) from error
    if wild := next((name for name, tensor in state.items() if not tensor.isfinite().all()), None):
        raise WeightsError(f"{path} has numbers that are not finite (in {wild}); sound weights are needed: give others")
    return model


def _architecture(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> type[CloudRemovalModel]:
    known = ", ".join(ARCHITECTURES)
    if metadata:
        name = metadata.get("architecture")
        if isinstance(name, str) and name in ARCHITECTURES:
            return ARCHITECTURES[name]
        raise WeightsError(
            f"{path} is of architecture {name!r}; known are {known}: upgrade cloudfree or give other weights"
        )
    for architecture in ARCHITECTURES.values():
        if architecture.signature_key in state:
            return architecture
    raise WeightsError(
        f"{path} is a checkpoint of some other network (its first tensor is {next(iter(state), 'missing')}); "
        f"known are {known}: give a checkpoint of one of these"
    )


def _first_line(error: Exception) -> str:
    """What torch and safetensors say, short enough for a message of one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] or type(error).__name__
