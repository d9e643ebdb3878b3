import pytest
import torch

from ctbone.config import WIDE, ModelSettings, TrainingSettings
from ctbone.models.hardware import Hardware, choose_hardware, computes_in_bf16
from ctbone.models.network_input import network_input
from ctbone.models.networks import build_network
from ctbone.models.processor_convolutions import ConvolvedGradientConv3d, PlainLayoutConv3d
from tests.models.small_study import TINY

CPU = torch.device("cpu")


def tiny():
    torch.manual_seed(0)
    return build_network(
        ModelSettings(dim="3d", network="densenet", network_options=TINY), classes=2
    )


def test_each_setting_turns_its_own_thing_off():
    plain = choose_hardware(TrainingSettings(precision="fp32", channels_last=False, compile=False))
    assert (plain.bf16, plain.channels_last, plain.compiles) == (False, False, False)
    other = choose_hardware(TrainingSettings(precision="bf16", channels_last=True, compile=True))
    assert (other.bf16, other.channels_last, other.compiles) == (True, True, True)


@pytest.mark.parametrize(
    ("known", "has_bf16"), [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)]
)
def test_auto_is_fp32_on_every_processor(monkeypatch, known, has_bf16):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert computes_in_bf16(CPU) == has_bf16
    assert not choose_hardware(TrainingSettings()).bf16
    assert choose_hardware(TrainingSettings(precision="bf16")).bf16


@pytest.mark.parametrize("has_bf16", [True, False])
def test_auto_is_bf16_on_a_gpu_that_computes_in_it(monkeypatch, has_bf16):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    assert choose_hardware(TrainingSettings()).bf16 == has_bf16
    assert not choose_hardware(TrainingSettings(precision="fp32")).bf16


def test_hardware_names_itself(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert str(Hardware(CPU, bf16=True)) == "processor with AVX512 kernels, bf16, channels-last"
    plain = Hardware(CPU, bf16=False, channels_last=False)
    assert str(plain) == "processor with AVX512 kernels, fp32, channels-first"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert str(Hardware(torch.device("cuda", 0), bf16=True)) == "NVIDIA H200, bf16, channels-last"


def test_the_layout_changes_nothing_but_rounding():
    hu = torch.randint(-1000, 1000, (4, 16, 16, 16), dtype=torch.int16)
    found = []
    for channels_last in (True, False):
        hardware = Hardware(CPU, bf16=False, channels_last=channels_last)
        network = hardware.place(tiny()).eval()
        seen = hardware.arrange(network_input(hu, [WIDE, WIDE])[:, :1])
        kernels = [
            p for p in network.parameters() if p.dim() == 5 and p.shape[1] > 1 and p.shape[2] > 1
        ]
        lies = [kernel.is_contiguous(memory_format=torch.channels_last_3d) for kernel in kernels]
        assert set(lies) == {channels_last}
        found.append(network(seen))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels_last", [True, False])
def test_every_layer_sees_the_layout(channels_last):
    network = Hardware(CPU, bf16=False, channels_last=channels_last).place(tiny())
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    right = []

    def look(module, seen):
        if max(seen[0].shape[2:]) > 1:
            right.append(seen[0].is_contiguous(memory_format=layout))

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.register_forward_pre_hook(look)
    network(torch.randn(16, 1, 16, 16, 16).contiguous(memory_format=layout))
    assert len(right) > 4
    assert all(right)


@pytest.mark.parametrize(
    ("capability", "bf16", "channels_last", "expected"),
    [
        ("AVX2", False, True, True),
        ("AVX2", True, True, False),
        ("AVX2", False, False, False),
        ("AVX512", False, True, False),
        ("DEFAULT", False, True, False),
    ],
)
def test_convolutions_are_chosen_where_they_were_measured(
    monkeypatch, capability, bf16, channels_last, expected
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    network = Hardware(CPU, bf16, channels_last).place(tiny())
    ours = (ConvolvedGradientConv3d, PlainLayoutConv3d)
    assert any(isinstance(module, ours) for module in network.modules()) == expected


def test_an_image_is_laid_out_as_asked():
    seen = network_input(torch.zeros((2, 6, 6, 6), dtype=torch.int16), [WIDE, WIDE])
    assert (
        Hardware(CPU, False, channels_last=True)
        .arrange(seen)
        .is_contiguous(memory_format=torch.channels_last_3d)
    )
    assert Hardware(CPU, False, channels_last=False).arrange(seen).is_contiguous()


@pytest.mark.parametrize("compiles", [True, False])
def test_a_network_is_compiled_only_where_asked(monkeypatch, compiles):
    called = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, *args, **kwargs: called.append(self)
    )
    network = tiny()
    names = list(network.state_dict())
    assert Hardware(CPU, False, compiles=compiles).prepare(network) is network
    assert called == [network] * compiles
    assert list(network.state_dict()) == names
