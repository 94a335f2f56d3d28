"""What config.json says of quantisation and of positions, in the spellings in use."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from llama4coder.inspection.files import ModelFiles, Source, TensorHeader
from llama4coder.inspection.positions import Positions, Rope, read_positions
from llama4coder.inspection.quantisation import Quantisation, read_quantisation

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
    found = read_positions(files_of(model_type="other", max_position_embeddings=131072, **spelling))
    assert found == Positions(131072, None, Rope("llama3", 500000.0, 8.0, 8192))


def test_rope_by_default(files_of: FilesOf) -> None:
    """Llama has it even where nothing is said; GPT-2 has none."""
    assert read_positions(files_of(model_type="llama")).rope == Rope("default", 10000.0, None, None)
    assert read_positions(files_of(model_type="gpt2", n_positions=1024)) == Positions(1024, None, None)


def test_sliding_window(files_of: FilesOf) -> None:
    assert read_positions(files_of(sliding_window=4096)).sliding_window == 4096
    assert read_positions(files_of(sliding_window=4096, use_sliding_window=False)).sliding_window is None
    assert read_positions(files_of(sliding_window=None)).sliding_window is None


def test_settings_of_the_text_part(files_of: FilesOf) -> None:
    """Models that see images have the language model's settings in an object of their own."""
    files = files_of(model_type="gemma3", text_config={"max_position_embeddings": 8192, "sliding_window": 512})
    assert read_positions(files) == Positions(8192, 512, None)
