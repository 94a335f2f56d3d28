"""What config.json says of quantisation and of positions, in the spellings in use."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from llama4coder.inspection.files import ModelFiles, Source, TensorHeader
from llama4coder.inspection.positions import Positions, Rope, read_positions
from llama4coder.inspection.quantisation import Quantisation, read_quantisation
from llama4coder.shape import shape_of
from tests.inspection.model_folder import LLAMA

FilesOf = Callable[..., ModelFiles]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, Quantisation("bitsandbytes", 4, "nf4")),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, Quantisation("bitsandbytes", 8, "int8")),
        ({"quant_method": "fbgemm_fp8"}, Quantisation("fbgemm_fp8", 8, "")),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, Quantisation("fp8", 8, "blocks of [128, 128]")),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, Quantisation("gptq", 4, "groups of 128")),
        ({"quant_method": "awq", "w_bit": 4}, Quantisation("awq", 4, "")),
        ({"quant_method": "mxfp4"}, Quantisation("mxfp4", 4, "")),
        ({"quant_method": "quanto"}, Quantisation("quanto", None, "")),
        ({}, Quantisation("unknown", None, "")),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "float-quantized",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            Quantisation("compressed-tensors", 8, "float-quantized, float"),
        ),
        ({"quant_method": "compressed-tensors"}, Quantisation("compressed-tensors", None, "")),
    ],
)
def test_quantisation(files_of: FilesOf, entry: dict[str, object], expected: Quantisation) -> None:
    assert read_quantisation(files_of(quantization_config=entry)) == expected


def test_weights_that_are_not_quantised(files_of: FilesOf) -> None:
    assert read_quantisation(files_of()) is None
    assert read_quantisation(files_of(quantization_config=None)) is None


def test_quantisation_of_a_gguf_file(files_of: FilesOf) -> None:
    def of(*dtypes: str) -> Quantisation | None:
        tensors = tuple(TensorHeader(str(index), dtype, 1, 1) for index, dtype in enumerate(dtypes))
        return read_quantisation(replace(files_of(), source=Source.GGUF, tensors=tensors))

    assert of("F32", "Q6_K", "Q4_K", "Q4_K") == Quantisation("gguf", None, "Q4_K, Q6_K")
    assert of("F32", "BF16", "F16") is None


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_parameters": LLAMA3},
        {"rope_theta": 500000.0, "rope_scaling": {key: LLAMA3[key] for key in LLAMA3 if key != "rope_theta"}},
        {"rope_parameters": {"sliding_attention": {"rope_theta": 1.0}, "full_attention": LLAMA3}},
    ],
)
def test_rope_of_llama_3(files_of: FilesOf, spelling: dict[str, object]) -> None:
    found = read_positions(files_of(model_type="other", max_position_embeddings=131072, **spelling), None)
    assert found == Positions(131072, None, Rope("llama3", 500000.0, 8.0, 8192))


def test_nothing_is_said_of_rope(files_of: FilesOf) -> None:
    """Llama has it nevertheless; GPT-2 has none."""
    llama = files_of(**{key: value for key, value in LLAMA.items() if key != "rope_theta"})
    found = read_positions(llama, shape_of(llama.config, llama.path))
    assert found == Positions(512, None, Rope("default", 10000.0, None, None))
    assert read_positions(files_of(model_type="gpt2", n_positions=1024), None) == Positions(1024, None, None)


def test_heads_that_are_rotated_in_part(files_of: FilesOf) -> None:
    files = files_of(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5})
    assert read_positions(files, None).rope == Rope("default", 10000.0, None, None)


def test_positions_of_a_served_model_are_the_engines(files_of: FilesOf) -> None:
    """Mistral has a window unless it says that it has none, and YaRN stretches what config.json says."""
    yarn = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 512}
    files = files_of(**LLAMA | {"model_type": "mistral", "rope_parameters": yarn})
    found = read_positions(files, shape_of(files.config, files.path))
    assert found == Positions(2048, 4096, Rope("yarn", 1e6, 4.0, 512))


def test_sliding_window(files_of: FilesOf) -> None:
    assert read_positions(files_of(sliding_window=4096), None).sliding_window == 4096
    assert read_positions(files_of(sliding_window=4096, use_sliding_window=False), None).sliding_window is None
    assert read_positions(files_of(sliding_window=None), None).sliding_window is None


def test_settings_of_the_text_part(files_of: FilesOf) -> None:
    """Models that see images have the language model's settings in an object of their own."""
    files = files_of(model_type="gemma3", text_config={"max_position_embeddings": 8192, "sliding_window": 512})
    assert read_positions(files, None) == Positions(8192, 512, None)
